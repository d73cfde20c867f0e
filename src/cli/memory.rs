//! The memory of this machine.

/// Returns the bytes of memory that are free for use, where the system tells: on Linux, within the limit of the
/// process's control group.
pub fn available_memory() -> Option<u64> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let of_system = line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10;
    let most = number("/sys/fs/cgroup/memory.max").unwrap_or(u64::MAX);
    let held = number("/sys/fs/cgroup/memory.current").unwrap_or(0);
    Some(of_system.min(most.saturating_sub(held)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn linux_tells_its_free_memory() {
        assert!(super::available_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
