// The reads of a step of conv2d.tile.wgsl, at the tap `ky`, `kx` from the channel texel `first` on, which it moves to
// the next step's.
        //#repeat i M * DEPTH / WIDE
        let y$i = u32(top$i + i32(ky));
        let x$i = u32(left$i + i32(kx));
        let line$i = (image$i * (in_h >> UP) + (min(y$i, in_h - 1u) >> UP)) * (in_w >> UP);
        let c$i = min(first + a_texel$i, in_c4 - 1u);
        next_a$i = load_joined(line$i + (min(x$i, in_w - 1u) >> UP), c$i, in_c4);
        next_fold$i = load_fold(image$i, c$i, in_c4);
        live$i = y$i < in_h && x$i < in_w && first + a_texel$i < in_c4;
        //#end
        //#repeat i 4 * DEPTH * N / TALL
        let fetch_c$i = min(first + b_k$i / 4u, in_c4 - 1u);
        next_b$i = load_weights((((ky * in_c4 + fetch_c$i) * KX + kx) * 4u + b_k$i % 4u) * out_c4 + fetch_column$i);
        //#end
        first += DEPTH;
        if first >= in_c4 {
            first = 0u;
            kx += 1u;
            if kx == KX {
                kx = 0u;
                ky = min(ky + 1u, call.params.kernel_h - 1u);
            }
        }
