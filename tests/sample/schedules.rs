//! Lists of levels: those of the paper's code, of diffusers, and the errors for those that cannot be.

use downhill::Error;
use downhill::denoise::diffusion::{BetaConfig, BetaSchedule, NoiseTable};
use downhill::sample::samplers::Sampler;
use downhill::sample::schedule::{Level, Scale, Schedule, ScheduleKind, ScheduleShape, Successor};
use downhill::sample::scheduler_config::{LevelConfig, SchedulerConfig};
use downhill::sample::settings::Course;
use downhill::sample::walk::{Method, sample};
use downhill::tensor::Tensor;
use serde_json::json;

use super::{Pointwise, resolve, run_quietly, settings};

const SHAPE: ScheduleShape = ScheduleShape {
    steps: 10,
    sigma_max: None,
    sigma_min: None,
    steps_offset: 0,
    set_alpha_to_one: true,
    successor: Successor::NextThenFinal,
};

fn timesteps(schedule: &Schedule) -> Vec<f64> {
    schedule.levels().iter().map(|level| level.timestep.unwrap()).collect()
}

fn made(kind: ScheduleKind, shape: &ScheduleShape) -> Schedule {
    Schedule::new(kind, shape, &NoiseTable::default()).unwrap()
}

#[test]
fn the_papers_schedule() {
    for (steps, expected) in [
        (5, vec![853, 652, 380, 116, 22, 0]),
        (10, vec![853, 765, 665, 549, 415, 270, 148, 73, 33, 14, 0]),
        (20, vec![853, 810, 765, 717, 665, 610, 551, 486, 417, 345, 273, 206, 151, 107, 74, 51, 34, 22, 14, 9, 0]),
    ] {
        let schedule = resolve(json!({"sampler": "ge", "steps": steps})).unwrap().schedule;
        assert_eq!(timesteps(&schedule), expected.into_iter().map(f64::from).collect::<Vec<_>>());
        assert_eq!(schedule.scale(), Scale::VariancePreserving);
        assert!((schedule.end().sigma - 0.0100).abs() < 1e-5, "it ends at sigma(0), not at 0");
    }
}

#[test]
fn the_papers_baselines() {
    let shape = SHAPE;
    assert_eq!(
        timesteps(&made(ScheduleKind::Ddim, &shape)),
        [999., 899., 799., 699., 599., 499., 399., 299., 199., 99., 0.]
    );
    let offset = ScheduleShape { sigma_max: Some(40.0), ..shape };
    assert_eq!(
        timesteps(&made(ScheduleKind::Ddim, &offset)),
        [853., 767., 682., 597., 511., 426., 341., 255., 170., 85., 0.]
    );
    assert_eq!(
        timesteps(&made(ScheduleKind::Edm, &shape)),
        [930., 868., 794., 705., 591., 441., 252., 93., 22., 2., 0.]
    );
    let fifty = made(ScheduleKind::Edm, &ScheduleShape { steps: 50, ..shape });
    assert_eq!(fifty.steps().len(), 47, "what snaps to timestep 0 again is not visited again");
}

/// `GEScheduler` of the paper's repository on Stable Diffusion's levels: 8.35 down to sigma(T / N).
#[test]
fn the_papers_schedule_on_latent_levels() {
    let betas = BetaConfig {
        beta_start: 0.000_85,
        beta_end: 0.012,
        beta_schedule: BetaSchedule::ScaledLinear,
        ..BetaConfig::default()
    };
    let config = SchedulerConfig { levels: LevelConfig::Betas(betas), ..SchedulerConfig::default() };
    let table = config.noise_table("scheduler_config.json".as_ref()).unwrap();
    let shape = ScheduleShape { sigma_max: Some(8.35), sigma_min: Some(table.sigma(100.0)), ..SHAPE };
    let schedule = Schedule::new(ScheduleKind::Paper, &shape, &table).unwrap();
    assert_eq!(timesteps(&schedule), [901., 830., 751., 663., 566., 461., 353., 252., 166., 100., 0.]);
    let own = Schedule::new(ScheduleKind::Paper, &SHAPE, &table).unwrap();
    assert_eq!(own.start().timestep, Some(999.0), "40 is beyond these levels: the default gives way");
    let latents = config.for_latents();
    let Course { schedule, .. } = settings(json!({"sampler": "ge", "steps": 10})).resolve(&latents, &table).unwrap();
    assert_eq!(timesteps(&schedule), [901., 830., 751., 663., 566., 461., 353., 252., 166., 100., 0.]);
    for steps in [1, 2, 50, 1000] {
        settings(json!({"sampler": "ge", "steps": steps})).resolve(&latents, &table).unwrap();
    }
}

/// `StableDiffusionImg2ImgPipeline.get_timesteps`: the last `int(N * strength)` of N.
#[test]
fn strength_keeps_the_last_steps() {
    let config = SchedulerConfig::default().for_latents();
    let table = NoiseTable::default();
    let resolve = |strength: f64, sampler: &str| {
        settings(json!({"sampler": sampler, "steps": 5, "strength": strength, "schedule": "leading"}))
            .resolve(&config, &table)
            .map(|course| course.schedule.steps().iter().map(|step| step.from.timestep.unwrap()).collect::<Vec<_>>())
    };
    assert_eq!(resolve(0.6, "ddim").unwrap(), [401., 201., 1.]);
    assert_eq!(resolve(1.0, "ddim").unwrap(), [801., 601., 401., 201., 1.]);
    assert_eq!(resolve(0.79, "euler").unwrap().len(), 3);
    for (strength, expected) in [(0.19, "leaves none"), (0.0, "out of range"), (1.5, "out of range")] {
        let error = resolve(strength, "ddim").unwrap_err();
        assert_eq!(error.kind(), downhill::ErrorKind::Argument);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// Sums over all N from 1 to 1000 of `(timesteps * arange(1, N + 1)).sum() % 1000003`, from diffusers 0.42.1
/// (`DDIMScheduler(timestep_spacing=...).set_timesteps(N)`, the first N of them: numpy.arange gives it one too many at
/// times).
#[test]
fn spacings_are_those_of_diffusers_for_every_number_of_steps() {
    for (kind, expected) in [
        (ScheduleKind::Leading, 487_301_301),
        (ScheduleKind::Trailing, 483_935_050),
        (ScheduleKind::Linspace, 472_233_788),
    ] {
        let checksum = |steps| {
            let schedule = made(kind, &ScheduleShape { steps, ..SHAPE });
            assert_eq!(schedule.steps().len(), steps);
            let timesteps = schedule.steps().iter().map(|step| step.from.timestep.unwrap() as u64);
            timesteps.zip(1..).map(|(t, place)| t * place).sum::<u64>() % 1_000_003
        };
        assert_eq!((1..=1000).map(checksum).sum::<u64>(), expected, "{kind:?}");
    }
}

#[test]
fn spacings_end_where_the_scheduler_says() {
    let offset = SchedulerConfig { steps_offset: 1, set_alpha_to_one: Some(false), ..SchedulerConfig::default() };
    let table = NoiseTable::default();
    let leading = |sampler: &str, config: &SchedulerConfig| {
        settings(json!({"sampler": sampler, "schedule": "leading", "steps": 5}))
            .resolve(config, &table)
            .unwrap()
            .schedule
    };
    let schedule = leading("ddim", &offset);
    let called: Vec<f64> = schedule.steps().iter().map(|step| step.from.timestep.unwrap()).collect();
    assert_eq!(called, [801., 601., 401., 201., 1.]);
    assert_eq!(schedule.end(), Level { sigma: table.sigma_min(), timestep: Some(0.0) });
    assert_eq!(leading("ddim", &SchedulerConfig::default()).end(), Level::CLEAN);
    assert_eq!(leading("ddpm", &offset).end(), Level::CLEAN, "DDPMScheduler has no other end");
    assert_eq!(leading("ge", &offset).end().timestep, Some(0.0));
}

/// `DDIMScheduler` steps to t - T // N, whatever its list says.
#[test]
fn ddim_strides_where_the_list_does_not() {
    let steps = |sampler: &str| {
        let asked = json!({"sampler": sampler, "schedule": "trailing", "steps": 7});
        resolve(asked).unwrap().schedule.steps()[..2].to_vec()
    };
    let ends = |sampler: &str| steps(sampler).iter().map(|s| (s.from.timestep, s.to.timestep)).collect::<Vec<_>>();
    assert_eq!(ends("ddim"), [(Some(999.0), Some(857.0)), (Some(856.0), Some(714.0))]);
    assert_eq!(ends("ddpm"), [(Some(999.0), Some(856.0)), (Some(856.0), Some(713.0))]);
}

#[test]
fn grids_of_sigma() {
    let sigmas = |json| {
        let schedule = resolve(json).unwrap().schedule;
        assert_eq!(schedule.scale(), Scale::VarianceExploding);
        schedule.levels().iter().map(|level| level.sigma).collect::<Vec<_>>()
    };
    let karras = sigmas(json!({"schedule": "karras", "steps": 3, "sigma_max": 128.0, "sigma_min": 1.0}));
    let middle = 1.5f64.powi(7);
    assert!((karras[0] - 128.0).abs() < 1e-9 && (karras[1] - middle).abs() < 1e-9 && (karras[2] - 1.0).abs() < 1e-12);
    assert_eq!((karras.len(), karras[3]), (4, 0.0));
    let even = sigmas(json!({"schedule": "loglinear", "steps": 4, "sigma_max": 81.0, "sigma_min": 1.0}));
    assert_eq!(even.len(), 5);
    assert!(even.windows(2).all(|pair| (pair[0] / pair[1] - 3.0).abs() < 1e-9));
    assert_eq!(sigmas(json!({"sigmas": [3.0, 1.5, 0.0]})), [3.0, 1.5, 0.0]);
}

#[test]
fn explicit_timesteps() {
    let table = NoiseTable::default();
    let schedule = resolve(json!({"timesteps": [900.0, 10.5, 0.0], "steps": 2})).unwrap().schedule;
    assert_eq!(timesteps(&schedule), [900.0, 10.5, 0.0]);
    assert_eq!(schedule.start().sigma, table.sigmas()[900]);
    let before_zero = json!({"timesteps": [900, 0, -1]});
    assert_eq!(resolve(before_zero.clone()).unwrap().schedule.end(), Level::CLEAN);
    let first = SchedulerConfig { set_alpha_to_one: Some(false), ..SchedulerConfig::default() };
    let schedule = settings(before_zero).resolve(&first, &table).unwrap().schedule;
    assert_eq!(schedule.end().timestep, Some(0.0));
}

/// diffusers' DDIM without `set_alpha_to_one` steps from timestep 0 to the level of timestep 0: `0,0` in a list.
#[test]
fn a_repeated_timestep_is_a_step_of_its_own() {
    let table = NoiseTable::default();
    let config = SchedulerConfig { set_alpha_to_one: Some(false), ..SchedulerConfig::default() };
    let walk = |asked| settings(asked).resolve(&config, &table).unwrap();
    let Course { schedule: spaced, method, .. } = walk(json!({"sampler": "ddim", "steps": 4}));
    let listed = walk(json!({"sampler": "ddim", "timesteps": [750, 500, 250, 0, 0]}));
    assert_eq!(listed.schedule, spaced);
    assert_eq!((listed.method.solver.settings(), listed.method.clip), (method.solver.settings(), method.clip));
    let level = walk(json!({"timesteps": [5, 5]})).schedule;
    assert_eq!(level.steps().len(), 1);
    let mut calls = 0;
    let mut constant = Pointwise([1, 1, 1], |_, _| {
        calls += 1;
        0.5
    });
    let x = Tensor::new([1, 1, 1, 1], vec![3.0]);
    let unclipped = Method { clip: None, ..method };
    let end = run_quietly(&mut constant, &level, &unclipped, x.clone()).unwrap();
    assert!((end.data[0] - x.data[0]).abs() < 1e-6);
    assert_eq!(calls, 1);
}

/// The samplers that diffusers steps in sigma start with sigma of noise, but for `leading`; the others with z = noise.
#[test]
fn start_noise_is_that_of_the_sampler() {
    let noise = Tensor::new([1, 1, 1, 1], vec![1.0]);
    for (asked, of_sigma) in [
        (json!({"sampler": "euler", "steps": 5}), true),
        (json!({"sampler": "heun", "schedule": "trailing", "steps": 5}), true),
        (json!({"sampler": "lms", "schedule": "leading", "steps": 5}), false),
        (json!({"sampler": "euler-a", "timesteps": [100, 50, 0]}), true),
        (json!({"sampler": "euler", "sigmas": [2.0, 1.0, 0.0]}), true),
        (json!({"sampler": "dpm++2m", "steps": 5}), false),
        (json!({"sampler": "unipc", "sigmas": [2.0, 1.0, 0.0]}), false),
        (json!({"sampler": "pndm", "steps": 5}), false),
    ] {
        let schedule = resolve(asked.clone()).unwrap().schedule;
        let sigma = schedule.start().sigma;
        let expected = if of_sigma { sigma } else { sigma.hypot(1.0) };
        assert!((f64::from(schedule.start_state(&noise).data[0]) / expected - 1.0).abs() < 1e-6, "{asked}");
    }
}

/// Every sampler walks down every kind of schedule, and lists too.
#[test]
fn every_sampler_takes_every_schedule() {
    let kinds = ["paper", "ddim", "leading", "trailing", "linspace", "edm", "karras", "loglinear", "exponential"];
    for sampler in Sampler::ALL {
        let lists = [json!({"timesteps": [900, 600, 300, 50, 0]}), json!({"sigmas": [30.0, 6.0, 1.0, 0.3, 0.0]})];
        let kinds = kinds.map(|kind| json!({"schedule": kind, "steps": 8}));
        for mut asked in kinds.into_iter().chain(lists) {
            asked["sampler"] = json!(sampler.name());
            asked["clip"] = json!(false);
            let Course { schedule, method, .. } = resolve(asked.clone()).unwrap();
            // The data is a Gaussian of unit variance: its samples are about one, from any start.
            let mut gaussian = Pointwise([1, 1, 1], |x, sigma| x * sigma / (1.0 + sigma * sigma));
            let x = schedule.start_state(&Tensor::new([1, 1, 1, 1], vec![1.0]));
            let mut none = |_| Ok(Tensor::zeros([1, 1, 1, 1]));
            let end = sample(&mut gaussian, &schedule, &method, x, &mut none, &mut |_| Ok(())).unwrap();
            let end = f64::from(schedule.shown(&end, schedule.end()).data[0]);
            assert!(end.is_finite() && end.abs() < 2.0, "{asked}: {end}");
            if !method.solver.is_stochastic() {
                assert!((0.5..2.0).contains(&end), "{asked}: {end}");
            }
        }
    }
}

/// The order of a solver, by how its error on a Gaussian falls when the steps are halved. Multistep solvers begin with
/// a step of order 1, so that two is what most of them show.
#[test]
fn solvers_are_of_their_order() {
    let error = |sampler: &str, config: &SchedulerConfig, steps: i32| {
        let sigmas: Vec<f64> =
            (0..=steps).map(|i| 4.0 * (0.5f64 / 4.0).powf(f64::from(i) / f64::from(steps))).collect();
        let asked = settings(json!({"sampler": sampler, "sigmas": sigmas, "clip": false}));
        let Course { schedule, method, .. } = asked.resolve(config, &NoiseTable::default()).unwrap();
        let mut gaussian = Pointwise([1, 1, 1], |x, sigma| x * sigma / (1.0 + sigma * sigma));
        let x = Tensor::new([1, 1, 1, 1], vec![1000.0]);
        let end = run_quietly(&mut gaussian, &schedule, &method, x).unwrap();
        (f64::from(end.data[0]) / 1000.0 - (1.25f64 / 17.0).sqrt()).abs()
    };
    let third = super::config::read(json!({"solver_order": 3, "lower_order_final": false})).unwrap();
    let usual = super::config::read(json!({"lower_order_final": false})).unwrap();
    for (sampler, config, order) in [
        ("ddim", &usual, 1.0),
        ("euler", &usual, 1.0),
        ("heun", &usual, 2.0),
        ("dpm++2m", &usual, 2.0),
        ("deis", &usual, 2.0),
        ("unipc", &usual, 2.0),
        ("dpm++2m", &third, 2.0),
        ("deis", &third, 2.0),
        ("unipc", &third, 3.0),
        ("lms", &usual, 2.0),
        ("pndm", &usual, 2.0),
    ] {
        let (coarse, fine) = (error(sampler, config, 20), error(sampler, config, 40));
        let measured = (coarse / fine).log2();
        println!("{sampler}: order {measured:.2}, {coarse:.1e} to {fine:.1e}");
        // Below that, it is float32 that errs.
        assert!(measured > order - 0.35 || fine < 1e-6, "{sampler}: order {measured}, {coarse:e} to {fine:e}");
    }
}

#[test]
fn a_huge_sigma_is_told_in_few_digits() {
    let schedule = Schedule::from_sigmas(&[1e300, 12.0]).unwrap();
    assert_eq!(schedule.start().to_string(), "sigma 1.0000e300");
    assert_eq!(schedule.end().to_string(), "sigma 12.0000");
}

#[test]
fn what_cannot_be_is_a_usage_error() {
    for (asked, message) in [
        (json!({"steps": 0}), "a schedule of 0 steps on a model of 1000 timesteps"),
        (json!({"steps": 1001}), "a schedule of 1001 steps"),
        (json!({"sigma_max": 200.0}), "`sigma_max` of 200 is outside"),
        (json!({"sigma_max": 0.001}), "`sigma_max` of 0.001 is outside"),
        (json!({"sigma_max": 1.0, "sigma_min": 2.0}), "a range of sigma from 1 to 2"),
        (json!({"schedule": "karras", "sigma_max": -1.0}), "`sigma_max` of -1 is not a noise level"),
        (json!({"schedule": "leading", "sigma_max": 9.0}), "`sigma_max` has no meaning for the schedule `leading`"),
        (json!({"schedule": "ddim", "sigma_min": 1.0}), "`sigma_min` has no meaning for the schedule `ddim`"),
        (json!({"timesteps": [5]}), "`timesteps` holds 1 values"),
        (json!({"timesteps": [5, 5, 7]}), "`timesteps`: 7 follows 5"),
        (json!({"timesteps": [0, -1, -1]}), "`timesteps`: -1 is not a timestep"),
        (json!({"timesteps": [5, 7, 0]}), "`timesteps`: 7 follows 5"),
        (json!({"timesteps": [1000, 0]}), "`timesteps`: 1000 is not a timestep"),
        (json!({"timesteps": [9, -2]}), "`timesteps`: -2 is not a timestep"),
        (json!({"timesteps": [9, -0.5]}), "`timesteps`: -0.5 is not a timestep"),
        (json!({"sigmas": [1.0, 2.0]}), "`sigmas`: 2 follows 1"),
        (json!({"sigmas": [1.0, 0.0, -1.0]}), "`sigmas`: -1 is negative"),
        (json!({"sigmas": [1.0, 0.0, 0.0]}), "`sigmas`: 0 stands before the last value"),
        (json!({"sigmas": [1.0, 0.0], "timesteps": [5, 0]}), "both `timesteps` and `sigmas`"),
        (json!({"sigmas": [1.0, 0.0], "schedule": "paper"}), "`schedule` contradicts `sigmas`"),
        (json!({"timesteps": [5, 0], "steps": 2}), "`steps` contradicts `timesteps`"),
        (json!({"timesteps": [5, 0], "sigma_max": 2.0}), "`sigma_max` contradicts `timesteps`"),
        (json!({"sampler": "ddim", "gamma": 2.0}), "`gamma` has no meaning for the sampler `ddim`"),
        (json!({"sampler": "ddpm", "eta": 1.0}), "`eta` has no meaning for the sampler `ddpm`"),
        (json!({"eta": 1.0}), "`eta` has no meaning for the sampler `ge`"),
        (json!({"mu": 1.0}), "`mu` of 1 is out of range"),
        (json!({"sampler": "ddim", "eta": 1.5}), "`eta` of 1.5 is out of range"),
    ] {
        let error = resolve(asked.clone()).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }) && error.hint().is_some(), "{asked}: {error:?}");
        assert!(error.to_string().starts_with(message), "{asked}: {error}");
    }
    let finite = Schedule::from_sigmas(&[f64::NAN, 1.0]).unwrap_err();
    assert_eq!(finite.to_string(), "`sigmas` holds a value that is not a number");
    let beyond = SchedulerConfig { steps_offset: 1, ..SchedulerConfig::default() };
    let asked = settings(json!({"sampler": "ddpm", "steps": 1000}));
    let error = asked.resolve(&beyond, &NoiseTable::default()).unwrap_err();
    assert!(error.to_string().contains("`steps_offset` of 1"), "{error}");
}
