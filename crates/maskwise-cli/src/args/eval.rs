use super::ModelArguments;
use clap::{Args, ValueEnum};
use maskwise::tabletop::Split;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct EvalArguments {
    /// The benchmark.
    #[arg(value_enum)]
    pub(crate) benchmark: Benchmark,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    /// Which split: train, validation, test or unseen.
    #[arg(long, default_value_t = Split::Test)]
    pub(crate) split: Split,
    /// How many pictures, with one question each.
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub(crate) count: u64,
    /// Which Tabletop world.
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    pub(crate) world_seed: u64,
    /// As many false premises as true ones, for the See accuracy.
    #[arg(long)]
    pub(crate) even: bool,
    /// Write one JSON line for each question into this file.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Benchmark {
    /// Pictures of the Tabletop world, by family of questions.
    Tabletop,
}
