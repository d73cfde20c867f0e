// The products of a step, once a_tile and b_tile are filled (see matrix.wgsl); the kernel has the sums acc0_0, ... and
// `quarter`.
                workgroupBarrier();
                //#repeat s 32 / SIDE
                //#repeat i 32 / SIDE
                let a${s}_$i = coopLoadT<coop_mat$(SIDE)x$(SIDE)<f16, A>>(
                    &a_tile[(quarter / 2u * 32u + $(i * SIDE)u) * A_ROW + $(s * SIDE)u], A_ROW);
                let b${s}_$i = coopLoadT<coop_mat$(SIDE)x$(SIDE)<f16, B>>(
                    &b_tile[$(s * SIDE)u * B_ROW + quarter % 2u * 32u + $(i * SIDE)u], B_ROW);
                //#end
                //#repeat i 32 / SIDE
                //#repeat j 32 / SIDE
                acc${i}_$j = coopMultiplyAdd(a${s}_$i, b${s}_$j, acc${i}_$j);
                //#end
                //#end
                //#end
                workgroupBarrier();
