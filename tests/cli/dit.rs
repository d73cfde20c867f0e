//! A diffusion transformer in every command that takes a model: a pipeline of classes, and the folder of a transformer
//! alone.

use downhill::tensor::Tensor;

use crate::{Folder, downhill, quietly};

const PIPELINE: &str = "tests/golden/dit/pipeline";
const ALONE: &str = "tests/golden/dit/dit-like";
/// Images, or latents, of both.
const SHAPE: [usize; 4] = [6, 4, 8, 8];

fn latents(folder: &Folder) -> String {
    let values = (0..SHAPE.iter().product::<usize>()).map(|at| (at as f32 * 0.7).sin()).collect::<Vec<_>>();
    folder.write("latents.npy", &Tensor::new(SHAPE, values))
}

#[test]
fn a_transformer_is_described_called_sampled_and_tuned() {
    let folder = Folder::new();
    let (x, eps, samples) = (latents(&folder), folder.at("eps.npy"), folder.at("samples.npy"));
    let labels = folder.write("labels.npy", &Tensor::new([6], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    for model in [PIPELINE, ALONE] {
        let info = downhill(&["info", model, "-b", "2", "--plan"]);
        assert!(info.code == 0 && info.stdout.contains("DiTTransformer2DModel"), "{model}: {}", info.stderr);
        let call = ["denoise", model, "-i", &x, "-o", &eps];
        downhill(&[&call[..], &["--sigma", "1"]].concat()).expect_error(2, "needs a class label for each image");
        for level in [["--timesteps", "500"], ["--sigma", "1.5"]] {
            quietly(&[&call[..], &["--class-labels", &labels], &level].concat());
            let found = folder.array("eps.npy");
            // A raw output holds the learned variance, too.
            let channels = if level[0] == "--sigma" { 4 } else { 8 };
            assert!(found.shape == [6, channels, 8, 8] && found.is_finite(), "{model}: {:?}", found.shape);
        }
        let call = ["sample", model, "--class-labels", "1,2,3", "--steps", "2", "-b", "2", "--save-samples", &samples];
        quietly(&[&call[..], &["-o", &folder.at("x.png")]].concat());
        assert_eq!(folder.array("samples.npy").shape, [3, 4, 8, 8], "{model}");
        let tune = downhill(&["tune", model, "--seconds", "0"]);
        assert_eq!(tune.code, 0, "{model}: {}", tune.stderr);
    }
}

#[test]
fn a_transformer_is_inspected() {
    let folder = Folder::new();
    let data = latents(&folder);
    for (at, model) in [PIPELINE, ALONE].into_iter().enumerate() {
        let class = ["--class-label", "3"];
        let walks: [(&str, &[&str]); 5] = [
            ("norms", &["-n", "2", "--steps", "2"]),
            ("projection", &["-n", "2", "--steps", "2", "--data", &data]),
            ("constancy", &["-n", "2", "--steps", "4", "--segments", "2"]),
            ("error-model", &["-n", "2", "--steps", "4", "--data", &data]),
            ("error", &["-n", "2", "--levels", "3", "--data", &data]),
        ];
        for (study, rest) in walks {
            let out = folder.at(&format!("{study}-{at}"));
            let call = ["inspect", study, model, "-o", &out];
            downhill(&[&call[..], rest].concat()).expect_error(2, "needs a class label for each image");
            let run = downhill(&[&call[..], rest, &class].concat());
            assert_eq!(run.code, 0, "{study} of {model}: {}", run.stderr);
            assert_eq!(folder.json(&format!("{study}-{at}/report.json"))["command"], format!("inspect {study}"));
        }
        let schedule = ["inspect", "schedule", model, "--error-model", "0.05,2", "--steps", "6"];
        let run = downhill(&schedule);
        assert!(run.code == 0 && run.stdout.contains("steps"), "{model}: {}", run.stderr);
        let jacobian = ["linear", "jacobian", model, "-n", "1", "-k", "2", "--steps", "2", "-o"];
        quietly(&[&jacobian[..], &[&folder.at(&format!("jacobian-{at}"))], &class].concat());
        let report = folder.json(&format!("jacobian-{at}/report.json"));
        assert_eq!(report["jacobian"]["products"], "exact", "{report}");
        // The studies that compare samples with digits name what they compare.
        for study in ["compare", "gamma"] {
            let call = ["inspect", study, model, "--class-label", "3", "-o", &folder.at(study)];
            downhill(&call).expect_error(2, "are 4 x 8 x 8, and cannot be compared with digits");
        }
    }
    let gamma = downhill(&["inspect", "gamma", ALONE, "--gaussian-only", "-o", &folder.at("gamma")]);
    assert_eq!(gamma.code, 0, "{}", gamma.stderr);
}
