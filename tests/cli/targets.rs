//! Where the images of `downhill sample` go, and what they tell of themselves.

use crate::{Folder, downhill, quietly};

#[test]
fn an_image_tells_how_it_was_made() {
    let folder = Folder::new();
    let pattern = folder.at("%d.png");
    let run = downhill(&["sample", "-n", "3", "-s", "7", "--steps", "2", "-o", &pattern]);
    run.expect(&format!("wrote 3 images, {} to {}\n", folder.at("0.png"), folder.at("2.png")));
    let told = downhill(&["info", &folder.at("2.png")]);
    assert_eq!((told.code, told.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("metadata_of_an_image", told.stdout.replace(env!("CARGO_PKG_VERSION"), "VERSION"));

    quietly(&["sample", "-n", "1", "--steps", "2", "--exact", "-o", &pattern]);
    let told = downhill(&["info", &folder.at("0.png")]);
    assert!(told.stdout.contains("by their definition"), "{}", told.stdout);

    let grid = folder.at("grid-1.png");
    quietly(&["sample", "-n", "5", "--shard", "1/2", "--sampler", "ddim", "--timesteps", "500,0", "-o", &grid]);
    let told = downhill(&["info", &grid]);
    insta::assert_snapshot!("metadata_of_a_grid", told.stdout.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn an_archive_holds_the_pixels_of_the_single_images() {
    let folder = Folder::new();
    let sample = ["sample", "-n", "3", "--steps", "2"];
    quietly(&[&sample[..], &["-b", "2", "-o", &folder.at("x.npz")]].concat());
    quietly(&[&sample[..], &["-o", &folder.at("%d.png")]].concat());
    let file = std::fs::File::open(folder.path("x.npz")).expect("a file");
    let mut archive = zip::ZipArchive::new(file).expect("an archive");
    let array = npyz::NpyFile::new(archive.by_name("arr_0.npy").expect("`arr_0`")).expect("an array");
    assert_eq!(array.shape(), [3, 28, 28, 1]);
    let pixels: Vec<u8> = array.into_vec().expect("uint8");
    let images: Vec<u8> = ["0.png", "1.png", "2.png"]
        .iter()
        .flat_map(|name| image::load_from_memory(&folder.bytes(name)).expect("a PNG").to_luma8().into_raw())
        .collect();
    assert_eq!(pixels, images);
}

#[test]
fn a_resumed_run_makes_what_is_missing() {
    let folder = Folder::new();
    let pattern = folder.at("%02d.png");
    let sample = ["sample", "-n", "4", "--steps", "2", "-o", &pattern];
    quietly(&sample);
    let whole = folder.names().iter().map(|name| folder.bytes(name)).collect::<Vec<_>>();
    std::fs::remove_file(folder.path("00.png")).expect("removed");
    std::fs::write(folder.path("02.png"), &whole[2][..whole[2].len() / 2]).expect("cut");
    let resume = [&sample[..], &["--resume"]].concat();
    let expected =
        format!("2 of 4 images exist already\nwrote 2 images, {} to {}\n", folder.at("00.png"), folder.at("02.png"));
    downhill(&resume).expect(&expected);
    let resumed = folder.names().iter().map(|name| folder.bytes(name)).collect::<Vec<_>>();
    assert_eq!(resumed, whole);

    let done = "4 of 4 images exist already\nnothing to do: every image exists already\n";
    downhill(&resume).expect(done);
    let other = downhill(&[&resume[..], &["-s", "5"]].concat());
    let what = format!("of the existing images were made with other settings: in `{}`", folder.at("00.png"));
    other.expect_error(2, &format!("error: 4 {what}, `--seed` is 0, and in this run 5\nhint: repeat the settings"));
    other.expect_error(2, "name other files by `--output`; without `--resume`, they are replaced");
    let kept = folder.names().iter().map(|name| folder.bytes(name)).collect::<Vec<_>>();
    assert_eq!(kept, whole, "nothing is touched");
}

#[test]
fn samples_that_are_no_images_are_saved_as_arrays_only() {
    let folder = Folder::new();
    let (model, z) = (folder.at("model"), folder.at("z.npy"));
    two_channels(&folder);
    let error = "error: samples of 2 channels cannot be shown as images, which have 1, 3 or 4\nhint: ";
    for more in [&[][..], &["-o", "x.png", "--save-samples", &z], &["--save-samples", &z, "--save-steps", "steps"]] {
        downhill(&[&["sample", &model, "-n", "1", "--size", "8x4"][..], more].concat()).expect_error(2, error);
    }
    let run = downhill(&["sample", &model, "-n", "1", "--steps", "1", "--size", "8x4", "--save-samples", &z]);
    let note = "note: no `scheduler_config.json` beside the model: sampling with diffusers' defaults";
    run.expect(&format!("{note}\nwrote {z}\n"));
    assert_eq!(folder.array("z.npy").shape, [1, 2, 8, 4]);
    downhill(&["sample", &model, "--save-samples", &z])
        .expect_error(2, "does not say how large its images are\nhint: give `--size`: height and width");
}

/// A model of two channels and no size of its own, all weights zero.
fn two_channels(folder: &Folder) {
    let config = serde_json::json!({
        "_class_name": "UNet2DModel", "sample_size": null, "in_channels": 2, "out_channels": 2,
        "block_out_channels": [4], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
        "layers_per_block": 1, "norm_num_groups": 2, "add_attention": false,
    });
    let map = config.as_object().expect("an object");
    let config_file = std::path::Path::new("config.json");
    let config = downhill::nets::unet2d::Config::from_map(map, config_file).expect("a sound configuration");
    let keys = downhill::nets::Architecture::keys(&downhill::nets::unet2d::UNet2d::new(config));
    let zeros = vec![0u8; 1 << 16];
    let tensors = keys.iter().map(|(key, shape)| {
        let bytes = &zeros[..shape.iter().product::<usize>() * 4];
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (key.clone(), view.expect("fitting bytes"))
    });
    let bytes = safetensors::serialize(tensors, None).expect("serialised");
    std::fs::create_dir(folder.path("model")).expect("a folder");
    std::fs::write(folder.path("model/diffusion_pytorch_model.safetensors"), bytes).expect("written");
    std::fs::write(folder.path("model/config.json"), serde_json::to_vec(map).expect("JSON")).expect("written");
}
