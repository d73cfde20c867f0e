// Self-test: does a loop run as long as it should? y[0] = x[0] added up `count` times.
//
// Mesa 22 to 24 stop a loop on lavapipe after 65,535 iterations silently; kernels stay below 30,000.
//#read x
//#write y

struct Params {
    count: u32,
}

@compute @workgroup_size(1)
fn main() {
    var sum = vec4<f32>();
    for (var i = 0u; i < call.params.count; i++) { sum += load_x(i % 2u); }
    store_y(0u, sum);
}
