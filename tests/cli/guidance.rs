//! Forms of guidance on the command line: `--guidance-mode`, `--guidance-interval`, `--guidance-rescale`, and guided
//! closed forms.

use crate::{Folder, adm_files, distance, downhill, quietly};

const PIPELINE: &str = "tests/golden/dit/pipeline";
/// Three calls per image, at sigma 61, 5.0 and 1.6.
const GUIDED: [&str; 7] =
    ["sample", PIPELINE, "--class-labels", "207,360", "--timesteps", "901,566,353,0", "--sampler"];

#[test]
fn forms_of_guidance_are_recorded_with_their_calls() {
    let folder = Folder::new();
    let (image, samples, report) = (folder.at("x.png"), folder.at("x.npy"), folder.at("x.json"));
    let outputs = ["-o", &image, "--save-samples", &samples, "--json", &report];
    let mut ends = Vec::new();
    for (flags, facts, unconditional) in [
        (&["--guidance-mode", "cfg++"][..], &["guidance mode", "cfg++", "0.6"][..], 6),
        (&["--guidance-interval", "0.3,3"], &["guidance interval", "0.3,3"], 2),
        (&["--guidance-rescale", "0.7"], &["guidance rescale", "0.7"], 6),
        (&["--guidance-mode", "cfg++", "--cfg-scale", "0.9", "--guidance-interval", "2,inf"], &["2,inf", "0.9"], 4),
    ] {
        let bits = ["1", "2"].map(|batch| {
            let run = downhill(&[&GUIDED[..], &["ge", "-b", batch], flags, &outputs].concat());
            assert_eq!(run.code, 0, "{flags:?}: {}", run.stderr);
            folder.bytes("x.npy")
        });
        assert!(bits[0] == bits[1], "{flags:?}: the batch changes nothing");
        let calls = &folder.json("x.json")["guidance"]["evaluations"];
        assert_eq!((calls["conditional"].as_u64(), calls["unconditional"].as_u64()), (Some(6), Some(unconditional)));
        let info = downhill(&["info", &image]).stdout;
        assert!(facts.iter().all(|fact| info.contains(fact)), "{flags:?}: {info}");
        ends.push(folder.array("x.npy"));
    }
    quietly(&[&GUIDED[..], &["ge"], &outputs].concat());
    assert!(folder.json("x.json").get("guidance").is_none_or(serde_json::Value::is_null), "guidance as it is");
    ends.push(folder.array("x.npy"));
    for (at, one) in ends.iter().enumerate() {
        assert!(ends[..at].iter().all(|other| distance(one, other) > 1e-3), "{at}");
    }
}

#[test]
fn samplers_take_cfg_plus_plus_or_say_why_not() {
    let folder = Folder::new();
    let (image, samples) = (folder.at("x.png"), folder.at("x.npy"));
    let call = |sampler: &str| {
        let call = ["sample", PIPELINE, "--class-labels", "207", "--steps", "5", "--guidance-mode", "cfg++"];
        downhill(&[&call[..], &["--sampler", sampler, "-o", &image, "--save-samples", &samples]].concat())
    };
    for sampler in ["pndm", "unipc", "dpm++2s"] {
        let run = call(sampler);
        assert_eq!(run.code, 0, "{sampler}: {}", run.stderr);
        assert!(folder.array("x.npy").is_finite(), "{sampler}");
    }
    call("lcm").expect_error(2, "`cfg++` has no meaning for this sampler");
}

#[test]
fn a_classifier_follows_mode_and_interval() {
    let folder = Folder::new();
    let text = |path: std::path::PathBuf| path.to_str().expect("UTF-8").to_owned();
    let classifier = text(adm_files::classifier(&folder.path(""), "attention"));
    let network = text(adm_files::network(&folder.path(""), "plain"));
    let (image, report, samples) = (folder.at("x.png"), folder.at("x.json"), folder.at("x.npy"));
    let call = ["sample", &network, "--class-labels", "1,4", "--steps", "4", "--classifier", &classifier];
    let outputs = ["--json", &report, "-o", &image, "--save-samples", &samples];
    let mut ends = Vec::new();
    for sampler in ["ddim", "ddpm"] {
        for flags in [
            &["--guidance-mode", "cfg++", "--classifier-scale", "0.8"][..],
            &["--guidance-interval", "0.5,5", "--classifier-scale", "40"],
            &["--guidance-interval", "0,inf", "--classifier-scale", "40"],
        ] {
            let run = downhill(&[&call[..], &["--sampler", sampler], flags, &outputs].concat());
            assert_eq!(run.code, 0, "{sampler}, {flags:?}: {}", run.stderr);
            let calls = folder.json("x.json")["guidance"]["evaluations"]["classifier"].as_u64().expect("a number");
            let all = flags[1] != "0.5,5";
            assert!(if all { calls == 8 } else { calls > 0 && calls < 8 }, "{sampler}, {flags:?}: {calls}");
            ends.push(folder.array("x.npy"));
        }
        quietly(&[&call[..], &["--sampler", sampler, "--classifier-scale", "40"], &outputs].concat());
        assert_eq!(ends.last().expect("a run"), &folder.array("x.npy"), "{sampler}: an interval of all levels");
    }
    let refused = |flags: &[&str], what: &str| {
        downhill(&[&call[..], flags, &outputs].concat()).expect_error(2, what);
    };
    refused(&["--guidance-mode", "cfg++", "--classifier-scale", "2"], "--classifier-scale");
    refused(&["--guidance-rescale", "0.5"], "--guidance-rescale");
}

#[test]
fn forms_without_guidance_are_refused_by_name() {
    let folder = Folder::new();
    let image = folder.at("x.png");
    let refused = |arguments: &[&str], what: &str| {
        downhill(&[arguments, &["-o", &image]].concat()).expect_error(2, what);
    };
    for flags in [["--guidance-mode", "cfg++"], ["--guidance-interval", "0,1"], ["--guidance-rescale", "0.5"]] {
        for model in [&["sample"][..], &["sample", "wiener:digits"], &["sample", "guided:digits,class=1,scale=2"]] {
            refused(&[model, &flags[..]].concat(), flags[0]);
        }
    }
    let dit = |flags: &[&str], what: &str| refused(&[&GUIDED[..], &["ddim"], flags].concat(), what);
    dit(&["--cfg-scale", "1", "--guidance-interval", "0,1"], "without guidance");
    dit(&["--cfg-scale", "1", "--guidance-rescale", "0.5"], "without guidance");
    dit(&["--guidance-rescale", "1.5"], "out of range");
    dit(&["--guidance-interval", "2,1"], "from 2 to 1");
    dit(&["--guidance-interval", "2"], "LO,HI");
    dit(&["--guidance-mode", "cfg++", "--cfg-scale", "7.5"], "out of range");
    dit(&["--guidance-mode", "plus"], "plus");
}

#[test]
fn guided_closed_forms_are_sampled_and_inspected() {
    let folder = Folder::new();
    let samples = folder.at("x.npy");
    let call = ["sample", "guided:digits,class=3,scale=2,of=wiener", "-n", "2", "--steps", "3", "--save-samples"];
    quietly(&[&call[..], &[&samples]].concat());
    assert!(folder.array("x.npy").is_finite());
    for study in ["error-model", "constancy"] {
        let out = folder.at(study);
        let call = ["inspect", study, "guided:digits,class=3,scale=2", "-n", "2", "--steps", "4", "-o", &out];
        let run = downhill(&call);
        assert_eq!(run.code, 0, "{study}: {}", run.stderr);
    }
    let report = folder.json("error-model/report.json");
    assert_eq!(report["projection_on"], "digits, class 3");
    assert_eq!(report["model"]["guidance"]["scale"], 2.0);

    let out = folder.at("guidance");
    let closed = ["inspect", "guidance", "--closed-form-only", "--scales", "1,3", "--steps", "10", "-o", &out];
    let run = downhill(&closed);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let rows = folder.json("guidance/report.json")["rows"].as_array().expect("rows").clone();
    let best: Vec<f64> = rows.iter().map(|row| row["closed_form"].as_f64().expect("a gamma")).collect();
    assert!(best.len() == 2 && best.iter().all(|gamma| (1.0..=3.0).contains(gamma)), "{best:?}");
    downhill(&["inspect", "guidance", "digits,class=12", "-o", &out]).expect_error(2, "class 12");
    downhill(&["inspect", "guidance", "--gammas", "2,1,3", "-o", &out]).expect_error(2, "--gammas");
}
