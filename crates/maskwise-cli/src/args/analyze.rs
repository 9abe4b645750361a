use super::{Answers, BenchmarkName, DatasetPlace, ModelArguments, TabletopArguments, at_least_one};
use clap::{Args, Subcommand};
use maskwise::ModelSource;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct AnalyzeArguments {
    #[command(subcommand)]
    pub(crate) command: AnalyzeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AnalyzeCommand {
    /// Masks from points of other thresholds and numbers: the grid of Table 8.
    Points(AnalyzePointsArguments),
    /// Masks from [SEG] alone, points alone, and both: the rows of Table 6 at inference.
    Ablate(AnalysisArguments),
    /// What the similarity of [SEG] knows by itself: Table 1.
    SegToken(AnalyzeSegTokenArguments),
    /// Similarity maps of language model, projector and SAM's decoder in pictures: Figures 1 and 4.
    Similarity(AnalysisArguments),
    /// Several models on the same questions in pictures: Figures 3 and 8.
    Compare(AnalyzeCompareArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AnalysisArguments {
    /// What is asked: a benchmark as maskwise eval takes it.
    pub(crate) benchmark: BenchmarkName,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    #[command(flatten)]
    pub(crate) place: DatasetPlace,
    #[command(flatten)]
    pub(crate) tabletop: TabletopArguments,
    /// Who writes the answers.
    #[arg(long, default_value = "generated", value_name = "WHO")]
    pub(crate) answers: Answers,
    /// Only the first questions; pictures are made of 12 if absent.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// Pictures that are worked on at the same time.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) jobs: Option<usize>,
    /// Write tables (Markdown, CSV, LaTeX, JSON) or pictures into this folder.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AnalyzeSegTokenArguments {
    #[command(flatten)]
    pub(crate) analysis: AnalysisArguments,
    /// Prompt the SAM of another model with the points too: the paper's P is that of the released one.
    #[arg(long, value_name = "MODEL")]
    pub(crate) other_sam: Option<ModelSource>,
}

#[derive(Debug, Args)]
pub(crate) struct AnalyzePointsArguments {
    #[command(flatten)]
    pub(crate) analysis: AnalysisArguments,
    /// Pairs of thresholds; those of Table 8 if absent.
    #[arg(long, value_name = "T_POS,T_NEG", value_parser = thresholds)]
    pub(crate) thresholds: Vec<(f32, f32)>,
    /// Numbers of points; those of Table 8 if absent.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) num_points: Vec<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct AnalyzeCompareArguments {
    #[command(flatten)]
    pub(crate) analysis: AnalysisArguments,
    /// A further model; may be given several times.
    #[arg(long, value_name = "MODEL", required = true)]
    pub(crate) with: Vec<ModelSource>,
}

fn thresholds(text: &str) -> Result<(f32, f32), String> {
    let wanted = || format!("thresholds are T_POS,T_NEG such as 0.8,0.2; found {text}");
    let (t_pos, t_neg) = text.split_once(',').ok_or_else(wanted)?;
    Ok((t_pos.trim().parse().map_err(|_| wanted())?, t_neg.trim().parse().map_err(|_| wanted())?))
}
