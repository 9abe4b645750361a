use crate::{LossTerms, TrainError};
use maskwise_data::image::RgbImage;
use std::ops::ControlFlow;
use std::time::Duration;

/// What is known after an optimiser step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// The step, counted from 1.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// The terms of the loss, averaged over the step's micro-batches.
    pub terms: LossTerms,
    /// The rate that the step used.
    pub learning_rate: f64,
    /// The global norm of the averaged gradient, before clipping.
    pub gradient_norm: f64,
    /// Items per second of this step, waiting for data included.
    pub samples_per_second: f64,
    /// Memory that the process holds; none where the system does not say.
    pub resident_bytes: Option<u64>,
    /// Estimate of the time to the end of the run, validations included.
    pub remaining: Duration,
}

/// The result of a validation.
#[derive(Clone, Debug, Default)]
pub struct Validation {
    /// Scores by name (`giou`, `ciou`); higher is better.
    pub scores: Vec<(String, f64)>,
    /// Pictures by name, which becomes a file name.
    pub pictures: Vec<(String, RgbImage)>,
}

/// Who watches a run.
pub trait Observer {
    /// Called after every step; `Break` saves a checkpoint and ends the run.
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let _ = report;
        ControlFlow::Continue(())
    }

    /// Measures the learner's present parameters after `step` steps; called where the settings ask for validation.
    ///
    /// # Errors
    /// When it cannot; the run then stops.
    fn validate(&mut self, step: u64) -> Result<Validation, TrainError>;

    /// Called while a checkpoint is saved, before each tensor: how many of `total` are written.
    fn saving(&mut self, written: usize, total: usize) {
        let _ = (written, total);
    }
}
