//! The recipe for samplers in `docs/EXTENDING.md`: one file, and two lines of `samplers/mod.rs`.

use std::path::{Path, PathBuf};

use downhill::sample::samplers::Sampler;

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

#[test]
fn a_sampler_is_one_file_and_two_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folder = root.join("sample/samplers");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let table = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
    for sampler in Sampler::ALL {
        let names = |path: &Path, text: &str| {
            path.starts_with(&folder)
                && text.contains(&format!("    name: \"{sampler}\","))
                && text.contains("SPEC: Spec")
        };
        let own: Vec<_> = files.iter().filter(|(path, text)| names(path, text)).map(|(path, _)| path).collect();
        let [own] = own[..] else { panic!("{sampler} has files {own:?}") };
        let module = own.file_stem().unwrap().to_str().unwrap();
        let is_line =
            |line: &&str| line.ends_with(&format!("mod {module};")) || line.ends_with(&format!("= {module},"));
        assert_eq!(table.lines().filter(is_line).count(), 2, "{sampler}: lines of the table");
        // Gradient estimation samples the folders of DDPM and DDIM. Layouts of single files state the scheduler that
        // the folder of their model would have.
        let Some(class) = sampler.spec().class else { continue };
        let others: Vec<_> = files
            .iter()
            .filter(|(path, _)| !path.starts_with(root.join("checkpoint/layouts")))
            .filter(|(path, text)| path != own && !path.ends_with("ge.rs") && text.contains(&format!("\"{class}\"")))
            .map(|(path, _)| path)
            .collect();
        assert!(others.is_empty(), "`{class}` is named in {others:?} too");
    }
}
