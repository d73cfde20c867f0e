//! The front door: models from their names to images, and how little work a run repeats.

use downhill::checkpoint::ConfigFile;
use downhill::graph::counters::{Counts, counts};
use downhill::model::{DenoiserOptions, Event, Kind};
use downhill::nets::CallSize;
use downhill::nets::architecture::read;
use downhill::sample::settings::Settings;
use downhill::{Error, Model, Sampling, Tensor};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use crate::common::engines;
use crate::goldens::{autoencoder, conditioned, golden_folders};

fn golden(name: &str) -> String {
    format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The graphs and plans that `work` makes.
fn counted(work: impl FnOnce()) -> Counts {
    let before = counts();
    work();
    let mut made = counts();
    made.plans -= before.plans;
    for (name, count) in &mut made.graphs {
        *count -= before.graphs.get(name).copied().unwrap_or(0);
    }
    made.graphs.retain(|_, count| *count > 0);
    made
}

#[test]
fn a_run_builds_its_graph_at_most_twice_and_plans_once_per_batch_size() {
    let engine = &engines()[0];
    let sample = |batch: Option<usize>, count: usize| {
        let work = counted(|| {
            let mut sampling = Model::embedded().unwrap().sampling().steps(1).count(count);
            if let Some(batch) = batch {
                sampling = sampling.batch(batch);
            }
            assert_eq!(sampling.run(engine).unwrap().len(), count);
        });
        (work.graphs["UNet2DModel"], work.plans)
    };
    assert_eq!(sample(None, 3), (1, 2), "plans of one image, to find the batch, and of the batch");
    assert_eq!(sample(None, 1), (1, 1), "the batch is one image");
    assert_eq!(sample(Some(1), 3), (1, 1));
    assert_eq!(sample(Some(2), 3), (1, 1));

    let run = |name: &str, describe: &dyn for<'a> Fn(Sampling<'a>) -> Sampling<'a>| {
        let work = counted(|| {
            let sampling = describe(Model::open(&golden(name)).unwrap().sampling().steps(1));
            assert_eq!(sampling.run(engine).unwrap().len(), 3);
        });
        println!("{name}: {work}");
        assert!(work.graphs.values().all(|count| *count <= 2), "{name}: {work}");
        work.plans
    };
    // One plan for one image, one for the batch; one each for text and decoder.
    assert_eq!(run("unet/cifar-like", &|sampling| sampling.count(3).size(16, 16)), 2);
    assert_eq!(run("unet/cifar-like", &|sampling| sampling.count(3).size(16, 16).batch(3)), 1);
    assert_eq!(run("unet/class-table", &|sampling| sampling.labels([0.0, 1.0, 2.0])), 2);
    assert_eq!(run("latent/sd1-like", &|sampling| sampling.prompt("a cat").count(3)), 4);
    assert_eq!(run("latent/sd1-like", &|sampling| sampling.prompt("a cat").count(3).size(32, 48)), 4);
    assert_eq!(run("latent/sd1-like", &|sampling| sampling.prompt("a cat").count(3).memory(1 << 30)), 4);
    assert_eq!(run("latent/sd1-like", &|sampling| sampling.prompt("a cat").count(3).guidance_scale(1.0)), 4);
    assert_eq!(run("dit/pipeline", &|sampling| sampling.labels([0.0, 1.0, 2.0])), 3);
    assert_eq!(run("dit/pipeline", &|sampling| sampling.labels([0.0, 1.0, 2.0]).guidance_scale(1.0).size(16, 16)), 3);
}

#[test]
fn a_graph_for_other_images_is_the_one_that_would_be_built() {
    for kind in ["unet", "dit"] {
        for folder in golden_folders(kind).into_iter().filter(|folder| folder.join("config.json").exists()) {
            let net = read(&ConfigFile::read(&folder.join("config.json")).unwrap()).unwrap();
            let size = net.sample_size().unwrap_or((net.smallest_side(), net.smallest_side()));
            let graph = |images| net.graph(CallSize::images(images, size)).unwrap();
            assert_eq!(graph(2).for_images(2, 6), graph(6), "{}", folder.display());
            assert_eq!(graph(2).for_images(2, 1), graph(1), "{}", folder.display());
        }
    }
    for golden in conditioned::goldens() {
        let (_, net) = golden.open();
        let graph = |images| net.graph(golden.size(images)).unwrap();
        assert_eq!(graph(2).for_images(2, 6), graph(6), "{}", golden.name);
    }
    for golden in autoencoder::goldens() {
        let (_, net) = golden.open();
        let (latents, images) = (golden.size(), (golden.image.shape[2], golden.image.shape[3]));
        assert_eq!(net.decoder(1, latents).unwrap().for_images(1, 3), net.decoder(3, latents).unwrap());
        assert_eq!(net.encoder(1, images).unwrap().for_images(1, 3), net.encoder(3, images).unwrap());
    }
}

#[test]
fn images_are_the_same_in_any_batch_and_part() {
    let engine = &engines()[0];
    let digits = Model::embedded().unwrap();
    let whole = digits.sampling().steps(3).count(5).seed(9).run(engine).unwrap();
    assert_eq!(digits.sampling().steps(3).count(5).seed(9).batch(2).run(engine).unwrap(), whole);
    assert_eq!(digits.sampling().steps(3).count(9).range(3..5).seed(9).run(engine).unwrap(), whole[3..]);
    assert_ne!(digits.sampling().steps(3).count(5).seed(8).run(engine).unwrap(), whole);
}

#[test]
fn a_run_is_watched_kept_and_stopped() {
    let engine = &engines()[0];
    let digits = Model::embedded().unwrap();
    let mut steps = 0;
    let run = digits.sampling().steps(4).count(2).batch(1).keep_path(true).keep_predictions(true).observe(|event| {
        steps += usize::from(matches!(event, Event::Step { .. }));
        Ok(())
    });
    for batch in run.on(engine).unwrap() {
        let batch = batch.unwrap();
        assert_eq!((batch.path.len(), batch.predictions.len()), (4, 4));
        assert_eq!(batch.samples, batch.pixels);
    }
    assert_eq!(steps, 8);
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let run = digits.sampling().steps(4).count(1).cancel(stop).observe(move |event| {
        flag.store(matches!(event, Event::Step { .. }), Ordering::Relaxed);
        Ok(())
    });
    assert!(matches!(run.run(engine), Err(Error::Cancelled)));
}

#[test]
fn a_run_that_is_stopped_leaves_those_of_other_threads_on_its_device() {
    let engine = &engines()[0];
    let digits = Model::embedded().unwrap();
    let run = |seed| digits.sampling().steps(6).seed(seed).count(2);
    let alone = [1, 2].map(|seed| run(seed).run(engine).unwrap());
    let began = Barrier::new(3);
    let (went_on, stopped) = std::thread::scope(|scope| {
        let going_on = [1, 2].map(|seed| {
            let began = &began;
            scope.spawn(move || {
                began.wait();
                run(seed).run(engine)
            })
        });
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let stopped = run(3).cancel(stop).observe(move |event| {
            flag.fetch_or(matches!(event, Event::Step { .. }), Ordering::Relaxed);
            Ok(())
        });
        began.wait();
        let stopped = stopped.run(engine);
        (going_on.map(|thread| thread.join().unwrap().unwrap()), stopped)
    });
    assert!(matches!(stopped, Err(Error::Cancelled)));
    assert!(went_on == alone);
    assert!(run(1).run(engine).unwrap() == alone[0], "nothing is left of the request to stop");
}

#[test]
fn whole_batches_of_a_stopped_pipeline_are_decoded() {
    let engine = &engines()[0];
    let model = Model::open(&golden("latent/sd1-like")).unwrap();
    // With little memory the decoder comes after the last step.
    for memory in [1 << 30, 14 << 20] {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let sampling = model.sampling().prompt("a cat").steps(3).count(4).batch(1).memory(memory);
        let run = sampling.cancel(stop).observe(move |event| {
            flag.fetch_or(matches!(event, Event::Step { images: [2], .. }), Ordering::Relaxed);
            Ok(())
        });
        let batches: Vec<_> = run.on(engine).unwrap().collect();
        assert!(matches!(batches[..], [Ok(_), Ok(_), Err(Error::Cancelled)]), "{memory}");
        assert!(batches.iter().flatten().all(|batch| batch.images().unwrap().len() == 1), "{memory}");
    }
}

#[test]
fn names_stand_for_networks_pipelines_and_closed_forms() {
    assert!(matches!(Model::open(&golden("unet/cifar-like")).unwrap().kind(), Kind::Network(_)));
    assert!(matches!(Model::open(&golden("latent/sd1-like")).unwrap().kind(), Kind::Latent(_)));
    assert!(matches!(Model::open("pca:digits,k=4").unwrap().kind(), Kind::ClosedForm(_)));
    for name in ["no-such-model", "median:digits"] {
        assert!(Model::open(name).is_err(), "{name}");
    }
    let network = Model::open_network(Some(&golden("latent/sd1-like"))).unwrap();
    assert!(matches!(network.kind(), Kind::Network(_)), "of a pipeline the network alone");
}

#[test]
fn a_model_is_a_denoiser() {
    let engine = &engines()[0];
    for name in ["pca:digits,k=4", &golden("unet/cifar-like")] {
        let model = Model::open(name).unwrap();
        let [c, h, w] = model.denoised_shape(None).unwrap();
        let levels = vec![model.levels(3)[1]; 2];
        let options = DenoiserOptions { batch: None, images: 2, label: None };
        let mut placed = model.denoiser(engine, &options, &mut |_| Ok(())).unwrap();
        let eps = placed.denoiser.eps(&Tensor::zeros([2, c, h, w]), &levels).unwrap();
        assert!(eps.shape == [2, c, h, w] && eps.is_finite(), "{name}");
    }
}

#[test]
fn settings_that_mean_nothing_to_a_model_are_refused() {
    let digits = Model::embedded().unwrap();
    let form = Model::open("pca:digits,k=4").unwrap();
    let text = Model::open(&golden("latent/sd1-like")).unwrap();
    let refused = |result: Result<_, Error>, part: &str| {
        let error = result.map(|_: downhill::model::ModelRun| ()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(digits.sampling().prompt("a cat").resolve(), "`prompt` has no meaning");
    refused(digits.sampling().labels([1.0]).resolve(), "`class_labels` has no meaning");
    refused(digits.sampling().batch(0).resolve(), "`batch`");
    refused(digits.sampling().count(2).images([2]).resolve(), "image 2 of a run of 2");
    refused(digits.sampling().noise(Tensor::zeros([1, 1, 28, 28])).count(2).resolve(), "`count` of 2");
    refused(form.sampling().labels([1.0]).resolve(), "`class_labels` has no meaning");
    refused(form.sampling().size(9, 9).resolve(), "images of 9x9");
    let listed = Settings { timesteps: Some(vec![9.0, 0.0]), ..Settings::default() };
    refused(form.sampling().settings(listed).resolve(), "no timesteps");
    refused(text.sampling().resolve(), "makes images from texts");
    refused(text.sampling().prompt("a cat").size(60, 64).resolve(), "60 x 64");
    refused(text.sampling().prompt("a cat").guidance_scale(f64::NAN).resolve(), "`cfg_scale`");
}
