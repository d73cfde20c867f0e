//! rig FILE.wgsl M K N [NAME=VALUE ...]: times a template in place of matmul.lanes
use downhill::gpu::{Call, Options, Region};
use downhill::kernels::engine::call_words;
use downhill::kernels::matmul::{Layout, MatMul};
use downhill::kernels::shader::MAX_OPERANDS;
use downhill::kernels::{Engine, Kernel};
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text: &'static str = Box::leak(std::fs::read_to_string(&args[0]).unwrap().into_boxed_str());
    let n = |i: usize| args[i].parse::<usize>().unwrap();
    let (images, rows, k, columns) = (n(1), n(2), n(3), n(4));
    let engine = Engine::open(&Options::default(), None).unwrap();
    let mut product = MatMul::plain(images, rows, k, columns);
    product.layout = Layout::Packed;
    product.b.image = columns.div_ceil(32) * 8 * k;
    let mut dispatch = product.dispatch(engine.family);
    let old = dispatch.shader.kernel;
    let kernel: &'static Kernel = Box::leak(Box::new(Kernel { name: "rig", template: text, twin: old.twin }));
    dispatch.shader.kernel = kernel;
    let mut tile = (32usize, 8usize);
    let mut hold = 0.0;
    for pair in &args[5..] {
        let (name, value) = pair.split_once('=').unwrap();
        let value: u32 = value.parse().unwrap();
        if name == "HOLD" {
            hold = value as f64;
            continue;
        }
        if name == "COLS" {
            tile.1 = value as usize;
        }
        if name == "ROWS" {
            tile.0 = value as usize;
        }
        if let Some(c) = dispatch.shader.constants.iter_mut().find(|c| c.0 == name) {
            c.1 = value;
        } else {
            dispatch.shader.constants.push((Box::leak(name.to_owned().into_boxed_str()), value));
        }
    }
    dispatch.grid = [columns.div_ceil(4).div_ceil(tile.1) as u32, rows.div_ceil(tile.0) as u32, images as u32];
    let a: Vec<f32> = (0..images * rows * k).map(|i| ((i * 7919 + i / 977) % 1009) as f32 / 504.5 - 1.0).collect();
    // logical b[k][col]
    let bl = |z: usize, kk: usize, j: usize| {
        let i = (z * k + kk) * columns + j;
        ((i * 104729 + i / 13) % 997) as f32 / 498.5 - 1.0
    };
    let blocks = columns.div_ceil(32);
    let mut b = vec![0f32; images * blocks * k * 32];
    for z in 0..images {
        for kk in 0..k {
            for j in 0..columns {
                b[((z * blocks + j / 32) * k + kk) * 32 + j % 32] = bl(z, kk, j);
            }
        }
    }
    let kind = engine.storage_kind();
    let put = |v: &[f32]| {
        let s = engine.gpu.allocate(kind, v.len() / 4, "x").unwrap();
        engine.gpu.upload(&s, 0, v).unwrap();
        s
    };
    let (sa, sb) = (put(&a), put(&b));
    let y = put(&vec![0f32; images * rows * columns]);
    let t = Instant::now();
    let pipeline = engine.pipelines(&[&dispatch.shader]).unwrap().remove(0);
    let compile = t.elapsed().as_secs_f64();
    let count = dispatch.shader.operands().len();
    let mut operands = vec![&sa; count];
    let names: Vec<&str> = dispatch.shader.operands().iter().map(|o| o.1).collect();
    for (i, name) in names.iter().enumerate() {
        if *name == "b" {
            operands[i] = &sb;
        }
        if *name == "y" {
            operands[i] = &y;
        }
    }
    let recording = engine
        .gpu
        .record(&[Call {
            pipeline: &pipeline,
            words: call_words([0; MAX_OPERANDS], [0; 3], &dispatch.params),
            operands,
            grid: dispatch.grid,
            flops: 0,
            label: "rig",
        }])
        .unwrap();
    let t = Instant::now();
    engine.gpu.submit(&recording).unwrap();
    engine.gpu.wait().unwrap();
    let first = t.elapsed().as_secs_f64();
    let got = engine
        .gpu
        .download(&[Region { storage: &y, first: 0, texels: images * rows * columns / 4 }])
        .unwrap()
        .remove(0);
    let mut worst = 0f64;
    let mut top = 0f64;
    for z in 0..images.min(2) {
        for i in (0..rows).step_by(rows.div_ceil(9)) {
            for j in (0..columns).step_by(columns.div_ceil(37)) {
                let s: f64 = (0..k).map(|kk| a[(z * rows + i) * k + kk] as f64 * bl(z, kk, j) as f64).sum();
                worst = worst.max((s - got[(z * rows + i) * columns + j] as f64).abs());
                top = top.max(s.abs());
            }
        }
    }
    let flops = 2.0 * (images * rows * k * columns) as f64;
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 25 || begin.elapsed().as_secs_f64() < hold {
        let reps = 3;
        let t = Instant::now();
        engine.gpu.submit_repeated(&recording, reps).unwrap();
        engine.gpu.wait().unwrap();
        times.push(t.elapsed().as_secs_f64() / reps as f64);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "err {:.1e}  best {:.1}  quartile {:.1}  median {:.1} GFLOP/s  ({:.3} ms)  compile {:.2}+{:.2} s",
        worst / top,
        flops / times[0] / 1e9,
        flops / times[times.len() / 4] / 1e9,
        flops / times[times.len() / 2] / 1e9,
        times[times.len() / 2] * 1e3,
        compile,
        first
    );
}
