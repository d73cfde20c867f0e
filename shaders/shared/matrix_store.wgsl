// Stores the sums of a subgroup, tile by tile (see matrix.wgsl); the kernel has the sums, `quarter`, `lane` and
// `put`.
    let first_row = group.y * 64u + quarter / 2u * 32u;
    let first_column = group.x * 16u + quarter % 2u * 8u;
    //#repeat i 32 / SIDE
    //#repeat j 32 / SIDE
    coopStoreT(acc${i}_$j, &c_tile[quarter * $(SIDE * SIDE)u], $(SIDE)u);
    workgroupBarrier();
    for (var at = lane; at < $(SIDE * SIDE / 4)u; at += WIDTH) {
        let c = quarter * $(SIDE * SIDE)u + at * 4u;
        let sum = vec4<f32>(c_tile[c], c_tile[c + 1u], c_tile[c + 2u], c_tile[c + 3u]);
        let row = first_row + $(i * SIDE)u + at / $(SIDE / 4)u;
        put(group.z, row, first_column + $(j * SIDE / 4)u + at % $(SIDE / 4)u, sum);
    }
    workgroupBarrier();
    //#end
    //#end
