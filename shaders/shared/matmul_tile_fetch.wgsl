// The reads of a step of matmul.tile.wgsl, whose texels of k begin at `first`, within the operands.
        //#repeat i M * DEPTH / WIDE
        let c$i = min(first + a_texel$i, k4 - 1u);
        //#if JOINED
        next_a$i = load_joined(fetch_row$i, c$i, k4);
        //#else
        next_a$i = load_x(a_base + fetch_row$i * call.params.a_row + c$i);
        //#end
        next_fold$i = load_fold(fetch_row$i / call.params.rows_per_image, c$i, k4);
        //#end
        //#if B_ROWS
        if b_k < DEPTH {
            //#repeat j 4
            next_b$j = load_b(fetch_column$j + min(first + b_k, k4 - 1u));
            //#end
        }
        //#else
        //#repeat i 4 * DEPTH * N / TALL
        next_b$i = load_b(fetch_column$i + min(first * 4u + b_k$i, call.params.k - 1u) * call.params.b_row);
        //#end
        //#end
