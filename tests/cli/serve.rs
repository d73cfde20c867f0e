//! `downhill serve`: requests and events as JSON lines.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{Folder, Run, command, quietly};

const TEXT: &str = "tests/golden/latent/sd1-like";

/// Sends lines to a server, and returns how it ended with its events.
fn serve(arguments: &[&str], lines: &[Vec<u8>]) -> (Run, Vec<Value>) {
    let mut program = command(&[&["serve"], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut input = program.stdin.take().expect("standard input");
    let lines = lines.to_vec();
    let writer = std::thread::spawn(move || {
        for line in lines {
            input.write_all(&line).expect("written");
            input.write_all(b"\n").expect("written");
        }
    });
    let run = Run::of(program.wait_with_output().expect("the program ends"));
    writer.join().expect("the writer");
    let events = run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (run, events)
}

fn line(request: &Value) -> Vec<u8> {
    request.to_string().into_bytes()
}

/// The events of one kind.
fn of<'v>(events: &'v [Value], kind: &str) -> Vec<&'v Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

#[test]
fn images_are_those_of_sample_and_nothing_is_built_twice() {
    let folder = Folder::new();
    let request = |id: usize, seed: u64, output: &str| {
        line(&json!({"id": id, "n": 2, "steps": 3, "seed": seed, "output": folder.at(output)}))
    };
    let lines = [request(1, 7, "a.png"), request(2, 8, "b.png"), request(3, 7, "c.png")];
    let (run, events) = serve(&["-q"], &lines);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(events[0]["event"], "ready");
    assert_eq!(events[0]["model"]["name"], "digits");
    assert_eq!(of(&events, "progress").len(), 9);
    assert_eq!(of(&events, "progress")[0]["steps"], 3);
    let done = of(&events, "done");
    assert_eq!(done.iter().map(|event| event["id"].as_u64().expect("an id")).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(done[0]["files"], json!([folder.at("a.png")]));
    assert!(done[0]["report"]["plans_made"].as_u64() > Some(0));
    for again in &done[1..] {
        assert_eq!(again["report"]["plans_made"], 0, "the plan is kept");
        assert_eq!(again["report"]["graphs_built"], 0);
    }
    for (seed, name) in [("7", "a.png"), ("8", "b.png"), ("7", "c.png")] {
        quietly(&["sample", "-n", "2", "--steps", "3", "-s", seed, "-o", &folder.at("x.png")]);
        assert_eq!(folder.bytes(name), folder.bytes("x.png"), "{name}");
    }
}

#[test]
fn texts_pictures_and_sizes_follow_each_other() {
    let folder = Folder::new();
    let image = format!("{TEXT}/../sd2-like/runs/from.png");
    let requests = [
        json!({"prompt": "a cat", "steps": 2, "output": folder.at("a.png")}),
        json!({"prompt": "a dog", "negative": "blurry", "cfg_scale": 3, "steps": 2, "output": folder.at("b.png")}),
        json!({"prompt": "a cat", "steps": 2, "size": "64x64", "output": folder.at("c.png")}),
        json!({"prompt": "a cat", "steps": 2, "cfg_scale": 1, "size": [64, 64], "output": folder.at("d.png")}),
        json!({"prompt": "a cat", "steps": 3, "init_image": image, "size": 64, "output": folder.at("e.png")}),
        json!({"prompt": "a cat", "steps": 2, "output": folder.at("f.png")}),
    ];
    let flags: [&[&str]; 6] = [
        &["-p", "a cat", "--steps", "2"],
        &["-p", "a dog", "--negative", "blurry", "--cfg-scale", "3", "--steps", "2"],
        &["-p", "a cat", "--steps", "2", "--size", "64x64"],
        &["-p", "a cat", "--steps", "2", "--cfg-scale", "1", "--size", "64"],
        &["-p", "a cat", "--steps", "3", "--init-image", &image, "--size", "64"],
        &["-p", "a cat", "--steps", "2"],
    ];
    for memory in [&[][..], &["--memory", "14MiB"]] {
        let (run, events) = serve(&[&[TEXT, "-q"], memory].concat(), &requests.clone().map(|request| line(&request)));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        let done = of(&events, "done");
        assert_eq!(done.len(), 6, "{events:#?}");
        assert_eq!(done[1]["report"]["plans_made"], 0, "texts differ, calls do not");
        for (name, flags) in ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png"].iter().zip(flags) {
            quietly(&[&["sample", TEXT], flags, &["-o", &folder.at("x.png")]].concat());
            assert_eq!(folder.bytes(name), folder.bytes("x.png"), "{name}");
        }
    }
}

#[test]
fn a_bad_request_is_an_error_and_the_server_goes_on() {
    let folder = Folder::new();
    let good = |id: &str| line(&json!({"id": id, "n": 1, "steps": 1, "output": folder.at("x.png")}));
    let lines = [
        b"{\"id\": 1, ".to_vec(),
        b"[]".to_vec(),
        b"\xff\xfe".to_vec(),
        line(&json!({"id": "a", "stepz": 3, "output": "x.png"})),
        line(&json!({"id": "b", "steps": -1, "output": "x.png"})),
        line(&json!({"id": "c", "sampler": "none", "output": "x.png"})),
        line(&json!({"id": "d", "prompt": "a cat", "output": "x.png"})),
        line(&json!({"id": "e", "init_image": "nowhere.png", "output": "x.png"})),
        line(&json!({"id": "f", "output": folder.at("x.jpeg")})),
        line(&json!({"id": "g", "output": "/proc/none/x.png"})),
        vec![b'x'; (1 << 20) + 5],
        Vec::new(),
        good("last"),
    ];
    let report = folder.at("report.json");
    let (run, events) = serve(&["-q", "--json", &report], &lines);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let errors = of(&events, "error");
    assert_eq!(errors.len(), 11, "{events:#?}");
    for (at, what) in [
        (0, "not a JSON object"),
        (3, "`stepz` is not a field"),
        (5, "none"),
        (6, "does not take texts"),
        (7, "does not exist"),
        (10, "1048581 bytes"),
    ] {
        let message = errors[at]["message"].as_str().expect("a message");
        assert!(message.contains(what), "{message}");
        assert!(errors[at]["exit_code"] == 2 && errors[at]["kind"].is_string(), "{}", errors[at]);
    }
    assert!(errors[3]["hint"].as_str().expect("a hint").contains("`steps`"));
    assert_eq!(errors[3]["id"], "a");
    let done = of(&events, "done");
    assert_eq!((done.len(), &done[0]["id"]), (1, &json!("last")));
    assert!(folder.path("x.png").is_file());
    assert_eq!(folder.json("report.json")["requests"], json!({"served": 1, "refused": 11}));
}

/// A reader that goes before the first event is no fault and no signal.
#[test]
fn a_closed_output_ends_it_quietly() {
    let mut program = command(&["serve", "-q"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    drop(program.stdout.take());
    let run = Run::of(program.wait_with_output().expect("the program ends"));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

#[test]
fn the_model_is_checked_before_anything_is_read() {
    let (run, events) = serve(&["no-such-model"], &[]);
    run.expect_error(2, "does not exist");
    assert!(events.is_empty());
    let (run, events) = serve(&["pca:digits", "-q"], &[line(&json!({"n": 1, "steps": 2, "output": "-"}))]);
    assert_eq!((run.code, of(&events, "error").len()), (0, 1));
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_after_the_current_batch() {
    use std::io::{BufRead, BufReader};
    let folder = Folder::new();
    let mut program = command(&["serve", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut input = program.stdin.take().expect("standard input");
    let request = json!({"n": 3000, "batch": 1, "steps": 2, "output": folder.at("%04d.png")});
    writeln!(input, "{request}").expect("written");
    let mut lines = BufReader::new(program.stdout.take().expect("standard output")).lines();
    let is_second = |line: &String| line.contains("\"step\":4,");
    lines.by_ref().map(|line| line.expect("a line")).find(is_second).expect("progress");
    crate::send("TERM", &[program.id()]);
    let rest: Vec<Value> = lines.map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON")).collect();
    assert_eq!(program.wait().expect("an end").code(), Some(143));
    drop(input);
    let done = of(&rest, "done");
    let count = done[0]["count"].as_u64().expect("a count");
    assert!((1..3000).contains(&count));
    assert_eq!(folder.names().len() as u64, count);
    let last = rest.last().expect("an event");
    assert_eq!((&last["event"], &last["exit_code"]), (&json!("error"), &json!(143)));
}
