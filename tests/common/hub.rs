//! A hub on this machine with one model, which misbehaves as told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha1::Digest;

pub const COMMIT: &str = "c0ffee0123";
pub const ID: &str = "org/digits";
pub const CONFIG: &str = "config.json";
pub const SCHEDULER: &str = "scheduler_config.json";
pub const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A hub, and the requests it received.
pub struct Hub {
    pub address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

/// How a file is served.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault by itself")]
pub struct Served {
    pub content: Vec<u8>,
    /// Kept in large-file storage: another address, named by its SHA-256.
    pub large: bool,
    /// The model has been renamed: its files are asked for at another address of the hub.
    pub moved: bool,
    /// The connection breaks after that many bytes, the first time.
    pub breaks_after: Option<usize>,
    /// The connection stays open and silent after that many bytes, that many times.
    pub stalls: (usize, u32),
    /// The number of requests that are refused for being too many.
    pub busy: u32,
    /// The number of bytes sent without end after the content, of which the length then says nothing.
    pub surplus: usize,
    /// The rest is sent from another byte than the one asked for, that many times.
    pub misplaced: u32,
    /// The server sends whole files only.
    pub whole: bool,
    /// The wait after each 20,000 bytes.
    pub pause: Duration,
    /// The checksum stated is another.
    pub damaged: bool,
    /// A tag that is not a checksum.
    pub tag: Option<&'static str>,
    /// The length stated, instead of the content's.
    pub claims: Option<u64>,
    /// The listing of the repository never comes. (Of any file.)
    pub silent: bool,
}

type Files = Arc<Mutex<BTreeMap<String, Served>>>;

impl Hub {
    pub fn open(files: &[(&str, Served)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let files: BTreeMap<_, _> = files.iter().map(|(name, file)| ((*name).to_owned(), file.clone())).collect();
        let files = Arc::new(Mutex::new(files));
        let (log, own) = (asked.clone(), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (own, files, log) = (own.clone(), files.clone(), log.clone());
                std::thread::spawn(move || answer(stream, &own, &files, &log));
            }
        });
        Self { address, asked }
    }

    /// The embedded model as a repository, with `change` made to its weights.
    pub fn digits(change: impl Fn(&mut Served)) -> Self {
        let mut weights = Served { large: true, ..served(WEIGHTS) };
        change(&mut weights);
        let other = Served { content: b"a picture".to_vec(), ..Served::default() };
        let config = |name: &'static str| (name, served(name));
        Self::open(&[config(CONFIG), config(SCHEDULER), (WEIGHTS, weights), ("README.md", other)])
    }

    /// The requests since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

/// A file of the embedded model.
pub fn served(path: &str) -> Served {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/digits").join(path);
    Served { content: std::fs::read(file).expect("the embedded model"), ..Served::default() }
}

/// The SHA-256 of a content, as its name in the cache.
pub fn sha256(content: &[u8]) -> String {
    hex(&sha2::Sha256::digest(content))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A request.
struct Request {
    method: String,
    path: String,
    from: Option<usize>,
    token: bool,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut parts = line.split(' ').map(str::to_owned);
        let mut request = Self { method: parts.next()?, path: parts.next()?, from: None, token: false };
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) <= 2 {
                return Some(request);
            }
            let lower = header.to_ascii_lowercase();
            if let Some(range) = lower.strip_prefix("range: bytes=") {
                request.from = range.trim().trim_end_matches('-').parse().ok();
            }
            request.token |= lower.starts_with("authorization: bearer secret");
        }
    }
}

/// Takes one from a count. Returns `true` if there was one.
fn once_of(count: &mut u32) -> bool {
    let any = *count > 0;
    *count = count.saturating_sub(1);
    any
}

const A_LONG_TIME: Duration = Duration::from_secs(600);

/// Answers one request.
fn answer(mut out: TcpStream, own: &str, files: &Files, log: &Mutex<Vec<String>>) {
    let Some(request) = Request::read(&out) else { return };
    let Request { method, path, from, token } = &request;
    let from_text = from.map_or(String::new(), |byte| format!(" from {byte}"));
    log.lock().expect("no panic").push(format!("{method} {path}{from_text}"));
    let is_get = method == "GET";
    let mut send = |head: String, body: &[u8]| {
        let _ = out.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
        if is_get {
            let _ = out.write_all(body);
        }
    };
    if *path == format!("/api/models/{ID}/revision/main") {
        assert!(token, "the token is sent");
        let files = files.lock().expect("no panic");
        if files.values().any(|file| file.silent) {
            drop(files);
            return std::thread::sleep(A_LONG_TIME);
        }
        let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        return send(format!("200 OK\r\nContent-Length: {}", body.len()), body.as_bytes());
    }
    let resolve = format!("/{ID}/resolve/{COMMIT}/");
    let (storage, renamed) = ("/storage/", "/renamed/");
    let name = [resolve.as_str(), storage, renamed].iter().find_map(|folder| path.strip_prefix(folder));
    // The state of the file changes with each request; what is served is decided here.
    let (file, busy, stalls, misplaced, breaks) = {
        let mut files = files.lock().expect("no panic");
        let Some(file) = name.and_then(|name| files.get_mut(name)) else {
            return send("404 Not Found\r\nContent-Length: 0".to_owned(), b"");
        };
        let busy = once_of(&mut file.busy);
        let is_content = is_get && !(path.starts_with(&resolve) && (file.large || file.moved));
        let stalls = (is_content && !busy && once_of(&mut file.stalls.1)).then_some(file.stalls.0);
        let misplaced = is_content && from.is_some() && once_of(&mut file.misplaced);
        let breaks = if is_content { file.breaks_after.take() } else { None };
        (file.clone(), busy, stalls, misplaced, breaks)
    };
    if busy {
        return send("429 Too Many Requests\r\nContent-Length: 0".to_owned(), b"");
    }
    let name = name.expect("a file");
    if file.moved && path.starts_with(&resolve) {
        return send(format!("307 Temporary Redirect\r\nLocation: {renamed}{name}\r\nContent-Length: 0"), b"");
    }
    let size = file.content.len();
    let mut tag = if let Some(tag) = file.tag {
        tag.to_owned()
    } else if file.large {
        sha256(&file.content)
    } else {
        hex(&sha1::Sha1::digest([format!("blob {size}\0").as_bytes(), &file.content].concat()))
    };
    if file.damaged {
        tag = format!("{}0", &tag[..tag.len() - 1]);
    }
    let claimed = file.claims.unwrap_or(size as u64);
    if file.large && path.starts_with(&resolve) {
        let about = format!("X-Linked-Etag: \"{tag}\"\r\nX-Linked-Size: {claimed}\r\nLocation: {own}{storage}{name}");
        return send(format!("302 Found\r\n{about}\r\nContent-Length: 0"), b"");
    }
    assert!(*token != path.starts_with(storage) || path.starts_with(renamed), "the token is for the hub alone");
    let from = from.filter(|_| !file.whole);
    let start = from.unwrap_or(0).saturating_sub(if misplaced { 10 } else { 0 });
    let rest = &file.content[start.min(size)..];
    let status = match from {
        Some(_) => format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}", size - 1),
        None => "200 OK".to_owned(),
    };
    let length = if file.surplus > 0 && is_get {
        String::new()
    } else {
        format!("\r\nContent-Length: {}", file.claims.unwrap_or(rest.len() as u64))
    };
    send(format!("{status}\r\nETag: W/\"{tag}\"{length}"), b"");
    if !is_get {
        return;
    }
    let end = stalls.or(breaks).map_or(rest.len(), |bytes| bytes.min(rest.len()));
    for piece in rest[..end].chunks(20_000) {
        if out.write_all(piece).is_err() {
            return;
        }
        std::thread::sleep(file.pause);
    }
    if stalls.is_some() {
        return std::thread::sleep(A_LONG_TIME);
    }
    for _ in 0..file.surplus / 1000 {
        if out.write_all(&[b'x'; 1000]).is_err() {
            return;
        }
    }
}
