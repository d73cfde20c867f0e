// The products of the step before (see register_tile.wgsl); the kernel has `step`, `place` and the sums acc0_0, ...
        if step > 0u {
            let half = (step + 1u) % HALVES;
            let b_from = half * B_HALF + place.x;
            //#repeat t DEPTH
            // Rows SIDE apart are exchanged alike.
            let a_at$t = half * A_HALF + place_in_a(place.y, $(t)u);
            //#repeat r M
            let a${t}_$r = a_tile[a_at$t + $(r)u * SIDE * A_STRIDE];
            //#end
            //#repeat j 4
            //#repeat c N
            let b${t}_${j}_$c = b_tile[b_from + $(t * 4 + j)u * B_STRIDE + $(c)u * SIDE];
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
        }
        //#if HALVES % 2
        workgroupBarrier();
        //#end
