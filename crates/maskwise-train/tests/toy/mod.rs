//! A learner small enough to train in a test: noisy linear regression with dropout.

#![allow(dead_code)] // Not every test file uses all of it.

use candle_core::{Device, Tensor, Var};
use maskwise_data::image::RgbImage;
use maskwise_train::{
    Decay, Gradients, Learner, LossTerms, MatmulPrecision, MicroBatch, Observer, OptimizerConfig, Parameters,
    RunIdentity, RunSettings, Schedule, StepReport, TrainError, Trainer, Validation,
};
use serde_json::json;
use std::ops::ControlFlow;
use std::path::Path;

/// Large enough that a checkpoint does not fit into the small disk of a test.
pub(crate) const WIDTH: usize = 8192;

pub(crate) struct Toy {
    parameters: Parameters,
    /// The position whose target is not a number.
    pub(crate) poisoned: Option<u64>,
    pub(crate) dropout: bool,
}

impl Toy {
    pub(crate) fn new() -> Self {
        Self::with_width(WIDTH)
    }

    pub(crate) fn with_width(width: usize) -> Self {
        let variable = |values: Vec<f32>| Var::new(values, &Device::Cpu).unwrap();
        let weight = (0..width).map(|index| (index as f32 * 0.37).sin()).collect();
        let variables = [
            ("bias".to_owned(), variable(vec![0.1])),
            ("unused".to_owned(), variable(vec![1.0, 2.0])),
            ("weight".to_owned(), variable(weight)),
        ];
        Self { parameters: Parameters::new(variables.into()), poisoned: None, dropout: true }
    }

    pub(crate) fn weight(&self) -> Vec<u32> {
        let values: Vec<f32> = self.parameters.get("weight").unwrap().to_vec1().unwrap();
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Prepared items from a position on, as many as wanted.
    pub(crate) fn items(
        &self,
        from: u64,
    ) -> impl Iterator<Item = Result<(String, u64), TrainError>> + Send + use<> {
        (from..).map(|position| Ok((format!("toy/{position}"), position)))
    }
}

impl Learner for Toy {
    type Prepared = u64;

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn micro_batch(&self, batch: &MicroBatch<u64>) -> Result<(LossTerms, Gradients), TrainError> {
        let weight = self.parameters.get("weight").unwrap();
        let width = weight.elem_count();
        let noise =
            |index: u64| ((index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / 16_777_216.0) - 0.5;
        let mut inputs = Vec::new();
        let mut targets = Vec::new();
        for position in batch.items {
            let drop = |index: usize| self.dropout && noise(batch.seed ^ index as u64) > 0.45;
            let value = |index| if drop(index) { 0.0 } else { noise(position * 100_003 + index as u64) };
            inputs.extend((0..width).map(value));
            targets.push(if self.poisoned == Some(*position) { f32::NAN } else { noise(*position) });
        }
        let inputs = Tensor::from_vec(inputs, (batch.items.len(), width), &Device::Cpu)?;
        let targets = Tensor::new(targets, &Device::Cpu)?;
        let bias = self.parameters.get("bias").unwrap();
        let predicted = inputs.matmul(&weight.unsqueeze(1)?)?.squeeze(1)?.broadcast_add(bias)?;
        let loss = (predicted - targets)?.sqr()?.mean_all()?;
        let gradients = loss.backward()?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        // A poisoned item shows first in a gradient, as an overflow in a backward pass would.
        let terms = LossTerms(vec![("loss", if value.is_nan() { 0.0 } else { value })]);
        Ok((terms, self.parameters.iter().map(|(_, variable)| gradients.get(variable).cloned()).collect()))
    }
}

/// Validates with given scores.
#[derive(Default)]
pub(crate) struct Watcher {
    pub(crate) reports: Vec<StepReport>,
    pub(crate) scores: Vec<f64>,
    /// Stops the run after this step.
    pub(crate) stop_after: Option<u64>,
    /// Called while a checkpoint is saved, with the step and the number of tensors written.
    pub(crate) saving: Option<Box<dyn FnMut(u64, usize)>>,
}

impl Observer for Watcher {
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.reports.push(report.clone());
        if self.stop_after == Some(report.step) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn validate(&mut self, step: u64) -> Result<Validation, TrainError> {
        let scores = vec![("giou".to_owned(), 0.0), ("ciou".to_owned(), self.scores[step as usize - 1])];
        let picture = RgbImage::from_pixel(3, 2, [step as u8, 0, 0].into());
        Ok(Validation { scores, pictures: vec![("mug".to_owned(), picture)] })
    }

    fn saving(&mut self, written: usize, _: usize) {
        if let Some(saving) = &mut self.saving {
            saving(self.reports.last().unwrap().step, written);
        }
    }
}

pub(crate) fn settings(folder: &Path) -> RunSettings {
    RunSettings {
        folder: folder.to_path_buf(),
        steps: 6,
        batch_size: 2,
        grad_accumulation_steps: 2,
        threads: 1,
        float32_matmul_precision: MatmulPrecision::Highest,
        seed: 42,
        validation_interval: 0,
        checkpoint_interval: 1,
        keep_checkpoints: 1,
        best_score: "ciou".to_owned(),
    }
}

pub(crate) fn schedule() -> Schedule {
    Schedule { learning_rate: 1e-2, warmup_steps: 2, decay: Decay::Linear, deepspeed_first_step: false }
}

pub(crate) fn identity() -> RunIdentity {
    let settings = json!({ "schedule": { "learning_rate": 1e-2 }, "lora": { "rank": 8 } });
    RunIdentity { model: "model-1".to_owned(), data: "data-1".to_owned(), settings }
}

pub(crate) fn start<'a>(toy: &'a Toy, settings: &RunSettings) -> Result<Trainer<'a, Toy>, TrainError> {
    Trainer::start(toy, settings.clone(), schedule(), OptimizerConfig::default(), identity())
}

pub(crate) fn resume<'a>(toy: &'a Toy, settings: &RunSettings) -> Result<Trainer<'a, Toy>, TrainError> {
    Trainer::resume(toy, settings.clone(), schedule(), OptimizerConfig::default(), identity())
}

/// Runs to the end, or to where the watcher stops.
pub(crate) fn run(toy: &Toy, mut trainer: Trainer<Toy>, watcher: &mut Watcher) -> Result<(), TrainError> {
    let items = toy.items(trainer.progress().next_position);
    trainer.run(items, watcher).map(|_| ())
}
