use clap::{Args, ValueEnum};
use maskwise_train::session::Which;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct TrainArguments {
    /// The recipe, a TOML file (see docs/training.md and configs/).
    pub(crate) config: PathBuf,
    /// Go on from the run folder's last checkpoint.
    #[arg(long)]
    pub(crate) resume: bool,
    /// The run folder, instead of the recipe's.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Print what would be trained, the memory needed and the steps, and stop.
    #[arg(long, conflicts_with = "resume")]
    pub(crate) dry_run: bool,
    /// Threads that compute, instead of the recipe's number; they do not alter the result.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArguments {
    /// The folder of a run.
    pub(crate) run: PathBuf,
    /// The new model folder.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Which checkpoint.
    #[arg(long, value_enum, default_value_t = Checkpoint::Best)]
    pub(crate) checkpoint: Checkpoint,
    /// The type that tensors are stored in; that of the model which the run started from if absent.
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<StoredType>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Checkpoint {
    /// The one with the best validation; the last where nothing was validated.
    Best,
    /// The newest.
    Last,
}

impl From<Checkpoint> for Which {
    fn from(checkpoint: Checkpoint) -> Self {
        match checkpoint {
            Checkpoint::Best => Self::Best,
            Checkpoint::Last => Self::Last,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum StoredType {
    F32,
    Bf16,
    F16,
}

impl From<StoredType> for maskwise_train::DType {
    fn from(dtype: StoredType) -> Self {
        match dtype {
            StoredType::F32 => Self::F32,
            StoredType::Bf16 => Self::BF16,
            StoredType::F16 => Self::F16,
        }
    }
}
