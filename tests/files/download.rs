//! Models fetched from a hub on this machine: resumed, redirected, checked. Runs with `--features download`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use downhill::checkpoint::{Event, ModelFiles, fetch_in};
use downhill::error::{Error, Result};
use sha1::Digest;

const COMMIT: &str = "c0ffee0123";
const ID: &str = "org/digits";

/// A hub with one model, and what it was asked.
struct Hub {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

/// How a file is served.
#[derive(Clone, Default)]
struct Served {
    content: Vec<u8>,
    /// Kept in large-file storage: another address, named by its SHA-256.
    large: bool,
    /// The connection breaks after so many bytes, the first time.
    breaks_after: Option<usize>,
    /// The checksum told is another.
    damaged: bool,
}

impl Hub {
    fn open(files: &[(&str, Served)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut files: BTreeMap<String, Served> =
            files.iter().map(|(name, file)| ((*name).to_owned(), file.clone())).collect();
        let (log, own) = (asked.clone(), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &own, &mut files, &log);
            }
        });
        Self { address, asked }
    }

    fn fetch(&self, cache: &Path) -> Result<(PathBuf, u64)> {
        let mut bytes = 0;
        let environment = |name: &str| -> Option<OsString> {
            match name {
                "HF_ENDPOINT" => Some(self.address.clone().into()),
                "HF_HUB_CACHE" => Some(cache.into()),
                "HF_TOKEN" => Some("secret".into()),
                _ => None,
            }
        };
        let folder = fetch_in(ID, None, &environment, &mut |event| {
            if let Event::Bytes(more) = event {
                bytes += more;
            }
        })?;
        Ok((folder, bytes))
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

/// Answers requests until the other side closes.
fn answer(stream: TcpStream, own: &str, files: &mut BTreeMap<String, Served>, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut out = stream;
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request");
    let mut from = None;
    let mut token = false;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) <= 2 {
            break;
        }
        let lower = header.to_ascii_lowercase();
        if let Some(range) = lower.strip_prefix("range: bytes=") {
            from = range.trim().trim_end_matches('-').parse::<usize>().ok();
        }
        token |= lower.starts_with("authorization: bearer secret");
    }
    let (method, path) = line
        .split_once(' ')
        .map(|(m, rest)| (m.to_owned(), rest.split(' ').next().unwrap_or("").to_owned()))
        .expect("a path");
    log.lock()
        .expect("no panic")
        .push(format!("{method} {path}{}", from.map_or(String::new(), |byte| format!(" from {byte}"))));
    let mut send = |head: String, body: &[u8]| {
        let _ = out.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
        if method != "HEAD" {
            let _ = out.write_all(body);
        }
    };
    if path == format!("/api/models/{ID}/revision/main") {
        assert!(token, "the token is sent");
        let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        return send(format!("200 OK\r\nContent-Length: {}", body.len()), body.as_bytes());
    }
    let resolve = format!("/{ID}/resolve/{COMMIT}/");
    let name = path.strip_prefix(&resolve).or_else(|| path.strip_prefix("/storage/"));
    let Some(file) = name.and_then(|name| files.get_mut(name)) else {
        return send("404 Not Found\r\nContent-Length: 0".to_owned(), b"");
    };
    let size = file.content.len();
    let mut tag = if file.large {
        hex(&sha2::Sha256::digest(&file.content))
    } else {
        hex(&sha1::Sha1::digest([format!("blob {size}\0").as_bytes(), &file.content].concat()))
    };
    if file.damaged {
        tag = format!("{}0", &tag[..tag.len() - 1]);
    }
    if file.large && path.starts_with(&resolve) {
        let place = format!("{own}/storage/{}", name.expect("a file"));
        let about = format!("X-Linked-Etag: \"{tag}\"\r\nX-Linked-Size: {size}\r\nLocation: {place}");
        return send(format!("302 Found\r\n{about}\r\nContent-Length: 0"), b"");
    }
    assert!(token != path.starts_with("/storage/"), "the token is for the hub alone");
    let rest = &file.content[from.unwrap_or(0)..];
    let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
    let head = format!("{status}\r\nETag: W/\"{tag}\"\r\nContent-Length: {}", rest.len());
    let sent = file.breaks_after.filter(|_| method == "GET").map_or(rest.len(), |bytes| bytes.min(rest.len()));
    send(head, &rest[..sent]);
    if method == "GET" {
        file.breaks_after = None;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn served(path: &str) -> Served {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/digits").join(path);
    Served { content: std::fs::read(file).expect("the embedded model"), ..Served::default() }
}

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// The embedded model as a repository on a hub.
fn digits(change: impl Fn(&mut Served)) -> Hub {
    let mut weights = Served { large: true, ..served(WEIGHTS) };
    change(&mut weights);
    let other = Served { content: b"a picture".to_vec(), ..Served::default() };
    let config = |name: &'static str| (name, served(name));
    Hub::open(&[config("config.json"), config("scheduler_config.json"), (WEIGHTS, weights), ("README.md", other)])
}

#[test]
fn a_model_is_fetched_once_and_opens() {
    let (hub, cache) = (digits(|_| ()), tempfile::tempdir().expect("a folder"));
    let (folder, bytes) = hub.fetch(cache.path()).expect("fetched");
    let all = ["config.json", "scheduler_config.json", WEIGHTS];
    assert_eq!(bytes, all.iter().map(|name| served(name).content.len() as u64).sum::<u64>());
    assert!(!folder.join("README.md").exists());
    for name in all {
        assert_eq!(std::fs::read(folder.join(name)).expect(name), served(name).content);
    }
    assert!(hub.asked().iter().any(|line| line.starts_with("GET /storage/")), "by way of a redirection");

    let cached = |name: &str| (name == "HF_HUB_CACHE").then(|| cache.path().into());
    let model = ModelFiles::open_in(Some(ID), &cached).expect("in the cache");
    assert_eq!(model.weights.parameters(), ModelFiles::embedded().expect("embedded").weights.parameters());

    let (again, bytes) = hub.fetch(cache.path()).expect("fetched");
    assert_eq!((again, bytes), (folder, 0));
    assert_eq!(hub.asked().len(), 1, "nothing but the listing");
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let (hub, cache) = (digits(|file| file.breaks_after = Some(100_000)), tempfile::tempdir().expect("a folder"));
    let (folder, bytes) = hub.fetch(cache.path()).expect("fetched");
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).expect("weights"), served(WEIGHTS).content);
    let asked = hub.asked();
    let resumed = asked.iter().filter_map(|line| line.split(" from ").nth(1)?.parse::<u64>().ok()).max();
    assert!(resumed.is_some_and(|byte| byte > 0 && byte <= 100_000), "{asked:?}");
    assert_eq!(
        bytes,
        ["config.json", "scheduler_config.json", WEIGHTS]
            .map(|name| served(name).content.len() as u64)
            .iter()
            .sum::<u64>()
    );
}

#[test]
fn an_earlier_attempt_is_taken_up() {
    let (hub, cache) = (digits(|_| ()), tempfile::tempdir().expect("a folder"));
    let content = served(WEIGHTS).content;
    let tag = hex(&sha2::Sha256::digest(&content));
    let blobs = cache.path().join("models--org--digits/blobs");
    std::fs::create_dir_all(&blobs).expect("a folder");
    std::fs::write(blobs.join(format!("{tag}.incomplete")), &content[..70_000]).expect("written");
    let (folder, _) = hub.fetch(cache.path()).expect("fetched");
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).expect("weights"), content);
    assert!(hub.asked().iter().any(|line| line.ends_with("from 70000")));
}

#[test]
fn damage_is_found_and_nothing_is_left() {
    let (hub, cache) = (digits(|file| file.damaged = true), tempfile::tempdir().expect("a folder"));
    let error = hub.fetch(cache.path()).expect_err("damaged");
    assert!(matches!(&error, Error::BadFile { what, .. } if what.contains("checksum")), "{error}");
    assert_eq!(error.kind(), downhill::ErrorKind::File);
    let snapshot = cache.path().join(format!("models--org--digits/snapshots/{COMMIT}"));
    assert!(!snapshot.join(WEIGHTS).exists());
    let blobs = std::fs::read_dir(cache.path().join("models--org--digits/blobs")).expect("blobs").count();
    assert_eq!(blobs, 1, "what came before it alone");
    assert!(!cache.path().join("models--org--digits/refs/main").exists(), "no revision points to half a model");
}

#[test]
fn what_the_hub_does_not_have_is_said() {
    let cache = tempfile::tempdir().expect("a folder");
    let empty = Hub::open(&[("README.md", Served::default())]);
    let error = empty.fetch(cache.path()).expect_err("no model");
    assert!(error.to_string().contains("does not hold a diffusers model"), "{error}");
    let environment = |address: &str, offline: &str| {
        let (address, offline): (OsString, OsString) = (address.into(), offline.into());
        let cache: OsString = cache.path().into();
        move |name: &str| match name {
            "HF_ENDPOINT" => Some(address.clone()),
            "HF_HUB_CACHE" => Some(cache.clone()),
            "HF_HUB_OFFLINE" => Some(offline.clone()),
            _ => None,
        }
    };
    let error = fetch_in("org/other", None, &environment(&empty.address, ""), &mut |_| ()).expect_err("unknown");
    assert!(
        error.to_string().contains("404") && error.hint().is_some_and(|hint| hint.contains("no such model")),
        "{error}"
    );
    let error = fetch_in(ID, None, &environment(&empty.address, "1"), &mut |_| ()).expect_err("offline");
    assert_eq!((error.kind(), error.to_string().contains("HF_HUB_OFFLINE")), (downhill::ErrorKind::Argument, true));
    let error = fetch_in(ID, None, &environment("http://127.0.0.1:9", ""), &mut |_| ()).expect_err("nobody answers");
    assert!(error.to_string().contains("the connection failed"), "{error}");
    assert_eq!(
        fetch_in("not an id", None, &|_| None, &mut |_| ()).expect_err("no id").kind(),
        downhill::ErrorKind::Argument
    );
}
