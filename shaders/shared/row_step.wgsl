// The products of row p in a step of four k: the kernel has the row's texel v$p, the weights w0 to w3 of the step and
// the sums acc${p}_0 to acc${p}_3.
            var sum$p = vec4<f32>(acc${p}_0, acc${p}_1, acc${p}_2, acc${p}_3);
            sum$p += v$p.x * w0;
            sum$p += v$p.y * w1;
            sum$p += v$p.z * w2;
            sum$p += v$p.w * w3;
            //#repeat e 4
            acc${p}_$e = sum$p[$e];
            //#end
