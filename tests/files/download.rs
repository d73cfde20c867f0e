//! Models fetched from a hub on this machine: resumed, redirected, checked. Runs with `--features download`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use downhill::checkpoint::{Event, ModelFiles, fetch_in};
use downhill::error::{Error, Result};

use crate::hub::{COMMIT, CONFIG, Hub, ID, SCHEDULER, Served, WEIGHTS, served, sha256};

const ALL: [&str; 3] = [CONFIG, SCHEDULER, WEIGHTS];

/// Fetches the model into `cache`. Returns the folder, the number of bytes received, and the other events.
fn fetch(hub: &Hub, cache: &Path) -> Result<(PathBuf, u64, Vec<String>)> {
    let (mut received, mut events) = (0, Vec::new());
    let environment = |name: &str| -> Option<OsString> {
        match name {
            "HF_ENDPOINT" => Some(hub.address.clone().into()),
            "HF_HUB_CACHE" => Some(cache.into()),
            "HF_TOKEN" => Some("secret".into()),
            "HF_HUB_DOWNLOAD_TIMEOUT" => Some("1".into()),
            _ => None,
        }
    };
    let folder = fetch_in(ID, None, &environment, &mut |event| {
        match event {
            Event::Bytes(more) => received += more,
            other => events.push(format!("{other:?}")),
        }
        Ok(())
    })?;
    Ok((folder, received, events))
}

fn cache() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn blobs(cache: &Path) -> PathBuf {
    cache.join("models--org--digits/blobs")
}

/// The names of the files in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

fn total() -> u64 {
    ALL.iter().map(|name| served(name).content.len() as u64).sum()
}

/// Asserts that a snapshot is the embedded model, and that nothing is left over.
#[track_caller]
fn assert_whole(cache: &Path, folder: &Path) {
    for name in ALL {
        assert_eq!(std::fs::read(folder.join(name)).expect(name), served(name).content, "{name}");
    }
    assert_eq!(
        names(folder),
        ALL.map(str::to_owned).into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    );
    assert!(names(&blobs(cache)).iter().all(|name| !name.contains('.')), "{:?}", names(&blobs(cache)));
    let main = std::fs::read_to_string(cache.join("models--org--digits/refs/main")).expect("a ref");
    assert_eq!(main, COMMIT, "without a line break, as `huggingface_hub` needs it");
}

#[test]
fn a_model_is_fetched_once_and_opens() {
    let (hub, cache) = (Hub::digits(|_| ()), cache());
    let (folder, bytes, events) = fetch(&hub, cache.path()).expect("fetched");
    assert_eq!((bytes, events.len()), (total(), ALL.len()), "{events:?}");
    assert_whole(cache.path(), &folder);
    assert!(!folder.join("README.md").exists());
    assert!(hub.asked().iter().any(|line| line.starts_with("GET /storage/")), "by way of a redirection");

    let cached = |name: &str| (name == "HF_HUB_CACHE").then(|| cache.path().into());
    let model = ModelFiles::open_in(Some(ID), &cached).expect("in the cache");
    assert_eq!(model.weights.parameters(), ModelFiles::embedded().expect("embedded").weights.parameters());

    let again = fetch(&hub, cache.path()).expect("fetched");
    assert_eq!(again, (folder, 0, vec![]));
    assert_eq!(hub.asked().len(), 1, "nothing but the listing");
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let (hub, cache) = (Hub::digits(|file| file.breaks_after = Some(100_000)), cache());
    let (folder, bytes, events) = fetch(&hub, cache.path()).expect("fetched");
    assert_whole(cache.path(), &folder);
    let asked = hub.asked();
    let resumed = asked.iter().filter_map(|line| line.split(" from ").nth(1)?.parse::<u64>().ok()).max();
    assert!(resumed.is_some_and(|byte| byte > 0 && byte <= 100_000), "{asked:?}");
    assert_eq!(bytes, total());
    assert!(events.iter().any(|event| event.starts_with("Again") && event.contains(WEIGHTS)), "{events:?}");
}

#[test]
fn an_earlier_attempt_is_taken_up() {
    let (hub, cache) = (Hub::digits(|_| ()), cache());
    let content = served(WEIGHTS).content;
    std::fs::create_dir_all(blobs(cache.path())).expect("a folder");
    let part = blobs(cache.path()).join(format!("{}.incomplete", sha256(&content)));
    std::fs::write(part, &content[..70_000]).expect("written");
    let (folder, bytes, _) = fetch(&hub, cache.path()).expect("fetched");
    assert_whole(cache.path(), &folder);
    assert_eq!(bytes, total() - 70_000);
    assert!(hub.asked().iter().any(|line| line.ends_with("from 70000")));
}

#[test]
fn a_damaged_part_of_an_earlier_attempt_is_fetched_again() {
    let content = served(WEIGHTS).content;
    for left in [vec![0; 70_000], vec![0; content.len()], vec![0; content.len() + 1]] {
        let (hub, cache) = (Hub::digits(|_| ()), cache());
        std::fs::create_dir_all(blobs(cache.path())).expect("a folder");
        std::fs::write(blobs(cache.path()).join(format!("{}.incomplete", sha256(&content))), left).expect("written");
        let (folder, ..) = fetch(&hub, cache.path()).expect("fetched");
        assert_whole(cache.path(), &folder);
    }
}

#[test]
fn damage_is_found_and_nothing_is_left() {
    let (hub, cache) = (Hub::digits(|file| file.damaged = true), cache());
    let error = fetch(&hub, cache.path()).expect_err("damaged");
    assert!(matches!(&error, Error::BadFile { what, .. } if what.contains("checksum")), "{error}");
    assert_eq!(error.kind(), downhill::ErrorKind::File);
    let repository = cache.path().join("models--org--digits");
    assert_eq!(names(&blobs(cache.path())).len(), 1, "the file before it alone");
    assert!(!repository.join("snapshots").exists(), "a snapshot is whole or absent");
    assert!(!repository.join("refs/main").exists(), "no revision points to half a model");
}

#[test]
fn a_silent_hub_is_given_up() {
    let cases: [fn(&mut Served); 2] = [|file| file.silent = true, |file| file.stalls = (1000, u32::MAX)];
    for change in cases {
        let (hub, cache) = (Hub::digits(change), cache());
        let began = Instant::now();
        let error = fetch(&hub, cache.path()).expect_err("silent");
        assert!(error.to_string().contains("the connection failed: timeout"), "{error}");
        assert_eq!(error.kind(), downhill::ErrorKind::File);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

#[test]
fn silence_is_an_attempt_and_the_next_one_goes_on() {
    let (hub, cache) = (Hub::digits(|file| file.stalls = (100_000, 2)), cache());
    let (folder, bytes, events) = fetch(&hub, cache.path()).expect("fetched");
    assert_whole(cache.path(), &folder);
    assert_eq!(bytes, total(), "no byte twice");
    assert!(events.iter().any(|event| event.contains("attempt: 2") && event.contains("timeout")), "{events:?}");
    assert!(hub.asked().iter().any(|line| line.ends_with("from 100000")));
}

#[test]
fn a_busy_hub_is_asked_again() {
    let (hub, cache) = (Hub::digits(|file| file.busy = 2), cache());
    let (folder, _, events) = fetch(&hub, cache.path()).expect("fetched");
    assert_whole(cache.path(), &folder);
    assert_eq!(events.iter().filter(|event| event.contains("429")).count(), 2, "{events:?}");
}

#[test]
fn no_more_is_written_than_the_length_stated() {
    let (hub, cache) = (Hub::digits(|file| file.surplus = 1 << 30), cache());
    let (folder, bytes, _) = fetch(&hub, cache.path()).expect("fetched");
    assert_whole(cache.path(), &folder);
    assert_eq!(bytes, total());
}

#[test]
fn a_server_that_starts_elsewhere_or_over_is_followed_to_the_right_bytes() {
    let cases: [fn(&mut Served); 2] = [|file| file.misplaced = 1, |file| file.whole = true];
    for change in cases {
        let hub = Hub::digits(|file| {
            file.breaks_after = Some(100_000);
            change(file);
        });
        let cache = cache();
        let (folder, ..) = fetch(&hub, cache.path()).expect("fetched");
        assert_whole(cache.path(), &folder);
    }
}

#[test]
fn files_with_the_same_tag_are_not_taken_for_each_other() {
    let tagged = |name| (name, Served { tag: Some("weird"), ..served(name) });
    let (hub, cache) = (Hub::open(&ALL.map(tagged)), cache());
    let (folder, bytes, events) = fetch(&hub, cache.path()).expect("fetched");
    for name in ALL {
        assert_eq!(std::fs::read(folder.join(name)).expect(name), served(name).content, "{name}");
    }
    assert_eq!(bytes, total());
    assert_eq!(names(&blobs(cache.path())).len(), ALL.len(), "a blob for each file");
    assert_eq!(events.iter().filter(|event| event.starts_with("Unverified")).count(), ALL.len(), "{events:?}");
    let (_, bytes, _) = fetch(&hub, cache.path()).expect("fetched");
    assert_eq!(bytes, 0, "kept");
}

#[test]
fn a_blob_is_believed_only_with_its_length_and_hash() {
    let content = served(WEIGHTS).content;
    let mut flipped = content.clone();
    flipped[1000] ^= 1;
    for wrong in [&b""[..], &content[..content.len() - 1], &flipped] {
        // Before the download, and in a snapshot that was whole.
        for linked in [false, true] {
            let (hub, cache) = (Hub::digits(|_| ()), cache());
            if linked {
                fetch(&hub, cache.path()).expect("fetched");
            }
            std::fs::create_dir_all(blobs(cache.path())).expect("a folder");
            std::fs::write(blobs(cache.path()).join(sha256(&content)), wrong).expect("written");
            let (folder, bytes, events) = fetch(&hub, cache.path()).expect("fetched");
            assert_whole(cache.path(), &folder);
            assert!(bytes >= content.len() as u64, "fetched again");
            assert!(events.iter().any(|event| event.starts_with("Damaged")), "{events:?}");
        }
    }
}

#[test]
fn files_of_a_cache_without_links_are_verified_and_kept() {
    let (hub, cache) = (Hub::digits(|_| ()), cache());
    let (folder, ..) = fetch(&hub, cache.path()).expect("fetched");
    for name in ALL {
        let content = std::fs::read(folder.join(name)).expect(name);
        std::fs::remove_file(folder.join(name)).expect("removed");
        std::fs::write(folder.join(name), content).expect("written");
    }
    std::fs::remove_dir_all(blobs(cache.path())).expect("removed");
    assert_eq!(fetch(&hub, cache.path()).expect("fetched").1, 0);
    std::fs::write(folder.join(CONFIG), "{}").expect("written");
    let (folder, bytes, _) = fetch(&hub, cache.path()).expect("fetched");
    assert_eq!(bytes, served(CONFIG).content.len() as u64);
    assert_eq!(std::fs::read(folder.join(CONFIG)).expect("there"), served(CONFIG).content);
}

#[test]
fn a_renamed_model_is_followed() {
    let moved = |name| (name, Served { moved: true, ..served(name) });
    let (hub, cache) = (Hub::open(&ALL.map(moved)), cache());
    let (folder, ..) = fetch(&hub, cache.path()).expect("fetched");
    assert_whole(cache.path(), &folder);
}

#[test]
fn the_watcher_stops_a_download_and_its_part_stays() {
    let (hub, cache) = (Hub::digits(|_| ()), cache());
    let environment = |name: &str| match name {
        "HF_ENDPOINT" => Some(OsString::from(&hub.address)),
        "HF_HUB_CACHE" => Some(cache.path().into()),
        "HF_TOKEN" => Some("secret".into()),
        _ => None,
    };
    let mut received = 0;
    let error = fetch_in(ID, None, &environment, &mut |event| {
        received += if let Event::Bytes(more) = event { more } else { 0 };
        if received > 100_000 { Err(Error::Cancelled) } else { Ok(()) }
    });
    assert!(matches!(error, Err(Error::Cancelled)));
    let part = names(&blobs(cache.path())).into_iter().find(|name| name.ends_with(".incomplete")).expect("a part");
    let there = std::fs::metadata(blobs(cache.path()).join(part)).expect("there").len();
    let (folder, bytes, _) = fetch(&hub, cache.path()).expect("fetched");
    assert_whole(cache.path(), &folder);
    assert!(there > 0 && bytes <= total() - there, "{there} of {} bytes were kept, {bytes} came after", total());
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_a_part_is_not_written_through() {
    let (hub, cache) = (Hub::digits(|_| ()), cache());
    std::fs::create_dir_all(blobs(cache.path())).expect("a folder");
    let victim = cache.path().join("victim");
    std::fs::write(&victim, "mine").expect("written");
    let part = blobs(cache.path()).join(format!("{}.incomplete", sha256(&served(WEIGHTS).content)));
    std::os::unix::fs::symlink(&victim, part).expect("linked");
    let (folder, ..) = fetch(&hub, cache.path()).expect("fetched");
    assert_whole(cache.path(), &folder);
    assert_eq!(std::fs::read(victim).expect("there"), b"mine");
}

#[test]
fn a_repository_of_a_single_file_is_that_file() {
    let weights = || Served { content: served(WEIGHTS).content, ..Served::default() };
    let (hub, place) = (Hub::open(&[("README.md", Served::default()), ("style.safetensors", weights())]), cache());
    let (folder, ..) = fetch(&hub, place.path()).expect("fetched");
    assert_eq!(names(&folder), ["style.safetensors"]);
    // The name of the repository is that of the file. It is in no known layout, and lacks its configuration.
    let cached = |name: &str| (name == "HF_HUB_CACHE").then(|| place.path().into());
    let error = ModelFiles::open_in(Some(ID), &cached).expect_err("no configuration");
    assert!(error.to_string().contains("the network's configuration is missing"), "{error}");

    let place = cache();
    let several = Hub::open(&[("a.safetensors", weights()), ("b.safetensors", weights())]);
    let error = fetch(&several, place.path()).expect_err("no model");
    assert!(error.to_string().contains("several single files: `a.safetensors`, `b.safetensors`"), "{error}");
    assert!(error.hint().expect("a way out").contains("hf download org/digits"), "{:?}", error.hint());
}

#[test]
fn what_the_hub_does_not_have_is_said() {
    let cache = cache();
    let empty = Hub::open(&[("README.md", Served::default())]);
    let error = fetch(&empty, cache.path()).expect_err("no model");
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
    let error = fetch_in("org/other", None, &environment(&empty.address, ""), &mut |_| Ok(())).expect_err("unknown");
    assert!(
        error.to_string().contains("404") && error.hint().is_some_and(|hint| hint.contains("no such model")),
        "{error}"
    );
    let error = fetch_in(ID, None, &environment(&empty.address, "1"), &mut |_| Ok(())).expect_err("offline");
    assert_eq!((error.kind(), error.to_string().contains("HF_HUB_OFFLINE")), (downhill::ErrorKind::Argument, true));
    let error = fetch_in(ID, None, &environment("http://127.0.0.1:9", ""), &mut |_| Ok(())).expect_err("no server");
    assert!(error.to_string().contains("the connection failed"), "{error}");
    assert_eq!(
        fetch_in("not an id", None, &|_| None, &mut |_| Ok(())).expect_err("no id").kind(),
        downhill::ErrorKind::Argument
    );
}
