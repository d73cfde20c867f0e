//! Guidance by a classifier from outside: `--classifier` and `--classifier-scale`.

use downhill::formats::npy;

use crate::{Folder, adm_files, distance, downhill};

fn text(path: std::path::PathBuf) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn guided_paths_are_those_of_the_original_in_any_batch() {
    let folder = Folder::new();
    let classifier = text(adm_files::classifier(&folder.path(""), "attention"));
    let name = "plain";
    let network = text(adm_files::network(&folder.path(""), name));
    let noise = format!("tests/golden/adm/{name}/noise.npy");
    let call = ["sample", &network, "--class-labels", "1,4", "--sampler", "ddim", "--schedule", "leading"];
    let rest = ["--steps", "5", "--init-noise", &noise];
    let guided = ["--classifier", &classifier, "--classifier-scale", "40"];
    let paths = ["1", "2"].map(|batch| {
        let (path, image) = (folder.at("path.npy"), folder.at("x.png"));
        let outputs = ["-b", batch, "--save-path", &path, "-o", &image, "--json", &folder.at("x.json")];
        let run = downhill(&[&call[..], &rest, &guided, &outputs].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        folder.bytes("path.npy")
    });
    assert!(paths[0] == paths[1], "the batch changes nothing");
    let expected = npy::read(format!("tests/golden/adm_guided/{name}/ddim.npy")).expect("a golden");
    let apart = distance(&folder.array("path.npy"), &expected);
    assert!(apart < 1e-3, "{name}: {apart:e}");
    let report = folder.json("x.json");
    let sha256 = report["classifier"]["sha256"].as_str().expect("a digest").to_owned();
    assert_eq!((sha256.len(), report["classifier"]["scale"].as_f64()), (64, Some(40.0)));
    let info = downhill(&["info", &folder.at("x.png")]).stdout;
    for fact in [&sha256, "classifier-attention.safetensors", "classifier scale", "1,4"] {
        assert!(info.contains(fact), "{fact}: {info}");
    }
}

#[test]
fn classifiers_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let network = text(adm_files::network(&folder.path(""), "plain"));
    let of_five = text(adm_files::classifier(&folder.path(""), "attention"));
    let grey = text(adm_files::classifier(&folder.path(""), "adaptive"));
    let pooled = text(adm_files::network(&folder.path(""), "pooled"));
    let output = folder.at("x.png");
    let refused = |flags: &[&str], code: i32, what: &str| {
        downhill(&[&["sample"], flags, &["-o", &output]].concat()).expect_error(code, what);
    };
    let labelled = ["--class-labels", "1"];
    refused(&[&network, "--classifier", &of_five], 2, "`--classifier` needs a class label for each image");
    refused(&[&network, "--classifier", &of_five, "--class-labels", "5"], 2, "does not have a class 5");
    refused(&[&network, "--classifier-scale", "2"], 2, "--classifier");
    let call = |model: &str, classifier: &str, what: &str| {
        refused(&[&[model, "--classifier", classifier], &labelled[..]].concat(), 2, what);
    };
    call(&network, &grey, "images of 1 channels");
    call(&pooled, &of_five, "images of 3 channels");
    refused(&["pca:digits", "--classifier", &of_five], 2, "`--classifier` has no meaning for `pca:digits`");
    call("tests/golden/dit/pipeline", &of_five, "`--classifier` has no meaning for");
    let larger = [&network, "--size", "16x16", "--classifier", &of_five];
    refused(&[&larger[..], &labelled].concat(), 2, "images of 8x8, and those of");
    refused(&[&[&network, "--classifier", &network], &labelled[..]].concat(), 4, "not a classifier");
    refused(&[&[&network, "--classifier", &folder.at("none.pt")], &labelled[..]].concat(), 2, "none.pt");
}
