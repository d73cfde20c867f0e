//! The machine of a run: its processor, memory and system, and the clocks, temperatures and power that the system
//! reports. What cannot be read is unknown, and never guessed.
//!
//! On Linux the sources are `/proc/cpuinfo`, `/proc/meminfo`, `/etc/os-release`, `cpufreq`, `/sys/class/thermal`,
//! `/sys/class/hwmon` and `/sys/class/drm`. On other systems only their name is known.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The most bytes that are read of a file. `cpuinfo` has two thousand per processor.
const LARGEST: u64 = 1 << 20;
/// The most sensors that are kept.
const MOST_SENSORS: usize = 64;

/// The quantity that a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantity {
    /// A clock, in MHz.
    Clock,
    /// A temperature, in degrees Celsius.
    Temperature,
    /// Power, in W.
    Power,
}

impl Quantity {
    const ALL: [Self; 3] = [Self::Clock, Self::Temperature, Self::Power];

    const fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Temperature => "temperature",
            Self::Power => "power",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Clock => "MHz",
            Self::Temperature => "C",
            Self::Power => "W",
        }
    }
}

/// A sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    /// Its name: the device and the label that the system gives it.
    pub name: String,
    /// The quantity, which determines the unit.
    pub quantity: Quantity,
    /// The value before the measurements.
    pub before: f64,
    /// The value after them.
    #[serde(default)]
    pub after: Option<f64>,
}

/// The machine of a run. A field is `None`, and the list of sensors empty, where the system does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The name of the processor.
    pub processor: Option<String>,
    /// The number of logical processors.
    pub processors: Option<usize>,
    /// The main memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// The operating system and its version.
    pub system: Option<String>,
    /// Clocks, temperatures and power.
    pub sensors: Vec<Sensor>,
}

impl Machine {
    /// Reads the machine that this process runs on.
    #[must_use]
    pub fn here() -> Self {
        let machine = Self::read(Path::new("/"));
        let processors = || std::thread::available_parallelism().ok().map(usize::from);
        let system = || Some(std::env::consts::OS.to_owned());
        Self {
            processors: machine.processors.or_else(processors),
            system: machine.system.clone().or_else(system),
            ..machine
        }
    }

    /// Reads a machine from the folders `proc`, `sys` and `etc` under `root`.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let cpuinfo = text(&root.join("proc/cpuinfo")).unwrap_or_default();
        let field = |name: &'static str| values(&cpuinfo, name);
        let memory = text(&root.join("proc/meminfo")).and_then(|meminfo| {
            let kibibytes: u64 = values(&meminfo, "MemTotal").next()?.strip_suffix("kB")?.trim().parse().ok()?;
            kibibytes.checked_mul(1024)
        });
        Self {
            processor: field("model name").next().filter(|name| !name.is_empty()).map(str::to_owned),
            processors: Some(field("processor").count()).filter(|count| *count > 0),
            memory_bytes: memory,
            system: system(root),
            sensors: sensors(root, &cpuinfo),
        }
    }

    /// Reads the sensors of this machine again, after the measurements.
    pub fn read_again(&mut self) {
        self.read_again_from(Path::new("/"));
    }

    /// Reads the sensors again, from the folders under `root`.
    pub fn read_again_from(&mut self, root: &Path) {
        let later = sensors(root, &text(&root.join("proc/cpuinfo")).unwrap_or_default());
        for sensor in &mut self.sensors {
            let same = later.iter().find(|other| (&other.name, other.quantity) == (&sensor.name, sensor.quantity));
            sensor.after = same.map(|other| other.before);
        }
    }

    /// Returns the machine in one line: of each quantity the sensor with the largest value, and the number of others.
    #[must_use]
    pub fn line(&self) -> String {
        const UNKNOWN: &str = "unknown";
        let mut line = self.processor.clone().unwrap_or_else(|| format!("processor {UNKNOWN}"));
        match self.processors {
            Some(count) => _ = write!(line, ", {count} logical processors"),
            None => line += ", number of processors unknown",
        }
        match self.memory_bytes {
            Some(bytes) => _ = write!(line, ", {:.1} GiB of memory", bytes as f64 / f64::from(1 << 30)),
            None => line += ", memory unknown",
        }
        let _ = write!(line, "; {}", self.system.as_deref().unwrap_or("system unknown"));
        for quantity in Quantity::ALL {
            let of_quantity = || self.sensors.iter().filter(|sensor| sensor.quantity == quantity);
            let largest = of_quantity().max_by(|a, b| a.largest().total_cmp(&b.largest()));
            let _ = write!(line, "; {} ", quantity.name());
            let Some(sensor) = largest else {
                line += UNKNOWN;
                continue;
            };
            let _ = match sensor.after.filter(|after| (after - sensor.before).abs() >= 0.5) {
                Some(after) => write!(line, "{:.0}, then {after:.0} {}", sensor.before, quantity.unit()),
                None => write!(line, "{:.0} {}", sensor.before, quantity.unit()),
            };
            let _ = match of_quantity().count() {
                1 => write!(line, " ({})", sensor.name),
                count => write!(line, " ({}, the largest of {count})", sensor.name),
            };
        }
        line
    }
}

impl Sensor {
    fn largest(&self) -> f64 {
        self.after.map_or(self.before, |after| after.max(self.before))
    }
}

/// The beginning of a file of text, or `None` if it cannot be read.
fn text(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The word in a file of one line.
fn line(file: &Path) -> Option<String> {
    text(file).map(|text| text.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The number in a file of one line, over `unit`.
fn number(file: &Path, unit: f64) -> Option<f64> {
    let value: f64 = line(file)?.parse().ok()?;
    value.is_finite().then_some(value / unit)
}

/// The values of a field in lines such as `name : value`.
fn values<'a>(text: &'a str, name: &'static str) -> impl Iterator<Item = &'a str> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.filter(move |(field, _)| field.trim() == name).map(|(_, value)| value.trim())
}

/// The entries of a folder whose names begin with `prefix`, by the number after it.
fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let named = std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let rest = name.strip_prefix(prefix)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((digits.parse::<u32>().ok()?, name.clone(), entry.path()))
    });
    let mut named: Vec<_> = named.collect();
    named.sort();
    named.into_iter().map(|(.., path)| path).collect()
}

/// The name of the distribution, and the version of the kernel in digits.
fn system(root: &Path) -> Option<String> {
    let release = text(&root.join("etc/os-release"));
    let pretty = release.as_deref().and_then(|text| {
        let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(name.trim().trim_matches(['"', '\'']).to_owned())
    });
    let kernel = line(&root.join("proc/sys/kernel/osrelease")).map(|release| {
        let digits: String = release.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        format!("Linux {}", digits.trim_end_matches('.'))
    });
    let parts: Vec<String> = pretty.into_iter().chain(kernel).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The sensors of a machine.
fn sensors(root: &Path, cpuinfo: &str) -> Vec<Sensor> {
    let mut found = Vec::new();
    let mut add = |name: String, quantity, value: Option<f64>| {
        if let Some(before) = value
            && found.len() < MOST_SENSORS
        {
            found.push(Sensor { name, quantity, before, after: None });
        }
    };
    let policies = entries(&root.join("sys/devices/system/cpu/cpufreq"), "policy");
    let clocks = policies.iter().filter_map(|policy| number(&policy.join("scaling_cur_freq"), 1e3));
    let stated = values(cpuinfo, "cpu MHz").filter_map(|clock| clock.parse().ok());
    let (governed, stated) = (clocks.reduce(f64::max), stated.reduce(f64::max));
    add("fastest processor".to_owned(), Quantity::Clock, governed.or(stated));
    for zone in entries(&root.join("sys/class/thermal"), "thermal_zone") {
        let name = line(&zone.join("type")).unwrap_or_else(|| "thermal zone".to_owned());
        add(name, Quantity::Temperature, number(&zone.join("temp"), 1e3));
    }
    for device in entries(&root.join("sys/class/hwmon"), "hwmon") {
        let name = line(&device.join("name")).unwrap_or_else(|| "hwmon".to_owned());
        let kinds = [
            ("temp", "input", Quantity::Temperature, 1e3),
            ("freq", "input", Quantity::Clock, 1e6),
            ("power", "average", Quantity::Power, 1e6),
            ("power", "input", Quantity::Power, 1e6),
        ];
        for (prefix, suffix, quantity, unit) in kinds {
            let values = entries(&device, prefix);
            let ends = format!("_{suffix}");
            for value in values {
                let Some(stem) = value.to_str().and_then(|path| path.strip_suffix(&ends)) else { continue };
                let label = line(Path::new(&format!("{stem}_label")));
                let label = label.map_or_else(|| name.clone(), |label| format!("{name} {label}"));
                add(label, quantity, number(&value, unit));
            }
        }
    }
    for card in entries(&root.join("sys/class/drm"), "card") {
        // Connectors of a card, such as `card0-DP-1`, are entries too, and have no clock.
        let name = card.file_name().unwrap_or_default().to_string_lossy().into_owned();
        add(name.clone(), Quantity::Clock, number(&card.join("gt_cur_freq_mhz"), 1.0));
        add(name, Quantity::Clock, text(&card.join("device/pp_dpm_sclk")).as_deref().and_then(current_level));
    }
    found
}

/// The clock of the level with an asterisk, in lines such as `1: 1200Mhz *`.
fn current_level(levels: &str) -> Option<f64> {
    let current = levels.lines().find_map(|line| line.trim().strip_suffix('*'))?;
    let (_, clock) = current.split_once(':')?;
    let digits: String = clock.trim().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
        root
    }

    fn sensor(name: &str, quantity: Quantity, before: f64) -> Sensor {
        Sensor { name: name.to_owned(), quantity, before, after: None }
    }

    #[test]
    fn a_machine_is_read_from_its_files() {
        let root = root(&[
            ("proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\ncpu MHz\t: 999.5\n\nprocessor\t: 1\n"),
            ("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n"),
            ("proc/sys/kernel/osrelease", "6.1.0-13-cloud\n"),
            ("etc/os-release", "NAME=x\nPRETTY_NAME=\"Some Linux 12\"\n"),
            ("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "2500000\n"),
            ("sys/devices/system/cpu/cpufreq/policy10/scaling_cur_freq", "3100000\n"),
            ("sys/devices/system/cpu/cpufreq/boost", "1\n"),
            ("sys/class/thermal/thermal_zone0/type", "acpitz\n"),
            ("sys/class/thermal/thermal_zone0/temp", "41000\n"),
            ("sys/class/thermal/thermal_zone1/temp", "not a number\n"),
            ("sys/class/hwmon/hwmon0/name", "k10temp\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "61250\n"),
            ("sys/class/hwmon/hwmon0/temp1_label", "Tctl\n"),
            ("sys/class/hwmon/hwmon0/temp1_max", "95000\n"),
            ("sys/class/hwmon/hwmon1/name", "amdgpu\n"),
            ("sys/class/hwmon/hwmon1/power1_average", "75000000\n"),
            ("sys/class/hwmon/hwmon1/freq1_input", "1800000000\n"),
            ("sys/class/drm/card0/gt_cur_freq_mhz", "1150\n"),
            ("sys/class/drm/card0-DP-1/status", "connected\n"),
            ("sys/class/drm/card1/device/pp_dpm_sclk", "0: 500Mhz\n1: 1200Mhz *\n"),
        ]);
        let mut machine = Machine::read(root.path());
        assert_eq!(machine.processor.as_deref(), Some("Some CPU @ 3 GHz"));
        assert_eq!((machine.processors, machine.memory_bytes), (Some(2), Some(16 << 30)));
        assert_eq!(machine.system.as_deref(), Some("Some Linux 12, Linux 6.1.0"));
        let expected = [
            sensor("fastest processor", Quantity::Clock, 3100.0),
            sensor("acpitz", Quantity::Temperature, 41.0),
            sensor("k10temp Tctl", Quantity::Temperature, 61.25),
            sensor("amdgpu", Quantity::Clock, 1800.0),
            sensor("amdgpu", Quantity::Power, 75.0),
            sensor("card0", Quantity::Clock, 1150.0),
            sensor("card1", Quantity::Clock, 1200.0),
        ];
        assert_eq!(machine.sensors, expected);

        std::fs::write(root.path().join("sys/class/hwmon/hwmon0/temp1_input"), "71250").unwrap();
        std::fs::remove_file(root.path().join("sys/class/hwmon/hwmon1/power1_average")).unwrap();
        machine.read_again_from(root.path());
        assert_eq!((machine.sensors[2].before, machine.sensors[2].after), (61.25, Some(71.25)));
        assert_eq!(machine.sensors[4].after, None, "it has gone");
        assert_eq!(
            machine.line(),
            "Some CPU @ 3 GHz, 2 logical processors, 16.0 GiB of memory; Some Linux 12, Linux 6.1.0; \
             clock 3100 MHz (fastest processor, the largest of 4); \
             temperature 61, then 71 C (k10temp Tctl, the largest of 2); power 75 W (amdgpu)"
        );
    }

    #[test]
    fn without_a_governor_the_clock_is_that_of_cpuinfo() {
        let root = root(&[("proc/cpuinfo", "processor: 0\ncpu MHz : 2596.1\nprocessor: 1\ncpu MHz : 2600.5\n")]);
        assert_eq!(Machine::read(root.path()).sensors, [sensor("fastest processor", Quantity::Clock, 2600.5)]);
    }

    #[test]
    fn nothing_is_guessed() {
        let root = root(&[("proc/meminfo", "MemTotal: many kB\n"), ("proc/cpuinfo", "cpu MHz : fast\n")]);
        let machine = Machine::read(root.path());
        assert_eq!(machine, Machine::default());
        assert_eq!(
            machine.line(),
            "processor unknown, number of processors unknown, memory unknown; system unknown; clock unknown; \
             temperature unknown; power unknown"
        );
    }

    #[test]
    fn a_level_with_an_asterisk_is_the_current_one() {
        assert_eq!(current_level("0: 500Mhz *\n1: 1200Mhz\n"), Some(500.0));
        assert_eq!(current_level("0: 500Mhz\n"), None);
        assert_eq!(current_level("*"), None);
    }
}
