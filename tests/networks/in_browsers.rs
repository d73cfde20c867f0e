//! What browsers do, on this machine: results that are awaited against results that are waited for, models from files
//! in memory against the same files on a disk.

use downhill::model::DenoiserOptions;
use downhill::sample::run::Run;
use downhill::sample::samplers::Sampler;
use downhill::sample::stepping::Stepping;
use downhill::{Model, Settings};

use downhill::low_level::gpu::{Region, StorageKind, replayed};
use downhill::low_level::kernels::selftest;
use downhill::tensor::Precision;

use crate::common::engines;

#[test]
fn every_sampler_takes_the_same_steps_whether_results_are_awaited_or_waited_for() {
    let engine = &engines()[0];
    let model = Model::embedded().unwrap();
    let options = DenoiserOptions { batch: Some(1), images: 1, label: None };
    let mut denoiser = model.clone().denoiser(engine, &options, &mut |_| Ok(())).unwrap().denoiser;
    let mut taken = 0;
    for sampler in Sampler::ALL {
        let settings = Settings { sampler: Some(sampler), steps: Some(4), ..Settings::default() };
        // Those of other noise levels than the model's are refused, here as there.
        let Ok(run) = model.sampling().settings(settings).seed(3).count(2).resolve() else { continue };
        let run = Run { batch: 1, ..run.run };
        let image = denoiser.image_shape();
        let mut waited = Vec::new();
        let mut batches = run.clone().batches(image).unwrap();
        let mut seen = Vec::new();
        while let Some(samples) = batches.next_batch(denoiser.as_mut(), &mut |progress| {
            seen.push((progress.eps.clone(), progress.x0.clone(), progress.x.clone()));
            Ok(())
        }) {
            waited.push(run.in_model_scale(&samples.unwrap().x));
        }
        let mut stepping = Stepping::new(run.batches(image).unwrap()).unwrap();
        let (mut awaited, mut steps) = (Vec::new(), Vec::new());
        let mut calls = 0;
        while let Some(stepped) = pollster::block_on(stepping.next(&engine.gpu, denoiser.as_mut())).unwrap() {
            if stepped.index == 0 {
                calls = 0;
            }
            assert!(stepped.calls > calls, "{sampler}: {} calls after {calls}", stepped.calls);
            calls = stepped.calls;
            steps.push((stepped.eps, stepped.x0, stepped.x));
            awaited.extend(stepped.samples);
        }
        assert_eq!(awaited, waited, "{sampler}");
        assert_eq!(steps, seen, "{sampler}");
        taken += 1;
    }
    assert!(taken >= 15, "{taken} samplers");
}

#[test]
fn an_error_in_a_step_is_that_of_the_run() {
    struct Broken;
    impl downhill::denoise::Denoiser for Broken {
        fn image_shape(&self) -> [usize; 3] {
            [1, 28, 28]
        }

        fn eps(&mut self, x: &downhill::Tensor, _: &[downhill::denoise::Level]) -> downhill::Result<downhill::Tensor> {
            Ok(downhill::Tensor::new(x.shape.clone(), vec![f32::NAN; x.data.len()]))
        }
    }
    let run = Model::embedded().unwrap().sampling().steps(3).count(1).resolve().unwrap();
    let mut stepping = Stepping::new(run.run.batches(run.state).unwrap()).unwrap();
    let error = pollster::block_on(stepping.next(&engines()[0].gpu, &mut Broken)).unwrap_err();
    assert_eq!(error.kind(), downhill::ErrorKind::NonFinite);
    assert!(pollster::block_on(stepping.next(&engines()[0].gpu, &mut Broken)).unwrap().is_none());
}

#[test]
fn work_is_run_again_for_each_result_and_computes_none_twice() {
    let gpu = &engines()[0].gpu;
    let storage = gpu.allocate(StorageKind::Buffer { precision: Precision::Float32 }, 2, "test").unwrap();
    let region = Region { storage: &storage, first: 1, texels: 1 };
    let (mut runs, mut uploads) = (0, 0);
    let work = || {
        runs += 1;
        let mut read = Vec::new();
        for part in 0..3u8 {
            let values: Vec<f32> = (0..8u8).map(|value| f32::from(value + 10 * part)).collect();
            read.push(if let Some(values) = replayed() {
                values
            } else {
                uploads += 1;
                gpu.upload(&storage, 0, &values)?;
                gpu.download(&[region])?
            });
        }
        Ok(read)
    };
    let read = pollster::block_on(gpu.replay(work)).unwrap();
    assert_eq!(read, [[[4.0, 5.0, 6.0, 7.0]], [[14.0, 15.0, 16.0, 17.0]], [[24.0, 25.0, 26.0, 27.0]]]);
    assert_eq!((runs, uploads), (4, 3));
    // Outside, read-backs wait, after an error of the work as well.
    let refused = pollster::block_on(gpu.replay(|| Err::<(), _>(downhill::Error::argument("no", "yes")))).unwrap_err();
    assert_eq!(refused.kind(), downhill::ErrorKind::Argument);
    assert_eq!(gpu.download(&[region]).unwrap()[0][0], 24.0);
}

#[test]
fn the_self_test_finds_the_same_when_it_is_awaited() {
    for engine in engines() {
        let awaited = pollster::block_on(engine.gpu.replay(|| selftest::run(engine))).unwrap();
        assert_eq!(awaited, selftest::run(engine).unwrap());
    }
}

/// The files of the embedded digits as a folder of diffusers: by components, or flat.
fn digits(by_components: bool) -> Vec<(String, Vec<u8>)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/digits");
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    let (network, scheduler) = if by_components { ("unet/", "scheduler/") } else { ("", "") };
    let mut files = vec![
        (format!("{network}config.json"), read("config.json")),
        (format!("{network}diffusion_pytorch_model.safetensors"), read("diffusion_pytorch_model.safetensors")),
        (format!("{scheduler}scheduler_config.json"), read("scheduler_config.json")),
    ];
    if by_components {
        let index = r#"{"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"],
            "scheduler": ["diffusers", "DDPMScheduler"]}"#;
        files.push(("model_index.json".to_owned(), index.into()));
    }
    files
}

#[test]
fn a_model_in_memory_is_that_on_a_disk() {
    for by_components in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let files = digits(by_components);
        for (path, content) in &files {
            let file = folder.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
        let on_disk = Model::open(folder.path().to_str().unwrap()).unwrap();
        let in_memory = Model::from_files("digits", files).unwrap();
        let (on_disk, in_memory) = (on_disk.network().unwrap(), in_memory.network().unwrap());
        assert_eq!(in_memory.name, "digits");
        assert_eq!(in_memory.config.values, on_disk.config.values);
        let [a, b] = [in_memory, on_disk].map(|network| network.scheduler_file.as_ref().unwrap().values.clone());
        assert_eq!(a, b);
        let mut keys: Vec<&str> = on_disk.weights.names().collect();
        keys.sort_unstable();
        for key in &keys {
            let shape = on_disk.weights.shape(key).unwrap().to_vec();
            let [a, b] = [on_disk, in_memory].map(|network| network.weights.fetch(key, &shape).unwrap());
            assert_eq!(a, b, "{key}");
        }
        assert_eq!(in_memory.weights.names().count(), keys.len());
    }
}

#[test]
fn files_in_memory_that_are_no_model_are_refused_by_their_names() {
    let refused = |name: &str, files: &[(&str, &[u8])]| {
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(path, content)| (*path, content.to_vec())).collect();
        Model::from_files(name, files).unwrap_err().to_string()
    };
    assert!(refused("m", &[("model_index.json", b"{}")]).contains("unet"));
    assert!(refused("m", &[("config.json", b"{")]).contains("m/config.json"));
    assert!(refused("w.safetensors", &[("w.safetensors", b"\x89PNG")]).contains("a picture"));
    assert!(refused("no-files", &[]).contains("no-files"));
    let mut cut = digits(false);
    cut[1].1.truncate(100_000);
    assert!(Model::from_files("cut", cut).unwrap_err().to_string().contains("cut/diffusion_pytorch_model.safetensors"));
}
