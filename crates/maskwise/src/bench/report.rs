//! What a measurement found, as a table and for programs.

use maskwise_nn::limits;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

/// What this machine can do at most, with the threads of the measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MachineLimits {
    /// Threads.
    pub threads: usize,
    /// f32 multiply-adds on registers alone, operations a second.
    pub f32_operations: f64,
    /// bf16 products on tiles alone, where the processor has them.
    pub bf16_operations: Option<f64>,
    /// Products of bytes on tiles alone, where the processor has them.
    pub int8_operations: Option<f64>,
    /// Bytes a second of reading 2 GiB, in several streams on each thread.
    pub read_bandwidth: f64,
}

impl MachineLimits {
    /// Measures them; takes about two seconds and 2 GiB.
    pub fn measure() -> Self {
        Self {
            threads: limits::threads(),
            f32_operations: limits::f32_operations(),
            bf16_operations: limits::bf16_operations(),
            int8_operations: limits::int8_operations(),
            read_bandwidth: limits::read_bandwidth(2 << 30),
        }
    }
}

/// How long a stage takes.
#[derive(Debug, Clone, Serialize)]
pub struct StageTime {
    /// Its name.
    pub stage: &'static str,
    /// What it does.
    pub what: String,
    /// Seconds of the first time.
    pub first: f64,
    /// Seconds of later times, their median.
    pub later: f64,
    /// Operations (two for a multiply-add) of its products; 0 where they are not what takes time.
    pub operations: f64,
    /// Bytes that it must read; 0 where they are not what takes time.
    pub bytes: f64,
}

/// What [`super::bench`] found.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// The machine.
    pub limits: MachineLimits,
    /// Layers of the language model that were run, of how many; times are of all.
    pub layers: (usize, usize),
    /// Positions of the prompt.
    pub prompt: usize,
    /// Tokens of the answer.
    pub tokens: usize,
    /// The stages.
    pub stages: Vec<StageTime>,
    /// The most memory that the stages had in use, in bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

impl BenchReport {
    /// Seconds of one question about one image, from its bytes to its mask, if every stage was measured.
    pub fn one_question(&self) -> Option<f64> {
        let complete = self.stages.len() == super::BenchStage::ALL.len();
        let seconds = self.stages.iter().map(|stage| match stage.stage {
            "decode" => stage.later * self.tokens as f64,
            _ => stage.later,
        });
        complete.then(|| seconds.sum())
    }
}

impl Display for BenchReport {
    /// As a Markdown table.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let limits = &self.limits;
        let giga = |rate: Option<f64>| rate.map_or("–".to_owned(), |rate| format!("{:.0}", rate / 1e9));
        writeln!(
            formatter,
            "This machine at most, {} threads: f32 {}, bf16 {}, int8 {} GOP/s; memory {:.1} GB/s.\n",
            limits.threads,
            giga(Some(limits.f32_operations)),
            giga(limits.bf16_operations),
            giga(limits.int8_operations),
            limits.read_bandwidth / 1e9
        )?;
        writeln!(formatter, "| stage | first | later | GOP/s | GB/s | what |\n|---|---|---|---|---|---|")?;
        for StageTime { stage, what, first, later, operations, bytes } in &self.stages {
            let rate = |amount: f64| {
                if amount > 0.0 { format!("{:.1}", amount / later / 1e9) } else { "–".into() }
            };
            writeln!(
                formatter,
                "| {stage} | {} | {} | {} | {} | {what} |",
                seconds(*first),
                seconds(*later),
                rate(*operations),
                rate(*bytes)
            )?;
        }
        writeln!(formatter)?;
        let (run, all) = self.layers;
        if run < all {
            writeln!(
                formatter,
                "The language model ran {run} of {all} layers; its times are of all, in proportion."
            )?;
        }
        if let Some(total) = self.one_question() {
            let tokens = self.tokens;
            writeln!(formatter, "One question, {tokens} tokens answered, one mask: {}.", seconds(total))?;
        }
        match self.peak_memory {
            Some(bytes) => writeln!(formatter, "Peak memory: {:.1} GiB.", bytes as f64 / f64::from(1 << 30)),
            None => Ok(()),
        }
    }
}

/// With three digits.
fn seconds(value: f64) -> String {
    match value {
        10.0.. => format!("{value:.1} s"),
        1.0.. => format!("{value:.2} s"),
        0.1.. => format!("{:.0} ms", value * 1e3),
        _ => format!("{:.1} ms", value * 1e3),
    }
}

/// The most memory that this process had in use, where the system tells.
pub(super) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
