// The products of a step (see register_tile.wgsl); the kernel has `half`, `place` and the sums acc0_0, ...
        let b_from = half * B_HALF + place.x;
        //#repeat t DEPTH
        // Rows TALL apart are exchanged alike.
        let a_at$t = half * A_HALF + place_in_a(place.y, $(t)u);
        //#repeat r M
        let a${t}_$r = a_tile[a_at$t + $(r)u * TALL * A_STRIDE];
        //#end
        //#repeat j 4
        //#repeat c N
        let b${t}_${j}_$c = b_tile[b_from + $(t * 4 + j)u * B_STRIDE + $(c)u * WIDE];
        //#end
        //#end
        //#repeat j 4
        //#repeat r M
        //#repeat c N
        acc${r}_$c += a${t}_$r[$j] * b${t}_${j}_$c;
        //#end
        //#end
        //#end
        //#end
        //#if HALVES % 2
        workgroupBarrier();
        //#end
