// Attention for software adapters, without storing its scores: y[i] = sum over j of p[i, j] v[j] with p[i, j] the
// softmax over j of scale * q[i] . k[j], for each image and head.
//
// q, k, v  for each image and head, rows of texels along a head's channels, one row per token, at the given strides
// y        likewise
// grid     (1, tiles of ROWS queries, image * heads + head); a workgroup is one subgroup of LANES
// assumes  zeros in the padding channels; at most WIDE ? 2 * LANES : LANES texels per head; at most 30,000 iterations:
//          (keys / (4 LANES)) * (texels of a head + LANES)
//
// 4 LANES keys at a time: a lane has the scores of four of them for each query, the subgroup the largest so far, and
// earlier sums are rescaled (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018), and each lane
// adds to one texel of the output, or to two (WIDE).
//
// A lane loads one of the queries, so that a shuffle by a number broadcasts it (see conv2d.lanes.wgsl); the scores,
// which do not belong to one lane, are rotated by one lane per step, and the first lane's is broadcast.
//
// Rungs: this is the first; scores, softmax and mixture as three dispatches (matmul.lanes, softmax), which store and
// load every score three times.
//#split
//#read q
//#read k
//#read v
//#write y

struct Params {
    queries: u32,
    keys: u32,
    heads: u32,
    texels: u32,
    q_row: u32,
    q_image: u32,
    q_head: u32,
    k_row: u32,
    k_image: u32,
    k_head: u32,
    v_row: u32,
    v_image: u32,
    v_head: u32,
    y_row: u32,
    y_image: u32,
    y_head: u32,
    scale: f32,
}

// Below every score.
const LEAST: f32 = -3.0e38;

fn largest(v: vec4<f32>, lane: u32) -> f32 {
    var most = max(max(v.x, v.y), max(v.z, v.w));
    for (var step = 1u; step < LANES; step *= 2u) {
        most = max(most, subgroupShuffle(most, lane ^ step));
    }
    return most;
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = workgroup + call.origin.xyz;
    let image = group.z / call.params.heads;
    let head = group.z % call.params.heads;
    let keys = call.params.keys;
    let texels = call.params.texels;
    let first_query = group.y * ROWS;
    let q_base = image * call.params.q_image + head * call.params.q_head;
    let k_base = image * call.params.k_image + head * call.params.k_head;
    let v_base = image * call.params.v_image + head * call.params.v_head;
    let here = min(lane, texels - 1u);
    //#if WIDE
    let there = min(LANES + lane, texels - 1u);
    //#end

    //#repeat g (ROWS + LANES - 1) / LANES
    let row$g = q_base + min(first_query + $(g)u * LANES + lane, call.params.queries - 1u) * call.params.q_row;
    //#end
    //#repeat p ROWS
    var y$p = vec4<f32>();
    //#if WIDE
    var z$p = vec4<f32>();
    //#end
    var most$p = LEAST;
    var sum$p = vec4<f32>();
    //#end

    for (var first = 0u; first < keys; first += 4u * LANES) {
        let key = first + 4u * lane;
        //#repeat j 4
        let k$j = k_base + min(key + $(j)u, keys - 1u) * call.params.k_row;
        //#end
        //#repeat p ROWS
        var s$p = vec4<f32>();
        //#end
        for (var c = 0u; c < texels; c++) {
            //#repeat g (ROWS + LANES - 1) / LANES
            let a$g = load_q(row$g + c) * call.params.scale;
            //#end
            //#repeat j 4
            let t$j = load_k(k$j + c);
            //#end
            let w0 = vec4<f32>(t0.x, t1.x, t2.x, t3.x);
            let w1 = vec4<f32>(t0.y, t1.y, t2.y, t3.y);
            let w2 = vec4<f32>(t0.z, t1.z, t2.z, t3.z);
            let w3 = vec4<f32>(t0.w, t1.w, t2.w, t3.w);
            //#repeat p ROWS
            let v$p = subgroupShuffle(a$(p / LANES), $(p % LANES)u);
            s$p += v$p.x * w0;
            s$p += v$p.y * w1;
            s$p += v$p.z * w2;
            s$p += v$p.w * w3;
            //#end
        }

        let live = vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(keys);
        //#repeat p ROWS
        let seen$p = select(vec4<f32>(LEAST), s$p, live);
        let next$p = max(most$p, largest(seen$p, lane));
        let shrink$p = exp(most$p - next$p);
        most$p = next$p;
        s$p = select(vec4<f32>(), exp(seen$p - next$p), live);
        sum$p = sum$p * shrink$p + s$p;
        y$p *= shrink$p;
        //#if WIDE
        z$p *= shrink$p;
        //#end
        //#end

        let count = min(LANES, (keys - first + 3u) / 4u);
        for (var s = 0u; s < count; s++) {
            //#repeat j 4
            let r$j = v_base + min(first + 4u * s + $(j)u, keys - 1u) * call.params.v_row;
            let m$j = load_v(r$j + here);
            //#if WIDE
            let n$j = load_v(r$j + there);
            //#end
            //#end
            //#repeat p ROWS
            let v$p = subgroupShuffle(s$p, 0u);
            y$p += v$p.x * m0;
            y$p += v$p.y * m1;
            y$p += v$p.z * m2;
            y$p += v$p.w * m3;
            //#if WIDE
            z$p += v$p.x * n0;
            z$p += v$p.y * n1;
            z$p += v$p.z * n2;
            z$p += v$p.w * n3;
            //#end
            s$p = subgroupShuffle(s$p, (lane + 1u) % LANES);
            //#end
        }
    }

    let y_base = image * call.params.y_image + head * call.params.y_head;
    //#repeat p ROWS
    let total$p = subgroupAdd((sum$p.x + sum$p.y) + (sum$p.z + sum$p.w));
    if first_query + $(p)u < call.params.queries {
        let to$p = y_base + (first_query + $(p)u) * call.params.y_row;
        if lane < texels { store_y(to$p + lane, y$p / total$p); }
        //#if WIDE
        if LANES + lane < texels { store_y(to$p + LANES + lane, z$p / total$p); }
        //#end
    }
    //#end
}
