//! From a recipe to a trained model: what `maskwise train` does, without its terminal.

mod merge;
mod plan;
mod read;
mod start;
mod vision;

pub use merge::{Which, merge};
pub use plan::{MemoryEstimate, PlannedPart, TrainingPlan};
pub use vision::{VisionConfig, VisionSection};

use crate::config::TrainConfig;
use crate::{Observer, Progress, StepReport, TrainError, Validation};
use serde::{Deserialize, Serialize};
use std::fs;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread::available_parallelism;

/// What a recipe trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// READ, SESAME or LISA on conversations.
    #[default]
    Read,
    /// The image encoders and the mask decoder on the Tabletop world's labels.
    Vision,
}

/// A recipe of either task.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// See [`Task::Read`].
    Read(Box<TrainConfig>),
    /// See [`Task::Vision`].
    Vision(Box<VisionConfig>),
}

/// Whether a run begins or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// In a folder that holds no run.
    New,
    /// From the last checkpoint of the run folder.
    Resume,
}

/// Who watches a session.
pub trait Watcher {
    /// Called after each step; `Break` saves a checkpoint and ends the run.
    fn step(&mut self, report: &StepReport) -> ControlFlow<()>;

    /// Called after each validation with its scores.
    fn validated(&mut self, step: u64, scores: &[(String, f64)]);

    /// Called with what a person should know of and the run goes on from, as a damaged file of the feature cache.
    fn notice(&mut self, text: &str);
}

impl Recipe {
    /// Reads and checks a recipe; its key `task` says which. Whether the files that it names are there is checked when they are needed.
    ///
    /// # Errors
    /// [`TrainError::Setting`] in one line, with the file and the line or key at fault; [`TrainError::Io`] when there is no file.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        #[derive(Deserialize)]
        struct TaskOnly {
            #[serde(default)]
            task: Task,
        }
        let text = fs::read_to_string(path).map_err(|error| TrainError::io("read", path, error))?;
        // What is wrong with a file that cannot be parsed is said by the full parse.
        let task = toml::from_str::<TaskOnly>(&text).map_or(Task::Read, |only| only.task);
        let recipe = match task {
            Task::Read => TrainConfig::parse(&text).map(|config| Self::Read(Box::new(config))),
            Task::Vision => VisionConfig::parse(&text).map(|config| Self::Vision(Box::new(config))),
        };
        recipe.map_err(|error| error.in_file(path))
    }

    /// What is trained.
    pub fn task(&self) -> Task {
        match self {
            Self::Read(_) => Task::Read,
            Self::Vision(_) => Task::Vision,
        }
    }

    /// The model that the run starts from.
    fn model(&self) -> &crate::config::ModelSection {
        match self {
            Self::Read(config) => &config.model,
            Self::Vision(config) => &config.model,
        }
    }

    /// Length and rhythm of the run.
    pub fn run(&self) -> &crate::RunSettings {
        match self {
            Self::Read(config) => &config.run,
            Self::Vision(config) => &config.run,
        }
    }

    /// Length and rhythm of the run, to be changed by whoever starts it.
    pub fn run_mut(&mut self) -> &mut crate::RunSettings {
        match self {
            Self::Read(config) => &mut config.run,
            Self::Vision(config) => &mut config.run,
        }
    }

    /// Trains to the end of the run.
    ///
    /// # Errors
    /// Whatever stops it; the last checkpoint is intact in every case.
    pub fn train(&self, begin: Begin, watcher: &mut dyn Watcher) -> Result<Progress, TrainError> {
        match self {
            Self::Read(config) => read::train(config, begin, watcher),
            Self::Vision(config) => vision::train(config, begin, watcher),
        }
    }
}

/// An observer that measures with `measure` and passes everything on, with `notices`, to a watcher.
struct Watched<'a, F, N> {
    watcher: &'a mut dyn Watcher,
    measure: F,
    notices: N,
    threads: rayon::ThreadPool,
}

impl<'a, F, N> Watched<'a, F, N> {
    /// Measures on `threads` threads; 0 for one per core.
    fn new(watcher: &'a mut dyn Watcher, threads: usize, measure: F, notices: N) -> Result<Self, TrainError> {
        let count = if threads == 0 { available_parallelism().map_or(1, NonZero::get) } else { threads };
        let threads = rayon::ThreadPoolBuilder::new().num_threads(count).build();
        let threads = threads.map_err(|error| TrainError::Other(error.into()))?;
        Ok(Self { watcher, measure, notices, threads })
    }
}

impl<F, N> Observer for Watched<'_, F, N>
where
    F: FnMut() -> Result<Validation, TrainError> + Send,
    N: Fn() -> Vec<String>,
{
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        for notice in (self.notices)() {
            self.watcher.notice(&notice);
        }
        self.watcher.step(report)
    }

    fn validate(&mut self, step: u64) -> Result<Validation, TrainError> {
        let measure = &mut self.measure;
        let validation = self.threads.install(measure)?;
        self.watcher.validated(step, &validation.scores);
        Ok(validation)
    }
}
