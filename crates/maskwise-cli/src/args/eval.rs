use super::{ModelArguments, at_least_one};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use maskwise::data::dataset::SEM_SEG;
use maskwise::tabletop::QuestionWeights;
use maskwise_eval::{
    AnswerMode, Benchmark, Conventions, EmptyTargets, IgnoredPixels, OverlappedPixels, REFER, Shard,
};
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct EvalArguments {
    #[command(subcommand)]
    pub(crate) command: Option<EvalCommand>,
    #[command(flatten)]
    pub(crate) run: EvalRunArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Put the shards of an evaluation together.
    Merge(EvalMergeArguments),
    /// Tell whether the second of two evaluations is better than the first.
    Compare(EvalCompareArguments),
}

#[derive(Debug, Args)]
pub(crate) struct EvalRunArguments {
    /// tabletop, reasonseg, muse, jsonl, coco, labelme, refclef, refcoco, refcoco+, refcocog, fprefcoco, fprefcoco+, fprefcocog, R-refcoco,
    /// R-refcoco+, R-refcocog, ade20k, cocostuff, mapillary, paco_lvis, pascal_part or llava-instruct.
    pub(crate) benchmark: Option<BenchmarkName>,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    #[command(flatten)]
    pub(crate) place: DatasetPlace,
    #[command(flatten)]
    pub(crate) tabletop: TabletopArguments,
    /// Who writes the answers: teacher-forced is how the tables of LISA and READ were made, and cannot decline.
    #[arg(long, default_value = "generated", value_name = "WHO")]
    pub(crate) answers: Answers,
    /// Draw the words of questions and teacher-forced answers from this file of pools, as SESAME's validation does on referring expressions;
    /// its form is that of `templates` in a recipe.
    #[arg(long, value_name = "FILE")]
    pub(crate) templates: Option<PathBuf>,
    /// Which words are drawn.
    #[arg(long, default_value_t = 42, value_name = "SEED", requires = "templates")]
    pub(crate) template_seed: u64,
    /// At most this many tokens are written for each answer.
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_new_tokens: usize,
    /// Write samples, tables and a report into this folder.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Go on with what a run that was broken off has left in the output folder.
    #[arg(long, requires = "output")]
    pub(crate) resume: bool,
    /// Ask only part I of N of the questions, to be merged later.
    #[arg(long, value_name = "I/N", requires = "output", value_parser = shard)]
    pub(crate) shard: Option<Shard>,
    /// Pictures that are worked on at the same time; every core's worth for small models, one for large ones if absent.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) jobs: Option<usize>,
    /// What to do when an item cannot be read or the model refuses it.
    #[arg(long, default_value = "stop", value_name = "WHAT")]
    pub(crate) on_error: OnErrorChoice,
    #[command(flatten)]
    pub(crate) scoring: ScoringArguments,
}

/// Which Tabletop pictures and questions.
#[derive(Debug, Args)]
pub(crate) struct TabletopArguments {
    /// How many pictures of tabletop, with one question each; 500 if absent.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    count: Option<usize>,
    /// Which Tabletop world; 1 if absent.
    #[arg(long, value_name = "SEED")]
    world_seed: Option<u64>,
    /// As many false premises as true ones in tabletop, for the See accuracy.
    #[arg(long)]
    even: bool,
}

/// Tabletop pictures of an evaluation, where nothing else is said.
const TABLETOP_COUNT: usize = 500;

impl TabletopArguments {
    /// The benchmark `name` at `place`, or of Tabletop's pictures.
    pub(crate) fn benchmark(&self, name: &BenchmarkName, place: &DatasetPlace) -> anyhow::Result<Benchmark> {
        if let Some(benchmark) = place.benchmark(name)? {
            if self.count.is_some() || self.world_seed.is_some() || self.even {
                bail!("--count, --world-seed and --even belong to tabletop; leave them out");
            }
            return Ok(benchmark);
        }
        Ok(Benchmark::Tabletop {
            world_seed: self.world_seed.unwrap_or(1),
            split: place.split.clone().unwrap_or_else(|| "test".to_owned()),
            count: self.count.unwrap_or(TABLETOP_COUNT),
            questions: if self.even { QuestionWeights::even() } else { QuestionWeights::default() },
        })
    }
}

/// Where a dataset lies, and which part of it is meant.
#[derive(Debug, Args)]
pub(crate) struct DatasetPlace {
    /// Where the dataset lies: for reasonseg the folder that holds train, val and test, for jsonl that of SPLIT.jsonl, for labelme that of the
    /// JSON files, for coco the annotation file, for refclef to R-refcocog the folder refer_seg; for the others the folder that holds them all
    /// (dataset_dir of the reference).
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// The pictures of coco; the folder images beside the annotation file if absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// Which split: val if absent; of muse train, val, test_less or test_many; of tabletop train, validation, test (if absent) or unseen.
    #[arg(long)]
    pub(crate) split: Option<String>,
    /// Who made the split, as in refs(<NAME>).p; what SESAME and READ use if absent.
    #[arg(long, value_name = "NAME")]
    pub(crate) split_by: Option<String>,
}

impl DatasetPlace {
    /// The dataset of this name; none for Tabletop, which lies nowhere.
    pub(crate) fn benchmark(&self, name: &BenchmarkName) -> anyhow::Result<Option<Benchmark>> {
        let (is_coco, is_refer) = (*name == BenchmarkName::Coco, matches!(name, BenchmarkName::Refer(_)));
        let has_splits = !is_coco
            && !matches!(name, BenchmarkName::LabelMe | BenchmarkName::Semantic(_) | BenchmarkName::Instruct);
        for (given, fits, option) in [
            (self.data.is_some(), *name != BenchmarkName::Tabletop, "--data"),
            (self.images.is_some(), is_coco, "--images"),
            (self.split_by.is_some(), is_refer, "--split-by"),
            (self.split.is_some(), has_splits, "--split"),
        ] {
            if given && !fits {
                bail!("{option} does not belong to this dataset; leave it out");
            }
        }
        let split = self.split.clone().unwrap_or_else(|| "val".to_owned());
        let data = || {
            let missing =
                "--data is missing: where the dataset lies (published ones come from their authors)";
            self.data.clone().context(missing)
        };
        Ok(Some(match name {
            BenchmarkName::Tabletop => return Ok(None),
            BenchmarkName::ReasonSeg => Benchmark::ReasonSeg { data: data()?, split },
            BenchmarkName::JsonLines => Benchmark::JsonLines { data: data()?, split },
            BenchmarkName::LabelMe => Benchmark::LabelMe { data: data()? },
            BenchmarkName::Coco => {
                let data = data()?;
                let images = self.images.clone().unwrap_or_else(|| data.with_file_name("images"));
                Benchmark::Coco { data, images }
            }
            BenchmarkName::Refer(dataset) => Benchmark::refer(data()?, dataset, self.split_by.clone(), split),
            BenchmarkName::Muse => Benchmark::Muse { data: data()?, split },
            BenchmarkName::Semantic(dataset) => {
                Benchmark::Semantic { data: data()?, dataset: dataset.clone() }
            }
            BenchmarkName::Instruct => Benchmark::Instruct { data: data()? },
        }))
    }
}

/// How figures are computed.
#[derive(Debug, Args)]
pub(crate) struct ScoringArguments {
    #[command(flatten)]
    conventions: ConventionArguments,
    /// Count the first items twice as a padded sampler over this many processes does (reasonseg only).
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = at_least_one)]
    padded_processes: usize,
    /// Accept figures that are no better than random weights'.
    #[arg(long)]
    pub(crate) accept_random: bool,
}

/// What counts in a figure.
#[derive(Debug, Args)]
pub(crate) struct ConventionArguments {
    /// What a question with an empty target counts in the gIoU: scored (1 if the prediction is empty too, else 0) or left-out.
    #[arg(long, default_value = "scored", value_name = "HOW")]
    empty_targets: EmptyTargetsChoice,
    /// What pixels count that the truth says to ignore: left-out or background.
    #[arg(long, default_value = "left-out", value_name = "HOW")]
    ignored_pixels: IgnoredPixelsChoice,
    /// What pixels count that several polygons of the truth cover: outside, as in the published code, or inside, as they should.
    #[arg(long, default_value = "outside", value_name = "HOW")]
    overlapped_pixels: OverlappedPixelsChoice,
}

#[derive(Debug, Args)]
pub(crate) struct EvalMergeArguments {
    /// The shards' folders.
    #[arg(required = true)]
    pub(crate) shards: Vec<PathBuf>,
    /// The new folder.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) scoring: ScoringArguments,
}

#[derive(Debug, Args)]
pub(crate) struct EvalCompareArguments {
    /// The folder of one evaluation.
    pub(crate) first: PathBuf,
    /// The folder of the other one.
    pub(crate) second: PathBuf,
    /// Print JSON, with every question that was answered otherwise.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) conventions: ConventionArguments,
}

/// A benchmark by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BenchmarkName {
    Tabletop,
    ReasonSeg,
    JsonLines,
    Coco,
    LabelMe,
    Refer(String),
    Muse,
    Semantic(String),
    Instruct,
}

impl FromStr for BenchmarkName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tabletop" => Ok(Self::Tabletop),
            "reasonseg" => Ok(Self::ReasonSeg),
            "jsonl" => Ok(Self::JsonLines),
            "coco" => Ok(Self::Coco),
            "labelme" => Ok(Self::LabelMe),
            "muse" => Ok(Self::Muse),
            "llava-instruct" => Ok(Self::Instruct),
            name if REFER.contains(&name) => Ok(Self::Refer(name.to_owned())),
            name if SEM_SEG.contains(&name) => Ok(Self::Semantic(name.to_owned())),
            _ => Err(format!(
                "known are tabletop, reasonseg, muse, jsonl, coco, labelme, {}, {}, llava-instruct",
                REFER.join(", "),
                SEM_SEG.join(", ")
            )),
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Answers {
    Generated,
    TeacherForced,
}

impl From<Answers> for AnswerMode {
    fn from(answers: Answers) -> Self {
        match answers {
            Answers::Generated => Self::Generated,
            Answers::TeacherForced => Self::TeacherForced,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OnErrorChoice {
    Stop,
    Skip,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EmptyTargetsChoice {
    Scored,
    LeftOut,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum IgnoredPixelsChoice {
    LeftOut,
    Background,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OverlappedPixelsChoice {
    Outside,
    Inside,
}

impl ScoringArguments {
    pub(crate) fn conventions(&self) -> Conventions {
        Conventions { padded_processes: self.padded_processes, ..self.conventions.conventions() }
    }
}

impl ConventionArguments {
    pub(crate) fn conventions(&self) -> Conventions {
        Conventions {
            empty_targets: match self.empty_targets {
                EmptyTargetsChoice::Scored => EmptyTargets::Scored,
                EmptyTargetsChoice::LeftOut => EmptyTargets::LeftOut,
            },
            ignored_pixels: match self.ignored_pixels {
                IgnoredPixelsChoice::LeftOut => IgnoredPixels::LeftOut,
                IgnoredPixelsChoice::Background => IgnoredPixels::Background,
            },
            overlapped_pixels: match self.overlapped_pixels {
                OverlappedPixelsChoice::Outside => OverlappedPixels::Outside,
                OverlappedPixelsChoice::Inside => OverlappedPixels::Inside,
            },
            ..Conventions::default()
        }
    }
}

fn shard(text: &str) -> Result<Shard, String> {
    let wanted = || format!("a part is I/N with I from 1 to N, such as 2/4; found {text}");
    let (number, of) = text.split_once('/').ok_or_else(wanted)?;
    let (number, of) = (number.parse().map_err(|_| wanted())?, of.parse().map_err(|_| wanted())?);
    if !(1..=of).contains(&number) {
        return Err(wanted());
    }
    Ok(Shard { number, of })
}
