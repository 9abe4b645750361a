use super::{BenchmarkName, DatasetPlace};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct DatasetArguments {
    #[command(subcommand)]
    pub(crate) command: DatasetCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Read every question with its picture and name what is wrong.
    Check(DatasetCheckArguments),
    /// Say what a dataset is like: questions, words, sizes, how much of the pictures is covered.
    Stats(DatasetStatsArguments),
    /// Draw questions with their masks into one picture, to look at.
    Show(DatasetShowArguments),
    /// Write a dataset in another layout.
    Convert(DatasetConvertArguments),
}

/// Which dataset.
#[derive(Debug, Args)]
pub(crate) struct WhichDataset {
    /// Its layout: reasonseg, muse, jsonl, coco, labelme, refclef, refcoco, refcoco+, refcocog, fprefcoco, fprefcoco+, fprefcocog, R-refcoco,
    /// R-refcoco+, R-refcocog, ade20k, cocostuff, mapillary, paco_lvis, pascal_part or llava-instruct.
    pub(crate) layout: BenchmarkName,
    #[command(flatten)]
    pub(crate) place: DatasetPlace,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 if nothing is wrong, 2 otherwise.")]
pub(crate) struct DatasetCheckArguments {
    #[command(flatten)]
    pub(crate) dataset: WhichDataset,
    /// Name at most this many problems.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) most: usize,
}

#[derive(Debug, Args)]
pub(crate) struct DatasetStatsArguments {
    #[command(flatten)]
    pub(crate) dataset: WhichDataset,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DatasetShowArguments {
    #[command(flatten)]
    pub(crate) dataset: WhichDataset,
    /// The picture.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// How many questions, spread over the dataset.
    #[arg(long, default_value_t = 24, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=400))]
    pub(crate) count: u64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Only jsonl holds questions about what is not there. coco and labelme hold no second question of the same words about a picture,\n\
                  labelme only one set of ignored pixels a picture. What cannot be held is left out and counted."
)]
pub(crate) struct DatasetConvertArguments {
    #[command(flatten)]
    pub(crate) dataset: WhichDataset,
    /// The layout to write.
    #[arg(long, value_name = "LAYOUT")]
    pub(crate) to: TargetLayout,
    /// The new folder.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// What the split is called there; as it is here, or val, if absent.
    #[arg(long, value_name = "SPLIT")]
    pub(crate) to_split: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TargetLayout {
    Jsonl,
    Reasonseg,
    Coco,
    Labelme,
}
