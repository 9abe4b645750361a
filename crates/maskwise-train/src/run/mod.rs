//! The training loop: steps, validation, checkpoints, logs.

mod items;
mod meter;
mod micro_batches;
mod report;

pub use items::prepared_items;
pub use report::{Observer, StepReport, Validation};

use crate::checkpoint::BestScore;
use crate::log::RunLog;
use crate::{Checkpoints, Learner, Optimizer, OptimizerConfig, Progress, RunIdentity, Schedule, TrainError};
use crate::{clip_coefficient, global_norm};
use maskwise_data::atomic::write_atomic;
use maskwise_kernels::matmul::Precision;
use meter::Meter;
use micro_batches::{MicroBatches, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Length and rhythm of a run: the `[run]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// Where the run's checkpoints and logs go; made if it is not there.
    pub folder: PathBuf,
    /// Optimiser steps in all.
    pub steps: u64,
    /// Items of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches whose gradients are averaged into one optimiser step.
    #[serde(default = "one")]
    pub grad_accumulation_steps: usize,
    /// Threads that compute; micro-batches of one step are shared out among them, and they do not alter the result. 0: one per core.
    #[serde(default)]
    pub threads: usize,
    /// How exact products of f32 matrices are.
    #[serde(default)]
    pub float32_matmul_precision: MatmulPrecision,
    /// Decides the order of the data and everything else that is random.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Steps between validations; 0 for none.
    #[serde(default)]
    pub validation_interval: u64,
    /// Steps between checkpoints; 0 for one at the end only.
    #[serde(default = "default_checkpoint_interval")]
    pub checkpoint_interval: u64,
    /// How many of the newest checkpoints are kept besides the best.
    #[serde(default = "one")]
    pub keep_checkpoints: usize,
    /// The validation score that decides which checkpoint is the best, `ciou` or `giou`; higher is better.
    #[serde(default = "default_best_score")]
    pub best_score: String,
}

/// How exact products of f32 matrices are while training, as PyTorch's `set_float32_matmul_precision` names it. Validation is always exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatmulPrecision {
    /// In f32.
    #[default]
    Highest,
    /// Of operands rounded to bf16, added up in f32, on the CPU: several times as fast where the processor has instructions for it.
    Medium,
}

impl MatmulPrecision {
    fn of_kernels(self) -> Precision {
        match self {
            Self::Highest => Precision::Highest,
            Self::Medium => Precision::Medium,
        }
    }
}

fn one() -> usize {
    1
}

fn default_seed() -> u64 {
    42
}

fn default_checkpoint_interval() -> u64 {
    500
}

fn default_best_score() -> String {
    "ciou".to_owned()
}

impl RunSettings {
    /// Threads that compute: one per core where `threads` is 0.
    pub(crate) fn thread_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        if self.threads == 0 { cores() } else { self.threads }
    }

    /// Checks what can be checked without the rest.
    ///
    /// # Errors
    /// [`TrainError::Setting`] with the key at fault.
    pub fn check(&self) -> Result<(), TrainError> {
        let counts = [
            ("run.steps", self.steps),
            ("run.batch_size", self.batch_size as u64),
            ("run.grad_accumulation_steps", self.grad_accumulation_steps as u64),
            ("run.keep_checkpoints", self.keep_checkpoints as u64),
        ];
        match counts.iter().find(|(_, value)| *value == 0) {
            Some((field, _)) => Err(TrainError::setting(*field, "must be at least 1")),
            None => Ok(()),
        }
    }

    /// Items of one optimiser step.
    pub fn items_per_step(&self) -> u64 {
        (self.batch_size * self.grad_accumulation_steps) as u64
    }
}

/// One run of a learner.
pub struct Trainer<'a, L: Learner> {
    learner: &'a L,
    settings: RunSettings,
    schedule: Schedule,
    maximum_norm: f64,
    optimizer: Optimizer,
    checkpoints: Checkpoints,
    identity: RunIdentity,
    progress: Progress,
    log: RunLog,
    micro_batches: MicroBatches,
}

impl<'a, L: Learner> Trainer<'a, L> {
    /// Begins a run in an empty or new folder.
    ///
    /// # Errors
    /// [`TrainError::Setting`] when a setting cannot be meant, or the folder holds a run already; otherwise when it cannot be written.
    pub fn start(
        learner: &'a L,
        settings: RunSettings,
        schedule: Schedule,
        optimizer: OptimizerConfig,
        identity: RunIdentity,
    ) -> Result<Self, TrainError> {
        let checkpoints = open(&settings, &schedule)?;
        if let Some(last) = checkpoints.last()? {
            let reason =
                format!("holds a run already ({}); resume it or choose another folder", last.display());
            return Err(TrainError::setting(settings.folder.display().to_string(), reason));
        }
        let state = Optimizer::new(optimizer.clone(), learner.parameters())?;
        Self::new(learner, settings, schedule, optimizer, identity, (checkpoints, state, Progress::default()))
    }

    /// Continues the run in the settings' folder from its last checkpoint, or begins it if it was stopped before the first.
    ///
    /// # Errors
    /// As [`Trainer::start`], and [`TrainError::Resume`] when the checkpoint belongs to another model, other data or other settings.
    pub fn resume(
        learner: &'a L,
        settings: RunSettings,
        schedule: Schedule,
        optimizer: OptimizerConfig,
        identity: RunIdentity,
    ) -> Result<Self, TrainError> {
        let checkpoints = open(&settings, &schedule)?;
        let mut state = Optimizer::new(optimizer.clone(), learner.parameters())?;
        let progress = checkpoints.load(learner.parameters(), &mut state, &identity)?.unwrap_or_default();
        Self::new(learner, settings, schedule, optimizer, identity, (checkpoints, state, progress))
    }

    fn new(
        learner: &'a L,
        settings: RunSettings,
        schedule: Schedule,
        optimizer: OptimizerConfig,
        identity: RunIdentity,
        (checkpoints, state, progress): (Checkpoints, Optimizer, Progress),
    ) -> Result<Self, TrainError> {
        let log = RunLog::open(&settings.folder, progress.step)?;
        let micro_batches = MicroBatches::new(&settings)?;
        let maximum_norm = optimizer.max_gradient_norm;
        Ok(Self {
            learner,
            settings,
            schedule,
            maximum_norm,
            optimizer: state,
            checkpoints,
            identity,
            progress,
            log,
            micro_batches,
        })
    }

    /// How far the run has come; the items that [`Trainer::run`] takes begin at its `next_position`.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Trains to the end, or until the observer asks to stop, and leaves a checkpoint of the last step made. `items` are prepared
    /// items with their ids, in order of their global positions from [`Progress::next_position`] on.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`], [`TrainError::OutOfItems`], and whatever an item, the learner, the observer or a file reports. The
    /// last checkpoint is intact in every case.
    pub fn run<I>(&mut self, items: I, observer: &mut dyn Observer) -> Result<&Progress, TrainError>
    where
        I: Iterator<Item = Result<(String, L::Prepared), TrainError>> + Send,
    {
        let mut items = items.fuse();
        let mut meter = Meter::default();
        while self.progress.step < self.settings.steps {
            meter.begin();
            let step = self.progress.step;
            let outcome = self.micro_batches.compute(self.learner, &mut items, step, &self.settings)?;
            let report = self.update(outcome, &mut meter)?;
            self.log.step(&report)?;
            let stop = observer.step(&report) == ControlFlow::Break(());
            let improved = self.validate(observer)?;
            if stop || improved || self.is_due(self.settings.checkpoint_interval) {
                self.save(observer)?;
            }
            if stop {
                break;
            }
        }
        Ok(&self.progress)
    }

    fn update(&mut self, outcome: Outcome, meter: &mut Meter) -> Result<StepReport, TrainError> {
        let parameters = self.learner.parameters();
        let learning_rate = self.schedule.rate(self.progress.step, self.settings.steps);
        let micro_batches = self.settings.grad_accumulation_steps as f64;
        let gradient_norm = self.micro_batches.with_all_threads(|| {
            let norm = global_norm(&outcome.gradients)? / micro_batches;
            let scale = clip_coefficient(norm, self.maximum_norm) / micro_batches;
            self.optimizer.step(parameters, &outcome.gradients, learning_rate, scale)?;
            Ok::<_, TrainError>(norm)
        })?;
        self.progress.step += 1;
        self.progress.next_position += self.settings.items_per_step();
        let seconds = meter.end();
        Ok(StepReport {
            step: self.progress.step,
            steps: self.settings.steps,
            terms: outcome.terms,
            learning_rate,
            gradient_norm,
            samples_per_second: self.settings.items_per_step() as f64 / seconds,
            resident_bytes: meter::resident_bytes(),
            remaining: meter.remaining(self.settings.steps - self.progress.step),
        })
    }

    /// Whether it is the last step, or one of every `interval`.
    fn is_due(&self, interval: u64) -> bool {
        self.progress.step == self.settings.steps
            || (interval > 0 && self.progress.step.is_multiple_of(interval))
    }

    /// Validates if it is time to; true if the result is the best so far.
    fn validate(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        if self.settings.validation_interval == 0 || !self.is_due(self.settings.validation_interval) {
            return Ok(false);
        }
        let step = self.progress.step;
        let validation = observer.validate(step)?;
        self.log.validation(step, &validation)?;
        let wanted = &self.settings.best_score;
        let Some((_, value)) = validation.scores.iter().find(|(name, _)| name == wanted) else {
            let names: Vec<&str> = validation.scores.iter().map(|(name, _)| name.as_str()).collect();
            let reason = format!("the validation has no score `{wanted}`; it has {}", names.join(", "));
            return Err(TrainError::setting("run.best_score", reason));
        };
        let improved = value.is_finite()
            && self.progress.best.as_ref().is_none_or(|best| best.score != *wanted || *value > best.value);
        if improved {
            self.progress.best = Some(BestScore { score: wanted.clone(), value: *value, step });
        }
        Ok(improved)
    }

    fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let mut saving = |written, total| observer.saving(written, total);
        let parameters = self.learner.parameters();
        self.checkpoints.save(parameters, &self.optimizer, &self.progress, &self.identity, &mut saving)?;
        Ok(())
    }
}

fn open(settings: &RunSettings, schedule: &Schedule) -> Result<Checkpoints, TrainError> {
    settings.check()?;
    schedule.check(settings.steps)?;
    Checkpoints::open(&settings.folder, settings.keep_checkpoints)
}

/// Writes what a run is into its folder: `config.toml`, the recipe with every default, and `run.json`, the program's version and the
/// fingerprints of model and data.
///
/// # Errors
/// When the folder cannot be made or written.
pub fn write_run_record(
    folder: &Path,
    config: &impl Serialize,
    identity: &RunIdentity,
) -> Result<(), TrainError> {
    fs::create_dir_all(folder).map_err(|error| TrainError::io("create", folder, error))?;
    let recipe = toml::to_string_pretty(config).map_err(|error| TrainError::Other(error.into()))?;
    write_atomic(&folder.join("config.toml"), |writer| writer.write_all(recipe.as_bytes()))?;
    let version = concat!("maskwise ", env!("CARGO_PKG_VERSION"));
    let record = json!({ "version": version, "model": identity.model, "data": identity.data });
    Ok(write_atomic(&folder.join("run.json"), |writer| writer.write_all(format!("{record:#}\n").as_bytes()))?)
}
