// Means of the centres of patches, weighted by a softmax, for software adapters: for each query q over the keys k of a
// part,
//
//   z[k] = scale * (q . k - |k|^2 / 2) + log2 count[k]     or (DIFFERENCES) -scale / 2 * |q - k|^2 + log2 count[k]
//   y    = (m, sum of 2^(z[k] - m), 0, 0), (sum of 2^(z[k] - m) centre[k], for each channel),  m the largest z[k]
//
// q        queries as rows of `texels` texels of taps, and one more texel: (scale, -, -, -)
// k        blocks of 4 LANES keys: a row of LANES texels for each of the 4 `texels` taps, then one of |k|^2 / 2, then
//          one of log2 count
// y        two texels for each query, part after part
// grid     (tiles of ROWS queries, parts, 1); a workgroup is one subgroup of LANES
// assumes  CHANNELS taps in the last texel, as patches of an odd side have them, and zeros in its padding; LEAST / 3 or
//          less as the log2 count of keys that are padding, and in each part a key that is not; at most 30,000
//          iterations: per_part * (texels + 1)
// called   by the local closed form (src/denoise/closed_form/local), which adds up the parts
//
// A lane has four keys of a block, and keeps the sums over its own keys until the end. A lane loads one of the
// queries, so that a shuffle by a number broadcasts it (see conv2d.lanes.wgsl). The taps of small patches are written
// out query by query (UNROLLED): assignments in a loop within a loop are blended under the masks of both, and the
// scores of all queries do not fit the registers.
//#split
//#include patch_means
//#read q
//#read k
//#write y

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = workgroup + call.origin.xyz;
    let queries = call.params.queries;
    let texels = call.params.texels;
    let first_query = group.x * ROWS;
    let rows = 4u * texels + 2u;

    //#repeat g (ROWS + LANES - 1) / LANES
    let row$g = min(first_query + $(g)u * LANES + lane, queries - 1u) * (texels + 1u);
    let scale$g = load_q(row$g + texels);
    //#end
    //#repeat p ROWS
    //#if DIFFERENCES
    let factor$p = 0.5 * subgroupShuffle(scale$(p / LANES).x, $(p % LANES)u);
    //#else
    let factor$p = subgroupShuffle(scale$(p / LANES).x, $(p % LANES)u);
    //#end
    var most$p = LEAST;
    var sum$p = vec4<f32>();
    //#repeat c CHANNELS
    var y$p_$c = vec4<f32>();
    //#end
    //#end

    let last = min((group.y + 1u) * call.params.per_part, call.params.blocks);
    for (var block = group.y * call.params.per_part; block < last; block++) {
        let base = block * rows * LANES + lane;
        let half = load_k(base + (rows - 2u) * LANES);
        let counts = load_k(base + (rows - 1u) * LANES);
        //#repeat c CHANNELS
        let centre$c = load_k(base + (call.params.centre + $(c)u) * LANES);
        //#end
        //#if UNROLLED
        //#repeat t PASSES
        //#repeat g (ROWS + LANES - 1) / LANES
        let a$t_$g = load_q(row$g + $(t)u);
        //#end
        //#repeat j 4
        let k$t_$j = load_k(base + $(4 * t + j)u * LANES);
        //#end
        //#end
        //#else
        //#repeat p ROWS
        //#if DIFFERENCES
        var s$p = vec4<f32>();
        //#else
        var s$p = -half;
        //#end
        //#end
        for (var t = 0u; t < texels - 1u; t++) {
            //#repeat g (ROWS + LANES - 1) / LANES
            let a$g = load_q(row$g + t);
            //#end
            //#repeat j 4
            let k$j = load_k(base + (4u * t + $(j)u) * LANES);
            //#end
            //#repeat p ROWS
            let v$p = subgroupShuffle(a$(p / LANES), $(p % LANES)u);
            //#repeat j 4
            //#if DIFFERENCES
            let d$p_$j = v$p[$j] - k$j;
            s$p -= d$p_$j * d$p_$j;
            //#else
            s$p += v$p[$j] * k$j;
            //#end
            //#end
            //#end
        }
        //#end
        // The last texel of a square of an odd side has a tap for each channel.
        //#repeat g (ROWS + LANES - 1) / LANES
        let last$g = load_q(row$g + texels - 1u);
        //#end
        //#repeat c CHANNELS
        let end$c = load_k(base + (rows - 6u + $(c)u) * LANES);
        //#end
        //#repeat p ROWS
        //#if UNROLLED
        //#if DIFFERENCES
        var s$p = vec4<f32>();
        //#else
        var s$p = -half;
        //#end
        //#repeat t PASSES
        let v$p_$t = subgroupShuffle(a$t_$(p / LANES), $(p % LANES)u);
        //#repeat j 4
        //#if DIFFERENCES
        let d$p_$t_$j = v$p_$t[$j] - k$t_$j;
        s$p -= d$p_$t_$j * d$p_$t_$j;
        //#else
        s$p += v$p_$t[$j] * k$t_$j;
        //#end
        //#end
        //#end
        //#end
        let w$p = subgroupShuffle(last$(p / LANES), $(p % LANES)u);
        //#repeat c CHANNELS
        //#if DIFFERENCES
        let o$p_$c = w$p[$c] - end$c;
        s$p -= o$p_$c * o$p_$c;
        //#else
        s$p += w$p[$c] * end$c;
        //#end
        //#end
        let z$p = factor$p * s$p + counts;
        let next$p = max(most$p, largest(z$p));
        let shrink$p = exp2(most$p - next$p);
        let e$p = exp2(z$p - next$p);
        most$p = next$p;
        sum$p = sum$p * shrink$p + e$p;
        //#repeat c CHANNELS
        y$p_$c = y$p_$c * shrink$p + e$p * centre$c;
        //#end
        //#end
    }

    //#repeat p ROWS
    var all$p = most$p;
    for (var step = 1u; step < LANES; step *= 2u) {
        all$p = max(all$p, subgroupShuffle(all$p, lane ^ step));
    }
    let share$p = exp2(most$p - all$p);
    var whole$p = share$p * total(sum$p);
    var means$p = vec4<f32>();
    //#repeat c CHANNELS
    means$p[$c] = share$p * total(y$p_$c);
    //#end
    for (var step = 1u; step < LANES; step *= 2u) {
        whole$p += subgroupShuffle(whole$p, lane ^ step);
        means$p += subgroupShuffle(means$p, lane ^ step);
    }
    if lane == 0u && first_query + $(p)u < queries {
        let index = 2u * (group.y * queries + first_query + $(p)u);
        store_y(index, vec4<f32>(all$p, whole$p, 0.0, 0.0));
        store_y(index + 1u, means$p);
    }
    //#end
}
