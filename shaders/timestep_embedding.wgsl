// Sinusoidal embedding of timesteps: sin and cos of 2 pi t f for each frequency f, in revolutions per unit of t.
//
// t        one texel per image: three parts whose sum is t, see `split_in_three` in timestep_embedding.rs
// table    one texel per frequency: three parts whose sum is f
// y        one vector of dim channels per image: sin of all frequencies, then cos (cos first with `flip`); a last
//          odd channel is zero
// grid     flat, one invocation per texel of y
//
// The first two parts have 12 significant bits, so that their products are exact and whole turns can be dropped without
// loss, however large t f is. The device's sin is unreliable beyond a turn, and its error near zero may be 2^-11: here
// it is a polynomial on an eighth of a turn.
//
// Rungs: this is the first.
//#read t
//#read table
//#include flat
//#write y

struct Params {
    images: u32,
    dim: u32,
    flip: u32,
}

// The distance to the nearest whole number, with its sign.
fn fraction(v: f32) -> f32 {
    return v - round(v);
}

// sin of 2 pi t f; with `ahead` = 1, of a quarter turn more: cos.
fn sin_of_product(t: vec4<f32>, f: vec4<f32>, ahead: i32) -> f32 {
    let large = fraction(t.x * f.x);
    let middle = fraction(fraction(t.x * f.y) + fraction(t.y * f.x));
    let small = (t.x * f.z + t.z * f.x) + t.y * f.y + (t.y * f.z + t.z * f.y);
    let quarters = round(4.0 * (large + middle + small));
    let r = ((large - 0.25 * quarters) + middle) + small;

    // Maclaurin series in units of a turn: the first omitted terms are 2e-9 and 3e-8 at an eighth of a turn.
    let s = r * r;
    let sine = r
        * (6.2831853072 + s * (-41.3417022404 + s * (81.6052492761 + s * (-76.7058597531 + s * 42.0586939449))));
    let cosine = 1.0 + s * (-19.7392088022 + s * (64.9393940227 + s * (-85.4568172067 + s * 60.2446413719)));
    let quadrant = (i32(quarters) + ahead) & 3;
    let magnitude = select(sine, cosine, (quadrant & 1) != 0);
    return select(magnitude, -magnitude, quadrant >= 2);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    let dim4 = (call.params.dim + 3u) / 4u;
    if index >= call.params.images * dim4 { return; }
    let t = load_t(index / dim4);
    let channel = index % dim4 * 4u;
    let frequencies = call.params.dim / 2u;
    var v = vec4<f32>();
    //#repeat i 4
    if channel + $(i)u < 2u * frequencies {
        let second = (channel + $(i)u) / frequencies;
        let f = load_table((channel + $(i)u) % frequencies);
        v[$i] = sin_of_product(t, f, i32(second ^ call.params.flip));
    }
    //#end
    store_y(index, v);
}
