mod common;
use common::*;
use downhill::gpu::*;
use downhill::kernels::conv2d::*;
use downhill::kernels::engine::call_words;
use downhill::kernels::epilogue::EpilogueSpec;
use downhill::kernels::matmul::*;
use downhill::tensor::*;
#[test]
fn speed() {
    let engine = &engines()[0];
    let kind = engine.storage_kind();
    let mut runs = vec![];
    for (c, s) in [(128usize, 32usize), (256, 16), (512, 8), (256, 4), (64, 64)] {
        let x = Shape::new(1, s, s, c);
        let conv = Conv2d { x, y: x, kernel: (3, 3), stride: 1, pad: (1, 1), epilogue: EpilogueSpec::default() };
        runs.push((
            format!("conv {c} {s}"),
            conv.dispatch(engine.family),
            conv.flops(),
            x.texels(),
            packed_texels(c, c, (3, 3), engine.family),
            x.texels(),
        ));
    }
    for m in [256usize, 768] {
        let p = MatMul::plain(1, m, m, m);
        runs.push((format!("matmul {m}"), p.dispatch(engine.family), p.flops(), m * m / 4, m * m / 4, m * m / 4));
        let p = MatMul { layout: Layout::Packed, ..MatMul::plain(1, m, m, m) };
        runs.push((
            format!("matmul packed {m}"),
            p.dispatch(engine.family),
            p.flops(),
            m * m / 4,
            m * m / 4,
            m * m / 4,
        ));
        let p = MatMul { layout: Layout::Transposed, ..MatMul::plain(1, m, m, m) };
        runs.push((
            format!("matmul transposed {m}"),
            p.dispatch(engine.family),
            p.flops(),
            m * m / 4,
            m * m / 4,
            m * m / 4,
        ));
    }
    for (name, d, flops, xt, wt, yt) in runs {
        let xs = engine.gpu.allocate(kind, xt, "x").unwrap();
        engine.gpu.upload(&xs, 0, &numbers(1, xt * 4)).unwrap();
        let ws = engine.gpu.allocate(kind, wt, "w").unwrap();
        engine.gpu.upload(&ws, 0, &numbers(2, wt * 4)).unwrap();
        let ys = engine.gpu.allocate(kind, yt, "y").unwrap();
        let t = std::time::Instant::now();
        let p = engine.pipelines(&[&d.shader]).unwrap().remove(0);
        let compile = t.elapsed();
        let call = || Call {
            pipeline: &p,
            words: call_words(&[0; 8], &d.params),
            operands: vec![&xs, &ws, &ws, &ws, &ws, &ys],
            grid: d.grid,
            flops: 0,
            label: "x",
        };
        let rec = engine.gpu.record(&[call()]).unwrap();
        engine.gpu.submit(&rec).unwrap();
        engine.gpu.wait().unwrap();
        let mut times: Vec<_> = (0..9).map(|_| engine.gpu.profile(&rec).unwrap()[0].as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        println!(
            "{name:24} best {:6.1} median {:6.1} GFLOP/s compile {compile:?}",
            flops as f64 / times[0] / 1e9,
            flops as f64 / times[4] / 1e9
        );
    }
}
