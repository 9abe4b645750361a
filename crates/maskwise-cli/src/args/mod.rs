//! Argument types; help, completions and man pages are made from them.

mod analyze;
mod bench;
mod dataset;
mod eval;
mod model;
mod synth;
mod train;

pub(crate) use analyze::{
    AnalysisArguments, AnalyzeArguments, AnalyzeCommand, AnalyzeCompareArguments, AnalyzePointsArguments,
    AnalyzeSegTokenArguments,
};
pub(crate) use bench::BenchArguments;
pub(crate) use dataset::{
    DatasetArguments, DatasetCheckArguments, DatasetCommand, DatasetConvertArguments, DatasetShowArguments,
    DatasetStatsArguments, TargetLayout, WhichDataset,
};
pub(crate) use eval::{
    Answers, BenchmarkName, DatasetPlace, EvalArguments, EvalCommand, EvalCompareArguments,
    EvalMergeArguments, EvalRunArguments, OnErrorChoice, TabletopArguments,
};
pub(crate) use model::{ModelArguments, QuantizeArguments};
pub(crate) use synth::SynthArguments;
pub(crate) use train::{MergeArguments, TrainArguments};

use clap::{Args, Parser, Subcommand};
use maskwise::{DtypeChoice, ModelSource};
use std::path::PathBuf;

/// Reasoning segmentation: an image and a question in, an answer and its mask out.
#[derive(Debug, Parser)]
#[command(name = "maskwise", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// No progress and no hints; results and errors only.
    #[arg(long, short, global = true, display_order = 900)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer questions about images, with masks.
    Segment(SegmentArguments),
    /// Ask one question after the other about an image.
    Chat(ChatArguments),
    /// Train a model by a recipe.
    Train(TrainArguments),
    /// Write the model that a run trained as one folder, adapters merged.
    Merge(MergeArguments),
    /// Measure a model on a benchmark.
    Eval(EvalArguments),
    /// Ask what the [SEG] token knows: points, similarity, ablations, in tables and pictures.
    Analyze(AnalyzeArguments),
    /// Check, describe, show and convert datasets.
    Dataset(DatasetArguments),
    /// Bring a published checkpoint into one folder of safetensors.
    Convert(ConvertArguments),
    /// Show what a model holds and how much memory it needs, without loading it.
    Inspect(InspectArguments),
    /// Download a model and its vision tower from the hub.
    Pull(PullArguments),
    /// Draw pictures with exact masks and questions: the Tabletop world.
    Synth(SynthArguments),
    /// Measure how long each stage takes here, with random weights of the published sizes.
    Bench(BenchArguments),
    /// Show what this machine and this build offer.
    Doctor(DoctorArguments),
    /// Print a completion script for a shell.
    Completions(CompletionsArguments),
    /// Write man pages into a folder.
    Man(ManArguments),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if every answer came with a mask, 1 if some came without, 2 if some failed."
)]
pub(crate) struct SegmentArguments {
    /// An image, a folder of images, or a .jsonl file with lines {"image": PATH, "question": TEXT} ("-" reads them from standard
    /// input).
    pub(crate) input: PathBuf,
    /// What to ask of each image; several questions share the image's encoding and are answered together.
    pub(crate) questions: Vec<String>,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    #[command(flatten)]
    pub(crate) answer: AnswerArguments,
    #[command(flatten)]
    pub(crate) image: ImageArguments,
    /// Where pictures are written.
    #[arg(long, short, default_value = "maskwise-out", value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Print one JSON line per question (always so for a folder or a .jsonl file).
    #[arg(long)]
    pub(crate) json: bool,
    /// Write similarity heat maps, an overlay of each of several masks and a LabelMe file too.
    #[arg(long)]
    pub(crate) save_all: bool,
    /// Add polygons to the JSON lines.
    #[arg(long)]
    pub(crate) polygons: bool,
    /// Write a LabelMe JSON file beside the masks.
    #[arg(long)]
    pub(crate) labelme: bool,
    /// Show how long each stage took and how much memory was held at most.
    #[arg(long)]
    pub(crate) timings: bool,
    /// Write no pictures.
    #[arg(long, conflicts_with_all = ["save_all", "labelme"])]
    pub(crate) no_files: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AnswerArguments {
    /// At most this many tokens are written.
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_new_tokens: usize,
    /// Let the model read this answer instead of writing one, and draw its [SEG].
    #[arg(long, value_name = "TEXT")]
    pub(crate) teacher_forced: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImageArguments {
    /// Refuse images of more pixels.
    #[arg(long, default_value_t = 100_000_000, value_name = "N")]
    pub(crate) max_pixels: u64,
    /// Put transparent images on white instead of dropping their alpha.
    #[arg(long)]
    pub(crate) on_white: bool,
}

impl ImageArguments {
    pub(crate) fn options(&self) -> maskwise::image::DecodeOptions {
        maskwise::image::DecodeOptions { max_pixels: self.max_pixels, on_white: self.on_white }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ChatArguments {
    /// The image to begin with.
    pub(crate) image: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    #[command(flatten)]
    pub(crate) image_options: ImageArguments,
    /// At most this many tokens are written for each answer.
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_new_tokens: usize,
    /// Where pictures are written.
    #[arg(long, short, default_value = "maskwise-out", value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArguments {
    /// A model folder, ORG/NAME from the hub cache, or `embedded`: the model in the program.
    pub(crate) model: ModelSource,
    /// The new folder.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// The dtype of every tensor; each keeps its own if absent.
    #[arg(long, value_name = "f32|bf16")]
    pub(crate) dtype: Option<DtypeChoice>,
    #[command(flatten)]
    pub(crate) quantize: QuantizeArguments,
    /// The folder of the CLIP tower that config.json names.
    #[arg(long, value_name = "DIR")]
    pub(crate) vision_tower: Option<PathBuf>,
    /// A SAM .pth for a checkpoint without one.
    #[arg(long, value_name = "FILE")]
    pub(crate) sam: Option<PathBuf>,
    /// Convert weights that look untrained all the same.
    #[arg(long)]
    pub(crate) allow_untrained: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// A model folder, ORG/NAME from the hub cache, or `embedded`: the model in the program.
    #[arg(default_value_t)]
    pub(crate) model: ModelSource,
    /// The folder of the CLIP tower that config.json names.
    #[arg(long, value_name = "DIR")]
    pub(crate) vision_tower: Option<PathBuf>,
    /// A SAM .pth for a checkpoint without one.
    #[arg(long, value_name = "FILE")]
    pub(crate) sam: Option<PathBuf>,
    /// List every tensor.
    #[arg(long)]
    pub(crate) tensors: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PullArguments {
    /// ORG/NAME or ORG/NAME@REVISION.
    pub(crate) repository: String,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell that the script is for.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Where the pages are written.
    pub(crate) folder: PathBuf,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
