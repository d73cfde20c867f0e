//! Entry points of the driver that fail, one after the other, under a small run: the program exits with the code of the
//! failure and a sentence, never by a panic or a signal, and what it has written is whole.
//!
//! `fault_layer/driver.c` is a driver in front of lavapipe that makes the n-th call of one entry point return an error.
//! The ordinary test takes a few cases. All entry points, at the first, second, middle and last call, with each error
//! that they may return, printed as a table:
//!
//! ```text
//! sh scripts/with-adapter.sh cargo nextest run --all-features --test cli --run-ignored only --no-capture faults::
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Folder, command};

/// Longer than any run takes on a busy machine.
const HANG: Duration = Duration::from_secs(300);

const NO_HOST_MEMORY: i32 = -1;
const NO_DEVICE_MEMORY: i32 = -2;
const NOT_INITIALISED: i32 = -3;
const LOST: i32 = -4;
const NOT_MAPPED: i32 = -5;
const NO_SUCH_LAYER: i32 = -6;
const NO_SUCH_EXTENSION: i32 = -7;
const NO_SUCH_FEATURE: i32 = -8;
const INCOMPATIBLE: i32 = -9;
const TOO_MANY: i32 = -10;
const NO_SUCH_FORMAT: i32 = -11;
const FRAGMENTED_POOL: i32 = -12;
const NOT_READY: i32 = 1;
const TIMED_OUT: i32 = 2;
const FRAGMENTED: i32 = -1_000_161_000;
const POOL_EMPTY: i32 = -1_000_069_000;
const BAD_SHADER: i32 = -1_000_012_000;

const MEMORY: &[i32] = &[NO_HOST_MEMORY, NO_DEVICE_MEMORY];
const QUEUE: &[i32] = &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, LOST];
const WAIT: &[i32] = &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, LOST, TIMED_OUT];
const STATUS: &[i32] = &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, LOST, NOT_READY];
const SHADER: &[i32] = &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, BAD_SHADER];
const LAYERED: &[i32] = &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, NO_SUCH_LAYER];
const FORMAT: &[i32] = &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, NO_SUCH_FORMAT];

/// The entry points of Vulkan 1.3 without surfaces that may fail, and how. `vkEnumerateInstanceVersion` is not among
/// them: the loader then takes the driver for one of Vulkan 1.0 and hands out no newer entry points, whatever the
/// device says, and `ash` aborts at the first call of one (`docs/lab-notes.md`, "Drivers that fail").
const ENTRY_POINTS: &[(&str, &[i32])] = &[
    ("vkCreateInstance", &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, NOT_INITIALISED, NO_SUCH_EXTENSION, INCOMPATIBLE]),
    ("vkEnumerateInstanceExtensionProperties", LAYERED),
    ("vkEnumeratePhysicalDevices", &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, NOT_INITIALISED]),
    ("vkEnumeratePhysicalDeviceGroups", &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, NOT_INITIALISED]),
    ("vkEnumerateDeviceExtensionProperties", LAYERED),
    ("vkGetPhysicalDeviceImageFormatProperties", FORMAT),
    ("vkGetPhysicalDeviceImageFormatProperties2", FORMAT),
    ("vkGetPhysicalDeviceImageFormatProperties2KHR", FORMAT),
    ("vkGetPhysicalDeviceToolProperties", &[NO_HOST_MEMORY]),
    ("vkGetPhysicalDeviceToolPropertiesEXT", &[NO_HOST_MEMORY]),
    ("vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR", MEMORY),
    (
        "vkCreateDevice",
        &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, NOT_INITIALISED, NO_SUCH_EXTENSION, NO_SUCH_FEATURE, TOO_MANY, LOST],
    ),
    ("vkQueueSubmit", QUEUE),
    ("vkQueueSubmit2", QUEUE),
    ("vkQueueSubmit2KHR", QUEUE),
    ("vkQueueBindSparse", QUEUE),
    ("vkQueueWaitIdle", QUEUE),
    ("vkDeviceWaitIdle", QUEUE),
    ("vkAllocateMemory", &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, TOO_MANY]),
    ("vkMapMemory", &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, NOT_MAPPED]),
    ("vkFlushMappedMemoryRanges", MEMORY),
    ("vkInvalidateMappedMemoryRanges", MEMORY),
    ("vkBindBufferMemory", MEMORY),
    ("vkBindBufferMemory2", MEMORY),
    ("vkBindBufferMemory2KHR", MEMORY),
    ("vkBindImageMemory", MEMORY),
    ("vkBindImageMemory2", MEMORY),
    ("vkBindImageMemory2KHR", MEMORY),
    ("vkCreateFence", MEMORY),
    ("vkResetFences", &[NO_DEVICE_MEMORY]),
    ("vkGetFenceStatus", STATUS),
    ("vkWaitForFences", WAIT),
    ("vkCreateSemaphore", MEMORY),
    ("vkGetSemaphoreCounterValue", QUEUE),
    ("vkGetSemaphoreCounterValueKHR", QUEUE),
    ("vkWaitSemaphores", WAIT),
    ("vkWaitSemaphoresKHR", WAIT),
    ("vkSignalSemaphore", MEMORY),
    ("vkSignalSemaphoreKHR", MEMORY),
    ("vkCreateEvent", MEMORY),
    ("vkGetEventStatus", QUEUE),
    ("vkSetEvent", MEMORY),
    ("vkResetEvent", &[NO_DEVICE_MEMORY]),
    ("vkCreateQueryPool", MEMORY),
    ("vkGetQueryPoolResults", STATUS),
    ("vkCreateBuffer", MEMORY),
    ("vkCreateBufferView", MEMORY),
    ("vkCreateImage", MEMORY),
    ("vkCreateImageView", MEMORY),
    ("vkCreateSampler", MEMORY),
    ("vkCreateSamplerYcbcrConversion", MEMORY),
    ("vkCreateShaderModule", SHADER),
    ("vkCreatePipelineCache", MEMORY),
    ("vkGetPipelineCacheData", MEMORY),
    ("vkMergePipelineCaches", MEMORY),
    ("vkCreateComputePipelines", SHADER),
    ("vkCreateGraphicsPipelines", SHADER),
    ("vkCreatePipelineLayout", MEMORY),
    ("vkCreateDescriptorSetLayout", MEMORY),
    ("vkCreateDescriptorUpdateTemplate", MEMORY),
    ("vkCreateDescriptorPool", &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, FRAGMENTED]),
    ("vkAllocateDescriptorSets", &[NO_HOST_MEMORY, NO_DEVICE_MEMORY, FRAGMENTED_POOL, POOL_EMPTY]),
    ("vkCreateFramebuffer", MEMORY),
    ("vkCreateRenderPass", MEMORY),
    ("vkCreateRenderPass2", MEMORY),
    ("vkCreatePrivateDataSlot", &[NO_HOST_MEMORY]),
    ("vkSetPrivateData", &[NO_HOST_MEMORY]),
    ("vkSetDebugUtilsObjectNameEXT", MEMORY),
    ("vkCreateCommandPool", MEMORY),
    ("vkResetCommandPool", &[NO_DEVICE_MEMORY]),
    ("vkAllocateCommandBuffers", MEMORY),
    ("vkBeginCommandBuffer", MEMORY),
    ("vkResetCommandBuffer", MEMORY),
    ("vkEndCommandBuffer", MEMORY),
];

/// The driver in front of lavapipe, and what the run does when nothing fails.
struct Layer {
    folder: Folder,
    /// The library of lavapipe.
    real: String,
    /// The files of a run without failures, by name.
    whole: BTreeMap<String, Vec<u8>>,
    /// The number of calls of each entry point in that run.
    calls: BTreeMap<String, usize>,
}

/// The end of a run, and the files it left.
struct Ended {
    /// `None` if it was ended by a signal, or by this test because it hung.
    code: Option<i32>,
    stderr: String,
    files: BTreeMap<String, Vec<u8>>,
    /// The lines of the layer's log: a name, and `failed` or a number of calls.
    log: Vec<(String, String)>,
}

impl Layer {
    /// Builds the layer and runs once without failures. `Err` is the reason why it cannot be built here.
    fn build() -> Result<Self, String> {
        if !cfg!(target_os = "linux") {
            return Err("the layer stands in front of lavapipe, on Linux".into());
        }
        let (manifest, real) = lavapipe().ok_or("lavapipe is not installed")?;
        let folder = Folder::new();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/fault_layer/driver.c");
        let library = folder.at("libfault.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", &library]).arg(source);
        let built = compiler.args(["-ldl", "-lpthread"]).output().map_err(|error| format!("no C compiler: {error}"))?;
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let mut manifest = manifest;
        manifest["ICD"]["library_path"] = library.into();
        std::fs::write(folder.path("fault.json"), manifest.to_string()).expect("written");
        let mut layer = Self { folder, real, whole: BTreeMap::new(), calls: BTreeMap::new() };
        // The first run fills the caches, whose calls are not counted.
        layer.run(None);
        let whole = layer.run(None);
        assert_eq!(whole.code, Some(0), "{}", whole.stderr);
        assert_eq!(whole.files.keys().collect::<Vec<_>>(), ["00000.png", "00001.png", "samples.npy"]);
        layer.whole = whole.files;
        layer.calls = whole.log.into_iter().map(|(name, count)| (name, count.parse().expect("a number"))).collect();
        Ok(layer)
    }

    /// Runs the program on this driver, with `fault` as in `FAULT_CALL`.
    fn run(&self, fault: Option<&str>) -> Ended {
        let outputs = Folder::new();
        let logs = Folder::new();
        let names: Vec<_> = ENTRY_POINTS.iter().map(|(name, _)| *name).collect();
        let (images, samples) = (outputs.at("%05d.png"), outputs.at("samples.npy"));
        let arguments = ["-n", "2", "-b", "1", "--steps", "2", "-o", &images, "--save-samples", &samples];
        let mut program = command(&["sample"]);
        program.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        program
            .envs([
                ("VK_DRIVER_FILES", self.folder.path("fault.json")),
                ("VK_ICD_FILENAMES", self.folder.path("fault.json")),
            ])
            .env("FAULT_DRIVER", &self.real)
            .env("FAULT_NAMES", names.join(","))
            .env("FAULT_LOG", logs.path("log"))
            .env("DOWNHILL_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults-cache"))
            // Without Mesa's layer that selects devices: it makes the loader read a list that it could not fetch
            // (`docs/lab-notes.md`, "Drivers that fail").
            .env("NODEVICE_SELECT", "1")
            .env_remove("WGPU_ADAPTER_NAME")
            .env_remove("WGPU_BACKEND");
        if let Some(fault) = fault {
            program.env("FAULT_CALL", fault);
        }
        let mut running = program.spawn().expect("the program starts");
        let mut pipe = running.stderr.take().expect("a pipe");
        let talk = std::thread::spawn(move || {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut pipe, &mut text).expect("readable");
            String::from_utf8_lossy(&text).into_owned()
        });
        let began = Instant::now();
        let status = loop {
            if let Some(status) = running.try_wait().expect("a child") {
                break Some(status);
            }
            if began.elapsed() > HANG {
                running.kill().expect("a child");
                running.wait().expect("a child");
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut stderr = talk.join().expect("text");
        match status {
            None => stderr.push_str("(hangs)"),
            Some(status) if status.code().is_none() => stderr = format!("{stderr}({status})"),
            Some(_) => {}
        }
        let files = outputs.names().into_iter().map(|name| (name.clone(), outputs.bytes(&name))).collect();
        let log = std::fs::read_to_string(logs.path("log")).unwrap_or_default();
        let pairs = log.lines().filter_map(|line| line.split_once(' '));
        let log = pairs.map(|(name, what)| (name.to_owned(), what.to_owned())).collect();
        Ended { code: status.and_then(|status| status.code()), stderr, files, log }
    }

    /// Runs with a failure and returns the row of the table: what was wrong is its last column.
    fn row(&self, name: &str, call: usize, code: i32, once: bool) -> Row {
        let ended = self.run(Some(&format!("{name}:{call}:{code}{}", if once { ":once" } else { "" })));
        let failed = ended.log.iter().any(|(_, what)| what == "failed");
        let wrong = if failed { self.wrong(name, code, &ended) } else { None };
        let lines = ended.stderr.lines();
        let told = lines.filter(|line| line.starts_with("error: ")).collect::<Vec<_>>().join(" / ");
        Row { name: name.to_owned(), call, code, once, failed, exit: ended.code, told, wrong }
    }

    /// Returns what is wrong with the end of a run in which a call returned `code`.
    fn wrong(&self, name: &str, code: i32, ended: &Ended) -> Option<String> {
        let Some(exit) = ended.code else { return Some(ended.stderr.clone()) };
        if let Some((name, _)) = ended.files.iter().find(|(name, bytes)| self.whole.get(*name) != Some(*bytes)) {
            return Some(format!("`{name}` is not the file of a run without failures"));
        }
        if ended.stderr.contains("panicked") {
            return Some(ended.stderr.clone());
        }
        let expected: &[i32] = match code {
            // While a device is opened, wgpu reports these as a lost device.
            NO_HOST_MEMORY | NO_DEVICE_MEMORY if ["vkAllocateMemory", "vkMapMemory"].contains(&name) => &[5, 6],
            // Without memory or a driver, the loader lists no adapter; everything else needs memory.
            NO_HOST_MEMORY | NO_DEVICE_MEMORY => &[5, 3],
            LOST | TIMED_OUT | NOT_READY => &[6],
            _ => &[3, 5, 6],
        };
        match exit {
            0 if ended.files == self.whole => None,
            0 => Some("exit code 0, and files are missing".into()),
            _ if !expected.contains(&exit) => Some(format!("exit code {exit}: {}", ended.stderr)),
            _ if !ended.stderr.contains("error: ") => Some("no message".into()),
            _ => None,
        }
    }
}

/// A run with a failure.
struct Row {
    name: String,
    call: usize,
    code: i32,
    once: bool,
    /// `true` if the program made that call.
    failed: bool,
    exit: Option<i32>,
    told: String,
    wrong: Option<String>,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, call, code, once, failed, exit, told, wrong } = self;
        let mode = if *once { "once" } else { "on" };
        let exit = exit.map_or_else(|| "none".to_owned(), |exit| exit.to_string());
        let verdict = match (failed, wrong) {
            (false, _) => "not reached",
            (true, None) => "right",
            (true, Some(wrong)) => wrong,
        };
        write!(f, "| {name} | {call} {mode} | {code} | {exit} | {verdict} | {told} |")
    }
}

/// Returns the manifest of lavapipe and the path of its library.
fn lavapipe() -> Option<(serde_json::Value, String)> {
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].iter().filter_map(std::env::var_os);
    let listed = named.flat_map(|list| std::env::split_paths(&list).collect::<Vec<_>>());
    let folders = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let installed = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let manifests = listed.chain(installed.filter_map(|entry| Some(entry.ok()?.path())));
    manifests.filter(|path| path.to_string_lossy().contains("lvp_icd")).find_map(|path: PathBuf| {
        let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let library = manifest["ICD"]["library_path"].as_str()?.to_owned();
        Some((manifest, library))
    })
}

/// Runs all cases, two at a time, and fails with the rows that are wrong.
fn run_all(layer: &Layer, cases: Vec<(String, usize, i32, bool)>, print: bool) {
    let cases = Mutex::new(cases.into_iter());
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = cases.lock().expect("no panic").next();
                    let Some((name, call, code, once)) = next else { return };
                    let row = layer.row(&name, call, code, once);
                    if print {
                        println!("{row}");
                    }
                    rows.lock().expect("no panic").push(row);
                }
            });
        }
    });
    let rows = rows.into_inner().expect("no panic");
    let wrong: Vec<_> = rows.iter().filter(|row| row.wrong.is_some()).map(Row::to_string).collect();
    if print {
        println!("{}", summary(&rows));
    }
    assert!(wrong.is_empty(), "{} of {} runs went wrong:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

fn summary(rows: &[Row]) -> String {
    let mut exits: BTreeMap<Option<i32>, usize> = BTreeMap::new();
    let reached = rows.iter().filter(|row| row.failed);
    reached.for_each(|row| *exits.entry(row.exit).or_default() += 1);
    let mut text =
        format!("{} runs, {} of them with a failed call; exit codes:", rows.len(), exits.values().sum::<usize>());
    for (exit, count) in exits {
        let exit = exit.map_or_else(|| "none (signal or hang)".to_owned(), |exit| exit.to_string());
        write!(text, " {exit} x {count}").expect("text");
    }
    text
}

/// Calls of an entry point: the first, the second, the middle and the last one.
fn places(calls: usize) -> Vec<usize> {
    let mut places = vec![1, 2, calls / 2, calls];
    places.retain(|place| (1..=calls).contains(place));
    places.dedup();
    places
}

/// The layer, or `None` with the reason printed.
fn layer() -> Option<Layer> {
    match Layer::build() {
        Ok(layer) => Some(layer),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

#[test]
fn a_failing_driver_ends_a_run_with_the_right_code_and_whole_files() {
    let Some(layer) = layer() else { return };
    let last = |name: &str| layer.calls.get(name).copied().unwrap_or(0);
    let cases = [
        ("vkWaitSemaphores", 1, LOST),
        ("vkWaitSemaphores", last("vkWaitSemaphores") / 2, LOST),
        ("vkWaitSemaphores", last("vkWaitSemaphores"), TIMED_OUT),
        ("vkGetSemaphoreCounterValue", 2, NO_DEVICE_MEMORY),
        ("vkQueueSubmit", last("vkQueueSubmit"), LOST),
        ("vkQueueWaitIdle", 1, NO_DEVICE_MEMORY),
        ("vkQueueWaitIdle", 1, LOST),
        ("vkAllocateMemory", 1, NO_DEVICE_MEMORY),
        ("vkCreateBuffer", 1, NO_DEVICE_MEMORY),
        ("vkCreateBuffer", 2, NO_DEVICE_MEMORY),
        ("vkCreateBuffer", last("vkCreateBuffer") / 2, NO_DEVICE_MEMORY),
        ("vkBindBufferMemory", 2, NO_DEVICE_MEMORY),
        ("vkCreateImage", 4, NO_DEVICE_MEMORY),
        ("vkCreateSemaphore", 3, NO_DEVICE_MEMORY),
        ("vkBeginCommandBuffer", 1, NO_HOST_MEMORY),
        ("vkAllocateCommandBuffers", 3, NO_HOST_MEMORY),
        ("vkEndCommandBuffer", last("vkEndCommandBuffer"), NO_DEVICE_MEMORY),
    ];
    let reached = cases.into_iter().filter(|(name, call, _)| (1..=last(name)).contains(call));
    run_all(&layer, reached.map(|(name, call, code)| (name.to_owned(), call, code, false)).collect(), false);
}

#[test]
#[ignore = "some hundred runs: on request, see the head of this file"]
fn every_entry_point_of_the_driver_may_fail() {
    let Some(layer) = layer() else { return };
    let mut cases = Vec::new();
    for (name, codes) in ENTRY_POINTS {
        let calls = layer.calls.get(*name).copied().unwrap_or(0);
        if calls == 0 {
            println!("| {name} | not called |");
        }
        for place in places(calls) {
            cases.extend(codes.iter().map(|code| ((*name).to_owned(), place, *code, false)));
        }
        if calls > 1 {
            cases.extend(codes.iter().map(|code| ((*name).to_owned(), calls.div_ceil(2), *code, true)));
        }
    }
    run_all(&layer, cases, true);
}
