//! Inputs of the right form: files of the tests, and small ones made here.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use downhill::formats::png::write_png;
use downhill::formats::{Image, npz};
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{ColorType, ImageFormat};
use serde_json::{Value, json};

use super::scratch::at;
use super::tokenizers::SEPARATOR;

/// The key of measured algorithms for which [`Seeds::tuned`] holds some.
pub const KEY: &str =
    r#"{"adapter":"a","backend":"b","driver":"d","family":"Lanes { width: 8 }","version":"0.1.0","kernels":"x"}"#;

/// The folder of the repository, of which this crate, or the one that includes this file, is a part.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("tests/bad").is_dir());
    root.expect("the tests of downhill beside the fuzzer").to_path_buf()
}

/// The makers of inputs.
pub struct Seeds {
    root: PathBuf,
}

#[expect(clippy::unused_self, reason = "one method for each target, whether it reads the corpus or not")]
impl Seeds {
    /// The makers, with files from the repository.
    pub fn new() -> Self {
        Self { root: repository() }
    }

    /// Every file under `folder` with this end of its name and at most `most` bytes, in the order of their paths.
    pub(super) fn files(&self, folder: &str, end: &str, most: u64) -> Vec<Vec<u8>> {
        let (mut found, mut folders) = (Vec::new(), vec![self.root.join(folder)]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder of the repository").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().ends_with(end) && entry.metadata().is_ok_and(|it| it.len() <= most) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found.iter().map(|path| std::fs::read(path).expect("a file of the repository")).collect()
    }

    /// The objects in JSON files of `folder` that `is_kind` accepts, without spaces and without repetitions.
    fn objects(&self, folder: &str, is_kind: impl Fn(&Value) -> bool) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = Vec::new();
        for text in self.files(folder, ".json", 20_000) {
            let Ok(whole) = serde_json::from_slice::<Value>(&text) else { continue };
            let parts = whole.as_object().into_iter().flat_map(|object| object.values().cloned()).collect::<Vec<_>>();
            for object in [whole].into_iter().chain(parts) {
                let text = object.to_string().into_bytes();
                if object.is_object() && is_kind(&object) && !found.contains(&text) {
                    found.push(text);
                }
            }
        }
        found
    }

    fn configs(&self, folder: &str, class: &str) -> Vec<Vec<u8>> {
        self.objects(folder, |object| object["_class_name"] == class)
    }

    pub fn npy(&self) -> Vec<Vec<u8>> {
        let mut all = self.files("tests/bad", ".npy", 500);
        let cases: [(&str, &str, &str, usize); 9] = [
            ("'<f4'", "False", "(2, 3)", 24),
            ("'|u1'", "False", "(2, 2, 3, 1)", 12),
            ("'<i8'", "True", "(2, 2)", 32),
            ("'>f8'", "False", "(2,)", 16),
            ("'<f2'", "False", "(3, 1)", 6),
            ("'|b1'", "False", "(1, 4)", 4),
            ("'>u2'", "True", "(2, 3)", 12),
            ("'<f8'", "False", "()", 8),
            ("'<f8'", "False", "(0, 3)", 0),
        ];
        for (at, (descr, order, shape, bytes)) in cases.into_iter().enumerate() {
            let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
            let length = (header.len() as u32).to_le_bytes();
            // Versions 1 to 3, of which the first has a shorter length.
            let version = (at % 3 + 1) as u8;
            let length = if version == 1 { &length[..2] } else { &length[..] };
            all.push([b"\x93NUMPY", &[version, 0][..], length, header.as_bytes(), &vec![1; bytes]].concat());
        }
        all
    }

    pub fn npz(&self) -> Vec<Vec<u8>> {
        let mut all = self.files("tests/golden/quality", ".npz", 2048);
        let path = at("seed.npz");
        npz::write(&path, &[("mu", &[2], &[1.0, 2.0]), ("sigma", &[2, 2], &[1.0, 0.0, 0.0, 1.0])]).expect("an archive");
        all.push(std::fs::read(path).expect("an archive"));
        for array in self.npy().into_iter().rev().take(9) {
            let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
            archive.start_file("arr_0.npy", zip::write::SimpleFileOptions::default()).expect("an entry");
            archive.write_all(&array).expect("an entry");
            all.push(archive.finish().expect("an archive").into_inner());
        }
        all
    }

    pub fn idx(&self) -> Vec<Vec<u8>> {
        let cases: [(u8, &[u32], usize); 6] = [
            (8, &[2, 3, 3], 18),
            (9, &[4, 1], 4),
            (0xb, &[2, 1], 4),
            (0xc, &[1, 2], 8),
            (0xd, &[1, 2], 8),
            (0xe, &[2, 1], 16),
        ];
        let whole = |(kind, shape, bytes): (u8, &[u32], usize)| {
            let extents = shape.iter().flat_map(|extent| extent.to_be_bytes());
            [0, 0, kind, shape.len() as u8].into_iter().chain(extents).chain(vec![1; bytes]).collect()
        };
        cases.into_iter().map(whole).collect()
    }

    pub fn gzip(&self) -> Vec<Vec<u8>> {
        let pack = |bytes: Vec<u8>| {
            let mut packed = GzEncoder::new(Vec::new(), Compression::default());
            packed.write_all(&bytes).expect("bytes in memory");
            packed.finish().expect("bytes in memory")
        };
        let mut all: Vec<Vec<u8>> = self.idx().into_iter().map(pack).collect();
        // A file of two members, as `cat` joins them.
        let [first, second] = [&self.idx()[0][..10], &self.idx()[0][10..]].map(|part| pack(part.to_vec()));
        all.push([first, second].concat());
        all
    }

    pub fn png(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let texts = [("seed", "1"), ("prompt", "Größe"), ("lines", "a\nb")];
        let texts = texts.map(|(keyword, text)| (keyword.to_owned(), text.to_owned()));
        for (channels, texts) in [(1, &texts[..]), (3, &texts[..1]), (4, &[])] {
            let path = at("seed.png");
            let image = Image { height: 4, width: 5, channels, pixels: (0..20 * channels as u8).collect() };
            write_png(&path, &image, texts).expect("an image");
            all.push(std::fs::read(path).expect("an image"));
        }
        let kinds =
            [ColorType::L8, ColorType::La8, ColorType::Rgb8, ColorType::Rgba8, ColorType::L16, ColorType::Rgb16];
        all.extend(kinds.map(|kind| encoded(kind, ImageFormat::Png)));
        all.extend(self.files("tests/golden/latent", ".png", 2048));
        all
    }

    pub fn picture(&self) -> Vec<Vec<u8>> {
        let mut all = self.png();
        all.extend([ColorType::L8, ColorType::Rgb8].map(|kind| encoded(kind, ImageFormat::Jpeg)));
        for end in ["png", "jpg", "webp", "bmp", "gif", "tif"] {
            all.extend(self.files("tests/golden/pictures", end, 2048));
        }
        all
    }

    pub fn adm(&self) -> Vec<Vec<u8>> {
        self.objects("tests/golden/adm", |object| object["model_channels"].is_number())
    }

    pub fn pickle(&self) -> Vec<Vec<u8>> {
        let ends = [".pt", ".ckpt", ".bin"];
        ends.iter().flat_map(|end| self.files("tests/golden/pickle", end, 6000)).chain(self.opcodes()).collect()
    }

    /// The pickles of the archives, and short ones with every opcode that their writer does not use.
    pub fn opcodes(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for end in [".pt", ".ckpt"] {
            for archive in self.files("tests/golden/pickle", end, 6000) {
                let Ok(mut archive) = zip::ZipArchive::new(Cursor::new(archive)) else { continue };
                let names: Vec<String> = archive.file_names().flatten().map(std::borrow::Cow::into_owned).collect();
                for name in names.iter().filter(|name| name.ends_with("/data.pkl")) {
                    let mut pickle = Vec::new();
                    let mut entry = archive.by_name(name).expect("an entry that is listed");
                    entry.read_to_end(&mut pickle).expect("an entry of the repository");
                    all.push(pickle);
                }
            }
        }
        let short: [&[u8]; 6] = [
            b"cos\nsystem\n(S'true'\ntR.",
            b"\x80\x04\x8c\x05torch\x8c\x04Size\x93(K\x01K\x02t\x85R\x94.",
            b"(dp0\nVa\np1\nI01\nsS'b'\n(lp2\nL7L\naF1.5\nasg0\n.",
            b"\x80\x02ccollections\nOrderedDict\n]]U\x01aK\x01eaa\x85R}b.",
            b"\x80\x05\x95\x0a\0\0\0\0\0\0\0}(\x8c\x01aN\x8f(K\x01\x90u\x8a\x0a012345678910.",
            b"\x80\x02(ios\nsystem\n(K\x01o\x82\x01Phome\n.",
        ];
        all.extend(short.map(<[u8]>::to_vec));
        all
    }

    pub fn safetensors(&self) -> Vec<Vec<u8>> {
        let mut all = self.files("tests/bad", ".safetensors", 2000);
        let cases: [&[Stored]; 3] = [
            &[("conv_in.weight", "F32", &[1, 2], 8), ("a.attentions.0.query.weight", "F16", &[2, 1, 1, 1], 4)],
            &[("temb.dense.0.weight", "F64", &[1], 8), ("up.3.block.0.conv1.weight", "I64", &[1], 8)],
            &[("text_model.embeddings.token_embedding.weight", "BF16", &[2, 2], 8), ("e", "BF16", &[0], 0)],
        ];
        all.extend(cases.map(stored));
        all
    }

    pub fn single_file(&self) -> Vec<Vec<u8>> {
        const UNET: &str = "model.diffusion_model.";
        const VAE: &str = "first_stage_model.";
        let unet = [
            "input_blocks.0.0.weight 4 4 3 3",
            "input_blocks.1.0.in_layers.2.weight 4 4 3 3",
            "input_blocks.1.1.proj_in.weight 4 4 1 1",
            "input_blocks.1.1.transformer_blocks.0.norm1.weight 4",
            "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight 4 6",
            "input_blocks.2.0.op.weight 4 4 3 3",
            "input_blocks.3.0.in_layers.2.weight 8 4 3 3",
            "middle_block.1.transformer_blocks.0.norm1.weight 8",
            "output_blocks.1.1.conv.weight 8 8 3 3",
            "output_blocks.3.1.proj_out.weight 4 4 1 1",
            "out.2.weight 4 4 3 3",
        ];
        let vae = [
            "encoder.conv_in.weight 4 3 3 3",
            "encoder.down.0.block.0.conv1.weight 4 4 3 3",
            "encoder.mid.attn_1.q.weight 4 4 1 1",
            "decoder.conv_in.weight 4 4 3 3",
            "decoder.conv_out.weight 3 4 3 3",
            "decoder.mid.block_1.norm1.weight 4",
            "decoder.up.0.block.0.norm1.bias 4",
            "quant_conv.weight 8 8 1 1",
        ];
        let openai = [
            "text_model.embeddings.token_embedding.weight 5 6",
            "text_model.embeddings.position_embedding.weight 3 6",
            "text_model.encoder.layers.0.mlp.fc1.weight 8 6",
        ];
        let open_clip = [
            "token_embedding.weight 5 6",
            "positional_embedding 3 6",
            "transformer.resblocks.0.mlp.c_fc.weight 8 6",
            "transformer.resblocks.0.attn.in_proj_weight 18 6",
            "text_projection 6 6",
        ];
        let lines =
            |prefix: &str, names: &[&str]| names.iter().flat_map(|name| [prefix, name, "\n"]).collect::<String>();
        let networks = lines(UNET, &unet) + &lines(VAE, &vae);
        let texts = [
            lines("cond_stage_model.transformer.", &openai),
            lines("cond_stage_model.model.", &open_clip),
            lines("conditioner.embedders.0.transformer.", &openai)
                + &lines("conditioner.embedders.1.model.", &open_clip),
        ];
        let whole = texts.into_iter().map(|texts| format!("{networks}{texts}"));
        let alone =
            [lines("", &unet), lines("", &vae), lines(UNET, &unet) + "model_ema.decay\nv_pred\nglobal_step 1\n"];
        whole.chain(alone).map(String::into_bytes).collect()
    }

    pub fn config(&self) -> Vec<Vec<u8>> {
        let mut all = self.files("tests/bad", "config.json", 1000);
        let text = r#"{"_class_name":"UNet2DModel","number":1,"flag":true,"word":"a","list":[1,2],"words":["a","b"]}"#;
        all.push(text.into());
        all.push(r#"{"number":NaN,"flag":null,"list":[-Infinity,1e9,Infinity],"word":"\\\"NaN"}"#.into());
        all
    }

    pub fn shard_index(&self) -> Vec<Vec<u8>> {
        let maps =
            [r#"{"a":"s1.safetensors"}"#, r#"{"a":"../outside.safetensors"}"#, r#"{"a":"s2.safetensors","b":1}"#];
        maps.map(|map| format!(r#"{{"metadata":{{"total_size":4}},"weight_map":{map}}}"#).into_bytes()).to_vec()
    }

    pub fn model_index(&self) -> Vec<Vec<u8>> {
        self.files("tests", "model_index.json", 1000)
    }

    pub fn hub_ref(&self) -> Vec<Vec<u8>> {
        ["beef", "beef\n", "../../x", "main", "refs/pr/1", ""].map(|text| text.as_bytes().to_vec()).to_vec()
    }

    pub fn hub_listing(&self) -> Vec<Vec<u8>> {
        let files = [r#"{"rfilename":"config.json"},{"rfilename":"unet/config.json"}"#, r#"{"rfilename":"../x"}"#, "1"];
        files.map(|files| format!(r#"{{"sha":"beef","siblings":[{files}]}}"#).into_bytes()).to_vec()
    }

    pub fn hub_headers(&self) -> Vec<Vec<u8>> {
        let hash = "ce013625030ba8dba906f756967f9e9ca394464a";
        let texts = [
            format!("200\netag: W/\"{hash}\"\ncontent-length: 6\n"),
            format!("302\nlocation: /a/b\nx-linked-etag: \"{hash}\"\nx-linked-size: 18446744073709551615\n"),
            "302\nlocation: //elsewhere\netag: weird\ncontent-length: -1\n".to_owned(),
            "200\netag: \"../x\"\ncontent-length: 6\n".to_owned(),
        ];
        texts.map(String::into_bytes).to_vec()
    }

    pub fn findings(&self) -> Vec<Vec<u8>> {
        let probes = ["read-back", "matrix product", "workgroup barrier", "long loop"];
        let findings = [json!("Trusted"), json!({ "Limited": "after 40000" }), json!({ "Failed": "" })];
        let checks = |finding: Value| {
            let of_each = probes.map(|name| json!({ "name": name, "finding": "Trusted" }));
            let mut checks = of_each.to_vec();
            checks[3]["finding"] = finding;
            Value::Array(checks).to_string().into_bytes()
        };
        findings.map(checks).to_vec()
    }

    pub fn saved_run(&self) -> Vec<Vec<u8>> {
        let timing = json!({ "samples": [1.0, 2.0, 3.0], "calls": 1, "median": 2.0, "least": 1.0, "spread": 0.5 });
        let rate = json!({ "work": 7, "value": 3.5, "unit": "GB/s", "of_roof": 0.5 });
        let row = |suite: &str, case: &str| {
            json!({
                "suite": suite, "case": case, "status": "measured", "kernels": ["k"], "timing": timing, "rate": rate,
            })
        };
        let rows = [row("roof", "chain of fma"), row("unet", "digits, batch 1")];
        let sensor = json!({ "name": "a", "quantity": "clock", "before": 1.0, "after": null });
        let run = json!({
            "version": "1", "wgpu": "2", "date": "3", "adapter": "a (b on c)", "driver": "d", "family": "f",
            "repeats": 3, "machine": { "processor": "p", "sensors": [sensor] }, "rows": rows,
        });
        let lines = [json!({ "run": run }), json!({ "row": rows[1] }), json!({ "end": { "machine": {} } })];
        let lines: String = lines.iter().map(|line| line.to_string() + "\n").collect();
        vec![run.to_string().into_bytes(), lines.into_bytes()]
    }

    pub fn pipelines(&self) -> Vec<Vec<u8>> {
        use std::hash::Hasher;
        let whole = |data: &[u8]| {
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write(data);
            [&hasher.finish().to_le_bytes()[..], data].concat()
        };
        vec![whole(&[]), whole(&[7; 40]), vec![0; 8], vec![0; 7]]
    }

    pub fn unet2d(&self) -> Vec<Vec<u8>> {
        let mut all = self.configs("tests/golden/unet", "UNet2DModel");
        all.extend(self.configs("weights/digits", "UNet2DModel"));
        all
    }

    pub fn unet2d_condition(&self) -> Vec<Vec<u8>> {
        let mut all = self.configs("tests/golden/conditioned", "UNet2DConditionModel");
        all.extend(self.configs("tests/golden/latent", "UNet2DConditionModel"));
        all
    }

    pub fn dit(&self) -> Vec<Vec<u8>> {
        let mut all = self.configs("tests/golden/dit", "DiTTransformer2DModel");
        all.extend(self.configs("tests/golden/dit", "Transformer2DModel"));
        all
    }

    pub fn autoencoder(&self) -> Vec<Vec<u8>> {
        let mut all = self.configs("tests/golden/autoencoder", "AutoencoderKL");
        all.extend(self.configs("tests/golden/latent", "AutoencoderKL"));
        all
    }

    pub fn clip_text(&self) -> Vec<Vec<u8>> {
        self.objects("tests/golden/latent", |object| object["num_hidden_layers"].is_u64())
    }

    pub fn scheduler(&self) -> Vec<Vec<u8>> {
        let is_scheduler = |object: &Value| object["num_train_timesteps"].is_u64() && object["_class_name"].is_string();
        let mut all = self.objects("tests/golden/trajectory", is_scheduler);
        // Few timesteps, for their levels are computed for every sampler.
        for text in &mut all {
            let mut object: Value = serde_json::from_slice(text).expect("an object");
            object["num_train_timesteps"] = json!(30);
            *text = object.to_string().into_bytes();
        }
        all
    }

    pub fn tokenizer_parts(&self) -> Vec<Vec<u8>> {
        let config =
            r#"{"model_max_length":77,"bos_token":"<|startoftext|>","pad_token":{"content":"a","lstrip":true}}"#;
        let special = r#"{"eos_token":"<|endoftext|>","additional_special_tokens":["zz"]}"#;
        let vocabulary = vocabulary().to_string();
        let merges = "#version: 0.2\na b\nab c</w>\n";
        let joined = |parts: &[&str]| parts.join(&char::from(SEPARATOR).to_string()).into_bytes();
        vec![
            joined(&[&vocabulary, merges, config, special, r#"{"zz":9}"#, "abc a zz"]),
            joined(&[&vocabulary, merges, r#"{"added_tokens_decoder":{"5":{"content":"c"}}}"#, "", "", "abc"]),
            joined(&[&vocabulary, merges]),
        ]
    }

    pub fn tokenizer_whole(&self) -> Vec<Vec<u8>> {
        let added = json!([{ "id": 5, "content": "<|startoftext|>", "special": true }]);
        let merges = json!(["a b", ["ab", "c</w>"]]);
        let model = json!({ "type": "BPE", "vocab": vocabulary(), "merges": merges });
        let whole = json!({ "model": model, "added_tokens": added }).to_string();
        let joined = |parts: &[&str]| parts.join(&char::from(SEPARATOR).to_string()).into_bytes();
        vec![
            joined(&[&whole, r#"{"unk_token":"<|endoftext|>"}"#, "", "abc a"]),
            joined(&[&whole, r#"{"tokenizer_class":"CLIPTokenizer"}"#, r#"{"pad_token":"a"}"#, "it's 12"]),
        ]
    }

    pub fn prompt(&self) -> Vec<Vec<u8>> {
        let texts = ["a photo of a cat, 3 dogs é <|endoftext|> \u{212b}\u{301}", "it's ǅ 数字 ²¼ \u{1f58b}", "İ \t\n"];
        texts.iter().flat_map(|text| [text.as_bytes().to_vec(), text.repeat(9).into_bytes()]).collect()
    }

    pub fn tuned(&self) -> Vec<Vec<u8>> {
        let layer = r#"{"input":64,"out":96,"size":[16,24]}"#;
        let layers = ["", r#"[LAYER,"direct"]"#, r#"[LAYER,{"winograd":"four"}],[LAYER,{"winograd-rows":"two"}]"#];
        let whole = |layers: &str| format!(r#"{{"key":{KEY},"layers":[{}]}}"#, layers.replace("LAYER", layer));
        let half = format!(r#"{{"key":{KEY},"layers":[],"half_layers":[[{layer},{{"winograd":"two"}}]]}}"#);
        layers.map(whole).into_iter().chain([half]).map(String::into_bytes).collect()
    }

    pub fn benchmark(&self) -> Vec<Vec<u8>> {
        let rows = [json!([]), json!([{ "suite": "conv", "case": "a", "status": "failed", "reason": "slow" }])];
        let whole = |rows: &Value| {
            json!({
                "version": "1", "wgpu": "2", "date": "", "adapter": "a", "driver": "d", "family": "f", "repeats": 3,
                "roofs": { "arithmetic": 4.0, "memory": null }, "rows": rows,
            })
        };
        rows.map(|rows| whole(&rows).to_string().into_bytes()).to_vec()
    }

    pub fn study(&self) -> Vec<Vec<u8>> {
        let texts = [
            r#"{"samplers":["ddim"]}"#,
            r#"{"images":64,"calls":10,"seconds":1.5}"#,
            r#"{"eta":0.1,"nu":2.0}"#,
            r#"{"eta":0.99,"nu":1}"#,
        ];
        texts.map(|text| text.as_bytes().to_vec()).to_vec()
    }

    pub fn names(&self) -> Vec<Vec<u8>> {
        let texts = [
            "pca:digits,k=3,n=10,noise=fresh,seed=5",
            "wiener:mean=m.npy,cov=c.npy",
            "sequential:digits",
            "ideal:spiked:n=20,p=9,spikes=5/4,noise=0.1",
            "spiked:n=1500,p=300,seed=1",
            "x%05d.png",
            "x.npz",
            "identity:digits",
            "pca:digits,k=8",
            "1,2,0.5",
            "cifar10-32:8",
        ];
        texts.map(|text| text.as_bytes().to_vec()).to_vec()
    }

    pub fn numbers(&self) -> Vec<Vec<u8>> {
        let texts = [
            "999,500,0",
            "14.6,5,0.03,0",
            "0.05,2",
            "64x96",
            "1/3",
            "256x512x64",
            "8x256x16x16",
            "1024x320x64",
            "60000x784",
            "512",
            "999,-1",
            "auto",
        ];
        texts.map(|text| text.as_bytes().to_vec()).to_vec()
    }
}

/// A tensor: its name, type, shape and number of bytes.
pub(super) type Stored<'a> = (&'a str, &'a str, &'a [usize], usize);

/// A file of tensors that are zeros.
pub(super) fn stored(tensors: &[Stored]) -> Vec<u8> {
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [end, end + bytes];
        header.insert((*name).to_owned(), json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }));
        end += bytes;
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; end]].concat()
}

/// An image of another encoder.
fn encoded(kind: ColorType, format: ImageFormat) -> Vec<u8> {
    let (width, height) = (5, 4);
    let pixels: Vec<u8> = (0..width * height * u32::from(kind.bytes_per_pixel())).map(|at| at as u8).collect();
    let mut bytes = Cursor::new(Vec::new());
    image::write_buffer_with_format(&mut bytes, &pixels, width, height, kind, format).expect("an image in memory");
    bytes.into_inner()
}

fn vocabulary() -> Value {
    json!({
        "a": 0, "b": 1, "ab": 2, "c</w>": 3, "abc</w>": 4, "<|startoftext|>": 5, "<|endoftext|>": 6, "c": 7, "a</w>": 8,
    })
}
