//! What this machine and this build offer.

use crate::EmbeddedModel;
use crate::hub::Environment;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What [`examine`] found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of maskwise.
    pub version: &'static str,
    /// Operating system and processor family.
    pub platform: String,
    /// Logical processors that this process may use.
    pub cores: usize,
    /// Instruction sets that matter to the kernels, as far as the processor has them.
    pub instruction_sets: Vec<&'static str>,
    /// Memory in all, in bytes, where the system tells.
    pub memory: Option<u64>,
    /// Memory that is free for programs, in bytes, where the system tells.
    pub memory_available: Option<u64>,
    /// Devices that this build can use.
    pub devices: Vec<&'static str>,
    /// The model that answers where no other is named, if this build has one.
    pub embedded_model: Option<EmbeddedModel>,
    /// The hub cache.
    pub cache: Option<PathBuf>,
    /// Repositories in it, as `ORG/NAME`, with bytes on disk.
    pub cached: Vec<(String, u64)>,
    /// Why there is no cache, if there is none.
    pub cache_problem: Option<String>,
    /// Whether downloads are switched off.
    pub offline: bool,
}

/// Examines this machine and this build.
pub fn examine(environment: &Environment) -> Report {
    let cache = environment.cache();
    let root = cache.as_ref().ok().map(|cache| cache.root().to_owned());
    Report {
        version: env!("CARGO_PKG_VERSION"),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        instruction_sets: instruction_sets(),
        memory: memory_line("MemTotal:"),
        memory_available: memory_line("MemAvailable:"),
        devices: [("cpu", true), ("cuda", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))]
            .into_iter()
            .filter_map(|(name, compiled)| compiled.then_some(name))
            .collect(),
        embedded_model: EmbeddedModel::get(),
        cached: root.as_deref().map(repositories).unwrap_or_default(),
        cache: root,
        cache_problem: cache.err().map(|error| error.to_string()),
        offline: environment.is_offline(),
    }
}

#[cfg(target_arch = "x86_64")]
fn instruction_sets() -> Vec<&'static str> {
    let all = [
        ("sse4.1", is_x86_feature_detected!("sse4.1")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    all.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction_sets() -> Vec<&'static str> {
    if cfg!(target_arch = "aarch64") { vec!["neon"] } else { Vec::new() }
}

/// A line of Linux's memory table, in bytes.
fn memory_line(name: &str) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// The most memory that this process has held at once, in bytes, where the system tells (Linux).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

fn repositories(root: &Path) -> Vec<(String, u64)> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let mut found: Vec<(String, u64)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().strip_prefix("models--")?.replace("--", "/");
            Some((name, folder_bytes(&entry.path().join("blobs"))))
        })
        .collect();
    found.sort();
    found
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|meta| meta.is_file())
        .map(|meta| meta.len())
        .sum()
}
