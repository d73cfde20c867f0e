//! `bench`: what it prints, what it compares, how it ends.

use serde_json::{Value, json};

use crate::{Folder, Run, downhill};

/// A run with one sample, without the roofs.
fn printed(arguments: &[&str]) -> String {
    printed_with_roofs(&[arguments, &["--no-roofs"]].concat())
}

/// A run with one sample.
fn printed_with_roofs(arguments: &[&str]) -> String {
    let Run { code, stdout, stderr } = downhill(&[&["bench"], arguments, &["-r", "1"]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

fn rows(found: &Value) -> Vec<&Value> {
    found["rows"].as_array().expect("rows").iter().collect()
}

#[test]
fn json_holds_every_case_checked_and_timed() {
    let folder = Folder::new();
    let found: Value =
        serde_json::from_str(&printed(&["copy", "-o", "json", "--sizes", "0.01,1", "--json", &folder.at("run.json")]))
            .expect("JSON");
    for field in ["version", "wgpu", "date", "adapter", "driver", "family"] {
        assert!(!text(&found, field).is_empty(), "{field}");
    }
    assert!(!text(&found["machine"], "system").is_empty(), "{found}");
    let named: Vec<_> = rows(&found).iter().map(|row| (text(row, "suite"), text(row, "case"))).collect();
    assert_eq!(
        named,
        [
            ("copy", "0.01 MiB by a kernel"),
            ("copy", "0.01 MiB by the encoder"),
            ("copy", "1 MiB by a kernel"),
            ("copy", "1 MiB by the encoder")
        ]
    );
    for row in rows(&found) {
        assert_eq!(text(row, "status"), "measured", "{row}");
        assert!(row["timing"]["median"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["timing"]["samples"].as_array().unwrap().len(), 1);
        assert_eq!(row["check"]["error"], 0.0, "a copy is exact: {row}");
        assert_eq!(row["rate"]["of_roof"], Value::Null, "{row}");
    }
    assert_eq!(folder.json("run.json")["findings"], found);
}

#[test]
fn the_roofs_come_first_and_rows_are_compared_with_them() {
    let found: Value = serde_json::from_str(&printed_with_roofs(&["copy", "--quick", "-o", "json"])).expect("JSON");
    let (roofs, copies): (Vec<&Value>, Vec<&Value>) =
        rows(&found).into_iter().partition(|row| text(row, "suite") == "roof");
    assert_eq!((roofs.len(), copies.len()), (14, 2));
    for row in &roofs {
        let case = text(row, "case");
        let is_offered = !(case.contains("float16") || case.contains("matrix units"));
        if text(row, "status") == "unsupported" {
            assert!(!is_offered && !text(row, "reason").is_empty(), "{row}");
            continue;
        }
        assert_eq!(text(row, "status"), "measured", "{row}");
        assert!(row["timing"]["median"].as_f64().unwrap() > 0.0, "{row}");
        let is_latency = case.contains("empty") || case.contains("dispatch");
        assert_eq!(is_latency, row["check"].is_null(), "{row}");
        let unit = match case {
            _ if is_latency => "",
            _ if case.contains("int8") => "GOP/s",
            _ if case.contains("chain") => "GFLOP/s",
            _ => "GB/s",
        };
        assert_eq!(text(&row["rate"], "unit"), unit, "{row}");
    }
    let summary = &found["roofs"];
    for roof in ["arithmetic", "int8", "memory", "dispatch_seconds", "submission_seconds"] {
        assert!(summary[roof].as_f64().unwrap() > 0.0, "{roof}: {summary}");
    }
    let sizes: Vec<u64> =
        summary["reads"].as_array().unwrap().iter().map(|read| read["kibibytes"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [64, 256, 1024, 4096, 16384]);
    for row in copies {
        let rate = &row["rate"];
        let of_roof = rate["value"].as_f64().unwrap() / summary["memory"].as_f64().unwrap();
        assert!((rate["of_roof"].as_f64().unwrap() - of_roof).abs() < 1e-9, "{row}");
    }
}

#[test]
fn tables_begin_with_machine_and_roofs_and_end_with_a_line_to_paste() {
    let tables = printed_with_roofs(&["roofs", "--quick"]);
    let beginnings = [
        "- adapter: ",
        "- driver: ",
        "- machine: ",
        "- roofs: float32 ",
        "- reads by a kernel, GB/s: ",
        "- latency of ",
    ];
    for beginning in beginnings {
        assert!(tables.lines().any(|line| line.starts_with(beginning)), "{beginning}: {tables}");
    }
    let last = tables.lines().last().unwrap();
    assert!(last.starts_with(&format!("downhill {} | ", env!("CARGO_PKG_VERSION"))), "{last}");
    assert!(last.contains(" GFLOP/s roof | "), "{last}");
    downhill(&["bench", "roofs", "--no-roofs"]).expect_error(2, "`roofs` without the roofs measures nothing");
    let plain = printed(&["copy", "--sizes", "0.01"]);
    assert!(plain.contains("\n- roofs: not measured\n"), "{plain}");
    assert!(plain.lines().last().unwrap().contains(" | copy "), "{plain}");
}

#[test]
fn lines_are_a_run_and_so_are_the_first_of_them() {
    let folder = Folder::new();
    let printed = printed(&["copy", "--sizes", "0.01,1", "-o", "jsonl"]);
    let keys = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("JSON");
        value.as_object().expect("an object").keys().next().expect("a key").clone()
    };
    assert_eq!(printed.lines().map(keys).collect::<Vec<_>>(), ["run", "row", "row", "row", "row", "end"]);
    let (all, cut) = (folder.at("all.jsonl"), folder.at("cut.jsonl"));
    std::fs::write(&all, &printed).unwrap();
    let third = printed.match_indices('\n').nth(2).unwrap().0;
    std::fs::write(&cut, &printed[..third + 20]).unwrap();
    let run = downhill(&["bench", "compare", &all, &cut]);
    assert_eq!((run.code, run.stderr.as_str()), (0, "note: the second run was stopped before its end\n"));
    let ratios = run.stdout.lines().filter(|line| line.contains(" 1.00 ") && line.contains("unsure"));
    assert_eq!(ratios.count(), 2, "{}", run.stdout);
    assert!(run.stdout.contains("Only in the first: copy 1 MiB by a kernel; copy 1 MiB by the encoder"));
}

/// A run of two copies and a roof whose samples are `factor` and `roof` times as long as given ones.
fn saved(folder: &Folder, name: &str, factor: f64, roof: f64, adapter: &str) -> String {
    let row = |suite: &str, case: &str, samples: [f64; 3]| {
        let samples = samples.map(|sample| sample * if suite == "roof" { roof } else { factor });
        let timing = json!({
            "samples": samples, "calls": 1, "median": samples[1], "least": samples[0],
            "spread": (samples[2] - samples[0]) / 2.0 / samples[1],
        });
        let rate = json!({ "work": 1, "value": 1.0, "unit": "GB/s" });
        json!({ "suite": suite, "case": case, "status": "measured", "kernels": [], "timing": timing, "rate": rate })
    };
    let rows = [
        row("roof", "chain of fma", [1.0, 1.0, 1.0]),
        row("copy", "quiet", [1.0, 1.0, 1.0]),
        row("copy", "noisy", [0.8, 1.0, 1.2]),
    ];
    let run = json!({
        "version": "1", "wgpu": "2", "date": "3", "adapter": adapter, "driver": "d", "family": "f", "repeats": 3,
        "rows": rows,
    });
    let file = folder.at(name);
    std::fs::write(&file, run.to_string()).unwrap();
    file
}

#[test]
fn saved_runs_are_compared_without_measuring() {
    let folder = Folder::new();
    let (base, slower) = (saved(&folder, "base.json", 1.0, 1.0, "a"), saved(&folder, "slower.json", 1.3, 1.01, "b"));
    let compare = |arguments: &[&str]| downhill(&[&["bench", "compare"], arguments].concat());
    let run = compare(&[&base, &slower]);
    assert_eq!(run.code, 0);
    assert_eq!(run.stderr, "note: different adapter: `a` then, `b` now; the ratios do not compare the kernels alone\n");
    let cells = |case: &str| {
        let line = run.stdout.lines().find(|line| line.contains(case)).expect("a line");
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(cells("quiet")[6..], ["1.30", "1.30 to 1.30", "slower"]);
    assert_eq!(cells("noisy")[6..], ["1.30", "0.929 to 1.82", "same"]);
    assert_eq!(cells("chain of fma")[6..], ["1.01", "1.01 to 1.01", "slower"]);

    let failed = compare(&[&base, &slower, "--fail-if-slower", "10%"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (1, run.stdout.as_str()));
    let named: Vec<&str> = failed.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(named, ["error: slower by more than 10%: copy quiet: 1.30x the time (1.30 to 1.30)"]);
    assert_eq!(compare(&[&base, &slower, "--fail-if-slower", "40%"]).code, 0);
    assert_eq!(compare(&[&slower, &base, "--fail-if-slower", "0%"]).code, 0, "faster");
    compare(&[&base, &slower, "--fail-if-slower", "10"]).expect_error(2, "`10` is not a share in percent");
    compare(&[&base, "Cargo.toml"]).expect_error(4, "not a saved benchmark");
    compare(&[&base, "no-such.json"]).expect_error(2, "no-such.json");
    compare(&[&base]).expect_error(2, "B.json");
    let both: Value = serde_json::from_str(&compare(&[&base, &slower, "-o", "json"]).stdout).expect("JSON");
    assert_eq!(both["pairs"].as_array().unwrap().len(), 3);
}

#[test]
fn a_case_is_slower_only_beyond_the_machine() {
    let folder = Folder::new();
    let (base, slow) = (saved(&folder, "base.json", 1.0, 1.0, "a"), saved(&folder, "slow.json", 1.3, 1.25, "a"));
    let run = downhill(&["bench", "compare", &base, &slow, "--fail-if-slower", "10%"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let note = "note: the machine changed between the runs: its roofs took 1.25 to 1.25x the time (`chain of fma`); \
                the ratios are of the machine too, and no finer than that\n";
    assert_eq!(run.stderr, note);
    assert_eq!(downhill(&["bench", "compare", &base, &slow, "--fail-if-slower", "2%"]).code, 1, "1.3 over 1.25");
    let changed = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut run: Value = folder.json("base.json");
        change(&mut run);
        std::fs::write(folder.at(name), run.to_string()).unwrap();
        downhill(&["bench", "compare", &base, &folder.at(name), "--fail-if-slower", "10%"])
    };
    let quick = changed("quick.json", &|run| run["quick"] = true.into());
    assert_eq!(quick.code, 0);
    assert!(quick.stderr.starts_with("note: `--quick` is for a look"), "{}", quick.stderr);
    let bare = changed("bare.json", &|run| drop(run["rows"].as_array_mut().unwrap().remove(0)));
    assert_eq!(bare.code, 0);
    let warning = "warning: the runs have no roof in common, so a change of the machine between them is not seen\n";
    assert_eq!(bare.stderr, warning, "a roof is not a case that is missing");
}

#[test]
fn a_run_that_died_and_a_case_that_failed_do_not_pass() {
    let folder = Folder::new();
    let base = saved(&folder, "base.json", 1.0, 1.0, "a");
    let mut run: Value = folder.json("base.json");
    let rows: Vec<Value> = run["rows"].take().as_array().unwrap().clone();
    run["rows"] = json!([]);
    let head = json!({ "run": run }).to_string() + "\n";
    let lines = |rows: &[Value]| {
        head.clone() + &rows.iter().map(|row| json!({ "row": row }).to_string() + "\n").collect::<String>()
    };
    let compare = |text: String, flags: &[&str]| {
        std::fs::write(folder.at("now.jsonl"), text).unwrap();
        downhill(&[&["bench", "compare", &base, &folder.at("now.jsonl")], flags].concat())
    };
    let gate = ["--fail-if-slower", "500%"];
    let died = compare(lines(&rows[..2]), &gate);
    assert_eq!(died.code, 1, "{}", died.stderr);
    let error = "error: the second run was stopped before its end\nhint: measure again";
    assert!(died.stderr.contains(error) && died.stderr.matches("was stopped").count() == 1, "{}", died.stderr);
    assert_eq!(compare(lines(&rows[..2]), &[]).code, 0, "a comparison of what there is");
    compare(lines(&rows[..1]), &gate).expect_error(2, "the second run was stopped early");

    let end = json!({ "end": { "machine": {} } }).to_string() + "\n";
    let selected = compare(lines(&rows[..2]) + &end, &gate);
    assert_eq!(selected.code, 0, "other cases were not asked for: {}", selected.stderr);
    assert!(selected.stderr.contains("not in the second run, and not judged: copy noisy"), "{}", selected.stderr);
    let failed =
        json!({ "suite": "copy", "case": "noisy", "status": "unsupported", "reason": "too large", "kernels": [] });
    let failed = compare(lines(&[&rows[..2], &[failed]].concat()) + &end, &gate);
    assert_eq!(failed.code, 1);
    assert_eq!(failed.stderr, "error: not measured in the second run: copy noisy (too large)\n");
}

#[test]
fn a_format_that_is_a_file_says_how_to_write_one() {
    for arguments in [&["bench", "--quick", "-o", "run.json"][..], &["bench", "compare", "a", "b", "-o", "run.json"]] {
        downhill(arguments).expect_error(2, "`-o json > run.json`");
    }
    let other = downhill(&["bench", "-o", "xml"]);
    assert_eq!((other.code, other.stderr.contains("tip:")), (2, false), "{}", other.stderr);
}

#[test]
fn a_report_is_a_saved_run_and_an_empty_file_says_so() {
    let folder = Folder::new();
    let base = saved(&folder, "base.json", 1.0, 1.0, "a");
    let report = json!({ "command": "bench", "findings": folder.json("base.json") });
    std::fs::write(folder.at("report.json"), report.to_string()).unwrap();
    assert_eq!(downhill(&["bench", "compare", &base, &folder.at("report.json")]).code, 0);
    std::fs::write(folder.at("empty.json"), "").unwrap();
    downhill(&["bench", "compare", &base, &folder.at("empty.json")])
        .expect_error(4, "is empty: not a saved benchmark\nhint: `-o json` is written at the end of a run");
}

#[test]
fn a_run_that_is_slower_than_a_saved_one_ends_with_1() {
    let folder = Folder::new();
    let mut saved: Value = serde_json::from_str(&printed(&["copy", "--sizes", "0.01", "-o", "json"])).expect("JSON");
    let base = folder.at("base.json");
    let mut ends_with = |seconds: f64, code: i32| {
        for row in saved["rows"].as_array_mut().expect("rows") {
            row["timing"]["median"] = seconds.into();
            row["timing"]["spread"] = 0.into();
        }
        std::fs::write(&base, saved.to_string()).unwrap();
        let run = downhill(&[
            "bench",
            "copy",
            "--sizes",
            "0.01",
            "-r",
            "3",
            "--no-roofs",
            "--compare",
            &base,
            "--fail-if-slower",
            "50%",
        ]);
        assert_eq!(run.code, code, "{}", run.stderr);
        assert_eq!(run.stderr.contains("slower by more than 50%: copy 0.01 MiB by a kernel"), code == 1);
    };
    ends_with(1e-12, 1);
    ends_with(1e3, 0);
    downhill(&["bench", "copy", "--fail-if-slower", "50%"]).expect_error(2, "--compare");
}

#[test]
fn half_weights_are_a_matter_of_networks() {
    downhill(&["bench", "conv", "--dtype", "f16"])
        .expect_error(2, "`--dtype` applies to `unet` only\nhint: `downhill bench unet --dtype f16`");
}

#[test]
fn the_kernels_of_a_call_are_its_dispatches() {
    let of_case = |found: &Value| {
        let rows = found["rows"].as_array().expect("rows");
        rows.iter().find(|row| text(row, "suite") == "unet").expect("a row").clone()
    };
    let found: Value =
        serde_json::from_str(&printed(&["unet", "--sizes", "digits", "--kernels", "-o", "json"])).expect("JSON");
    let row = of_case(&found);
    for parts in ["kinds", "steps"] {
        let parts = row["breakdown"][parts].as_array().expect("parts");
        let dispatches: u64 = parts.iter().map(|part| part["dispatches"].as_u64().unwrap()).sum();
        assert_eq!(dispatches, row["call"]["dispatches"].as_u64().unwrap());
        let shares: f64 = parts.iter().map(|part| part["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
        let seconds: f64 = parts.iter().map(|part| part["timing"]["median"].as_f64().unwrap()).sum();
        let kernels = row["call"]["kernel_seconds"].as_f64().unwrap();
        assert!((seconds / kernels - 1.0).abs() < 1e-6, "{seconds} of {kernels}");
        let flops = parts.iter().filter(|part| part["rate"]["unit"] == "GFLOP/s");
        let flops: u64 = flops.map(|part| part["rate"]["work"].as_u64().unwrap()).sum();
        assert_eq!(flops, row["rate"]["work"].as_u64().unwrap());
    }

    let tables = printed(&["unet", "--sizes", "digits", "--kernels"]);
    let (_, kernels) = tables.split_once("### kernels of digits, batch 1\n\n").expect("a table");
    assert!(kernels.starts_with("| operation "), "{kernels}");
    let kinds = row["breakdown"]["kinds"].as_array().unwrap().len();
    // After the table, the run in one line.
    assert_eq!(kernels.lines().count(), 4 + kinds);
    let csv = printed(&["unet", "--sizes", "digits", "--kernels=each", "-o", "csv"]);
    let of_network: Vec<&str> = csv.lines().filter(|line| line.starts_with("unet,")).collect();
    assert_eq!(of_network.len(), 1 + row["breakdown"]["steps"].as_array().unwrap().len(), "{csv}");
    let first = of_network.iter().find(|line| line.contains(",conv_in,")).expect("a line of the first layer");
    assert!(first.contains("convolution 3x3, 1 -> 32 at 28x28"), "{first}");

    let plain: Value = serde_json::from_str(&printed(&["unet", "--sizes", "digits", "-o", "json"])).expect("JSON");
    assert!(of_case(&plain).get("breakdown").is_none());
    downhill(&["bench", "conv", "--kernels"]).expect_error(
        2,
        "`--kernels` applies to networks, which this work does not call\nhint: `downhill bench unet --kernels`",
    );
}

#[test]
fn kernels_of_both_families_are_right_before_they_are_timed() {
    let suites = [("matmul", "20x7x33"), ("conv", "2x12x5x6"), ("norm", "3x12x5x6"), ("attention", "10x16x8")];
    for family in ["lanes", "tile"] {
        for (suite, sizes) in suites {
            let csv = printed(&[suite, "--sizes", sizes, "-o", "csv", "--family", family]);
            let mut lines = csv.lines();
            let headings: Vec<_> = lines.next().expect("headings").split(',').collect();
            let column = |name: &str| headings.iter().position(|heading| *heading == name).expect(name);
            let rows: Vec<Vec<&str>> =
                lines.filter(|line| line.starts_with(suite)).map(|line| line.split(',').collect()).collect();
            assert_eq!(rows.len(), if suite == "matmul" { 2 } else { 1 }, "{csv}");
            for row in rows {
                assert_eq!(row[column("status")], "measured");
                let error: f64 = row[column("error")].parse().expect("a number");
                assert!((0.0..1e-5).contains(&error), "{family} {suite}: {error}");
                assert!(row[column("median_s")].parse::<f64>().expect("a number") > 0.0);
            }
        }
    }
}

/// A layer is measured as a network runs it, though there are no other weights to bound the transformed ones.
#[test]
fn a_convolution_is_measured_by_the_algorithm_that_networks_use() {
    let kernels = |flags: &[&str]| {
        let arguments = [&["conv", "--sizes", "1x128x16x16", "-o", "json", "--family", "lanes"], flags].concat();
        let found: Value = serde_json::from_str(&printed(&arguments)).expect("JSON");
        let row =
            found["rows"].as_array().expect("rows").iter().find(|row| text(row, "suite") == "conv").expect("a row");
        let kernels = row["kernels"].as_array().expect("kernels").clone();
        let winograd = kernels.iter().any(|name| name.as_str().unwrap_or_default().starts_with("winograd_input"));
        (winograd, text(&found, "algorithms").to_owned())
    };
    assert_eq!(kernels(&[]), (true, "by prior".to_owned()));
    assert_eq!(kernels(&["--exact"]), (false, "direct for every layer".to_owned()));
}

#[test]
fn spectra_have_small_residuals_by_either_way() {
    let found: Value =
        serde_json::from_str(&printed(&["lanczos", "--sizes", "300x40,20x70", "-o", "json"])).expect("JSON");
    let rows: Vec<&Value> =
        found["rows"].as_array().expect("rows").iter().filter(|row| text(row, "suite") == "lanczos").collect();
    let cases: Vec<_> = rows.iter().map(|row| text(row, "case")).collect();
    assert_eq!(cases, ["300x40", "300x40 matrix-free", "20x70", "20x70 matrix-free"]);
    for row in rows {
        assert_eq!(text(row, "status"), "measured", "{row}");
        assert!(row["check"]["error"].as_f64().unwrap() < 1e-4, "{row}");
    }
}

#[test]
fn a_run_is_set_beside_a_saved_one() {
    let folder = Folder::new();
    let mut saved: Value = serde_json::from_str(&printed(&["copy", "--sizes", "0.01", "-o", "json"])).expect("JSON");
    for row in saved["rows"].as_array_mut().expect("rows") {
        row["timing"]["median"] = 1000.into();
    }
    let base = folder.at("base.json");
    std::fs::write(&base, saved.to_string()).unwrap();
    let tables = printed(&["copy", "--sizes", "0.01,0.02", "--compare", &base]);
    let line =
        |case: &str| tables.lines().find(|line| line.contains(case)).unwrap_or_else(|| panic!("{case}: {tables}"));
    assert!(tables.starts_with("- adapter: "));
    let last = |case: &str| line(case).split('|').map(str::trim).rfind(|cell| !cell.is_empty()).unwrap_or_default();
    assert!(line("| case").contains(" of roof "), "{tables}");
    assert_eq!(last("| case"), "against base");
    assert!(last("0.01 MiB by a kernel").ends_with("x unsure"), "{tables}");
    assert_eq!(last("0.02 MiB by a kernel"), "-", "only what both have is compared: {tables}");

    saved["driver"] = "another".into();
    std::fs::write(&base, saved.to_string()).unwrap();
    let run = downhill(&["bench", "copy", "--sizes", "0.01", "-r", "1", "--no-roofs", "--compare", &base]);
    assert_eq!(run.code, 0);
    assert!(run.stderr.contains("warning: different driver: `another` then"), "{}", run.stderr);
    for (content, code) in [("{}", 4), ("[", 4)] {
        std::fs::write(&base, content).unwrap();
        downhill(&["bench", "copy", "--compare", &base]).expect_error(code, "not a saved benchmark");
    }
}

#[test]
fn what_the_device_does_not_grant_is_a_row_with_the_reason() {
    let tables = printed(&["matmul", "--sizes", "65536"]);
    let reasons = tables.lines().filter(|line| line.contains(": unsupported, `65536x65536x65536"));
    assert_eq!(reasons.filter(|line| line.contains("over the device's largest")).count(), 2, "{tables}");
}
