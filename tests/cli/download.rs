//! `downhill download` from outside: interrupted, killed, several at once, on a full disk; and the cache it fills.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{Folder, Run, command};
use crate::hub::{COMMIT, CONFIG, Hub, ID, SCHEDULER, Served, WEIGHTS, served};

/// The program, with a cache in `folder` and the hub at `address`.
fn program(folder: &Folder, address: &str, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command
        .env("HF_HUB_CACHE", folder.path("hub"))
        .env("HF_ENDPOINT", address)
        .env("HF_TOKEN", "secret")
        .env("HF_HUB_DOWNLOAD_TIMEOUT", "5");
    for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    command
}

fn download(folder: &Folder, hub: &Hub) -> Run {
    Run::of(program(folder, &hub.address, &["download", ID]).output().expect("the program starts"))
}

fn snapshot(folder: &Folder) -> PathBuf {
    folder.path("hub/models--org--digits/snapshots").join(COMMIT)
}

/// Asserts that the model is in the cache, bit for bit, and that nothing was left beside it.
#[track_caller]
fn assert_whole(folder: &Folder) {
    for name in [CONFIG, SCHEDULER, WEIGHTS] {
        assert_eq!(std::fs::read(snapshot(folder).join(name)).expect(name), served(name).content, "{name}");
    }
    assert_eq!(part(folder), None);
    assert_eq!(folder.bytes("hub/models--org--digits/refs/main"), COMMIT.as_bytes());
}

/// The length of the part of a file that has been received, if there is one.
fn part(folder: &Folder) -> Option<u64> {
    let entries = std::fs::read_dir(folder.path("hub/models--org--digits/blobs")).ok()?.flatten();
    let part = entries.map(|entry| entry.path()).find(|path| path.extension().is_some())?;
    std::fs::metadata(part).ok().map(|part| part.len())
}

/// Starts a download and waits until a part of the weights has come.
fn begun(folder: &Folder, hub: &Hub) -> Child {
    let mut command = program(folder, &hub.address, &["download", ID]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let began = Instant::now();
    while part(folder).is_none_or(|bytes| bytes < 20_000) {
        assert!(began.elapsed() < Duration::from_secs(60) && child.try_wait().expect("a state").is_none(), "no part");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn slow(pause: u64) -> Hub {
    Hub::digits(|file| file.pause = Duration::from_millis(pause))
}

#[test]
fn a_model_is_fetched_and_its_folder_printed() {
    let (folder, hub) = (Folder::new(), Hub::digits(|_| ()));
    let run = download(&folder, &hub);
    assert_eq!((run.code, run.stdout), (0, format!("{}\n", snapshot(&folder).display())), "{}", run.stderr);
    assert_whole(&folder);
    assert!(!hub.asked().is_empty());
}

#[test]
fn three_downloads_at_once_all_succeed() {
    let (folder, hub) = (Folder::new(), slow(20));
    let start = |_| {
        let mut command = program(&folder, &hub.address, &["download", ID]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let runs: Vec<Output> =
        [0, 1, 2].map(start).map(|child| child.wait_with_output().expect("it ends")).into_iter().collect();
    for run in runs {
        let run = Run::of(run);
        assert_eq!((run.code, run.stdout), (0, format!("{}\n", snapshot(&folder).display())), "{}", run.stderr);
    }
    assert_whole(&folder);
    let fetched = hub.asked().iter().filter(|line| line.starts_with("GET /storage/")).count();
    assert_eq!(fetched, 1, "one fetches the weights, and the others wait for it");
}

#[cfg(unix)]
#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    for (signal, code) in [("INT", Some(130)), ("TERM", Some(143)), ("KILL", None)] {
        let (folder, hub) = (Folder::new(), slow(50));
        let child = begun(&folder, &hub);
        crate::send(signal, &[child.id()]);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), code, "{signal}");
        if code.is_some() {
            let told = Run::of(output).stderr;
            assert!(told.contains(" received and kept\nto continue: downhill download org/digits"), "{told}");
        }
        let there = part(&folder).expect("a part is left");
        assert!(!snapshot(&folder).exists(), "a snapshot is whole or absent");
        let run = Run::of(program(&folder, &hub.address, &["info", ID]).output().expect("the program starts"));
        run.expect_error(4, "the download of `org/digits` is not finished");
        hub.asked();
        assert_eq!(download(&folder, &hub).code, 0);
        assert_whole(&folder);
        assert!(hub.asked().iter().any(|line| line.ends_with(&format!("from {there}"))), "{signal}");
    }
}

#[cfg(unix)]
#[test]
fn a_silent_hub_does_not_keep_the_program_from_stopping() {
    let (folder, hub) = (Folder::new(), Hub::digits(|file| file.stalls = (100_000, u32::MAX)));
    let mut command = program(&folder, &hub.address, &["download", ID]);
    let mut child = command.env("HF_HUB_DOWNLOAD_TIMEOUT", "600").spawn().expect("the program starts");
    let began = Instant::now();
    while part(&folder).is_none_or(|bytes| bytes < 100_000) && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    crate::send("INT", &[child.id()]);
    let sent = Instant::now();
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(sent.elapsed() < Duration::from_secs(20), "{:?}", sent.elapsed());
}

#[test]
fn downloads_killed_at_any_moment_end_whole() {
    let (folder, hub) = (Folder::new(), slow(10));
    for moment in 0..12 {
        let mut child = program(&folder, &hub.address, &["download", ID, "-q"]).spawn().expect("the program starts");
        std::thread::sleep(Duration::from_millis(40 * moment));
        let _ = child.kill();
        child.wait().expect("it ends");
        // What is in the snapshot is whole at any time.
        for name in [CONFIG, SCHEDULER, WEIGHTS] {
            if let Ok(content) = std::fs::read(snapshot(&folder).join(name)) {
                assert_eq!(content, served(name).content, "{name}");
            }
        }
    }
    assert_eq!(download(&folder, &hub).code, 0);
    assert_whole(&folder);
}

#[test]
fn refusals_have_the_exit_code_of_their_cause() {
    let folder = Folder::new();
    let run = |address: &str, id: &str| {
        Run::of(program(&folder, address, &["download", id]).output().expect("the program starts"))
    };
    let hub = Hub::digits(|file| file.damaged = true);
    run(&hub.address, ID).expect_error(4, "checksum");
    run(&hub.address, "org/other").expect_error(4, "404");
    run(&hub.address, "no id").expect_error(2, "`no id` is not a model on the hub");
    run("http://127.0.0.1:9", ID).expect_error(4, "the connection failed");
    std::fs::write(folder.path("file"), "").expect("written");
    let mut command = program(&folder, &hub.address, &["download", ID]);
    Run::of(command.env("HF_HUB_CACHE", folder.path("file")).output().expect("it starts")).expect_error(4, "file");
    let mut command = program(&folder, &hub.address, &["download", ID]);
    let run = Run::of(command.env("HF_HUB_DOWNLOAD_TIMEOUT", "soon").output().expect("it starts"));
    run.expect_error(2, "HF_HUB_DOWNLOAD_TIMEOUT is \"soon\"");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_before_or_while_it_fills() {
    // More than any disk has.
    let (folder, hub) = (Folder::new(), Hub::digits(|_| ()));
    let huge = Hub::open(&[(CONFIG, served(CONFIG)), (WEIGHTS, Served { claims: Some(1 << 62), ..served(WEIGHTS) })]);
    download(&folder, &huge).expect_error(4, "needs 46116860184273");
    assert_eq!(part(&folder), None, "nothing is fetched in vain");
    // A limit on the size of files stands for a disk that fills up.
    let quoted = format!("ulimit -f 200; trap '' XFSZ; exec \"$0\" download {ID}");
    let mut limited = Command::new("sh");
    limited.args(["-c", &quoted, env!("CARGO_BIN_EXE_downhill")]);
    limited.envs(program(&folder, &hub.address, &[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    let run = Run::of(limited.output().expect("`sh` is there"));
    run.expect_error(4, ".incomplete: File too large");
    assert!(run.stderr.contains("hint: free the space") && run.stderr.contains("resumes from there"), "{}", run.stderr);
    let there = part(&folder).expect("the part stays");
    assert!(there > 0 && there < served(WEIGHTS).content.len() as u64);
    assert_eq!(download(&folder, &hub).code, 0);
    assert_whole(&folder);
}

/// A cache that holds the embedded model at one commit, with `main` in `refs/main`.
fn hand_made(main: Option<&[u8]>) -> Folder {
    let folder = Folder::new();
    std::fs::create_dir_all(snapshot(&folder)).expect("a folder");
    for name in [CONFIG, SCHEDULER, WEIGHTS] {
        std::fs::write(snapshot(&folder).join(name), served(name).content).expect("written");
    }
    if let Some(content) = main {
        std::fs::create_dir_all(folder.path("hub/models--org--digits/refs")).expect("a folder");
        std::fs::write(folder.path("hub/models--org--digits/refs/main"), content).expect("written");
    }
    folder
}

fn info(folder: &Folder) -> Run {
    Run::of(program(folder, "http://127.0.0.1:9", &["info", ID]).output().expect("the program starts"))
}

#[test]
fn a_copied_cache_is_read_with_line_breaks_in_refs_and_without_refs() {
    for main in [Some(COMMIT), Some("c0ffee0123\n"), Some("c0ffee0123\r\n\n"), None] {
        let run = info(&hand_made(main.map(str::as_bytes)));
        assert!(run.code == 0 && run.stdout.contains("UNet2DModel"), "{main:?}: {}", run.stderr);
    }
}

#[test]
fn a_ref_that_is_not_one_is_refused_in_a_short_message() {
    let (huge, wrong) = (vec![b'0'; 10 << 20], "does not name a commit");
    for (main, why) in [
        (&b""[..], wrong),
        (b"../../..", wrong),
        (b"\x1b]0;title\x07", wrong),
        (b"\xff\xfe", wrong),
        (&huge, "the file has 10485760 bytes"),
    ] {
        let run = info(&hand_made(Some(main)));
        run.expect_error(4, &format!("refs/main: {why}"));
        assert!(run.stderr.len() < 1000 && !run.stderr.contains('\x1b'), "{} bytes", run.stderr.len());
    }
}

#[test]
fn a_home_that_is_written_as_a_tilde_is_found() {
    let folder = hand_made(Some(COMMIT.as_bytes()));
    for cache in ["~/hub", "$HOME/hub"] {
        let mut command = program(&folder, "http://127.0.0.1:9", &["info", ID]);
        let home: &Path = folder.0.path();
        let run = Run::of(command.env("HF_HUB_CACHE", cache).env("HOME", home).output().expect("it starts"));
        assert!(run.code == 0 && run.stdout.contains("UNet2DModel"), "{cache}: {}", run.stderr);
    }
}
