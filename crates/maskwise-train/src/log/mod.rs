//! What a run leaves behind for people: `log.jsonl`, TensorBoard event files, validation pictures.

mod jsonl;
mod tensorboard;

pub use jsonl::JsonLog;
pub use tensorboard::EventWriter;

use crate::TrainError;
use crate::run::{StepReport, Validation};
use maskwise_data::mask::png::write_rgb;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The logs of one run folder.
#[derive(Debug)]
pub struct RunLog {
    json: JsonLog,
    events: EventWriter,
    pictures: PathBuf,
}

impl RunLog {
    /// Opens `log.jsonl` and a new event file in `tensorboard/`; what they say about steps after `step`, which will be made again, is
    /// dropped.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(run_folder: &Path, step: u64) -> Result<Self, TrainError> {
        Ok(Self {
            json: JsonLog::open(&run_folder.join("log.jsonl"), step)?,
            events: EventWriter::create(&run_folder.join("tensorboard"), step)?,
            pictures: run_folder.join("pictures"),
        })
    }

    /// Logs an optimiser step: the loss terms under their names, `lr`, and under `run/` what concerns the machine.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn step(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let mut line = Map::new();
        line.insert("step".to_owned(), json!(report.step));
        let mut scalars: Vec<(&str, f64)> = report.terms.0.clone();
        scalars.extend([("lr", report.learning_rate), ("gradient_norm", report.gradient_norm)]);
        scalars.push(("samples_per_second", report.samples_per_second));
        line.extend(scalars.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        self.json.write(&Value::Object(line))?;
        for (name, value) in scalars {
            self.events.scalar(name, value, report.step)?;
        }
        self.events.flush()
    }

    /// Logs the scores of a validation under their names (`giou`, `ciou`) and writes its pictures to `pictures/step-000123/`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn validation(&mut self, step: u64, validation: &Validation) -> Result<(), TrainError> {
        let scores: Map<String, Value> =
            validation.scores.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        self.json.write(&json!({ "step": step, "validation": scores }))?;
        for (name, value) in &validation.scores {
            self.events.scalar(name, *value, step)?;
        }
        let folder = self.pictures.join(format!("step-{step:06}"));
        if !validation.pictures.is_empty() {
            fs::create_dir_all(&folder).map_err(|error| TrainError::io("create", &folder, error))?;
        }
        for (name, picture) in &validation.pictures {
            let path = folder.join(format!("{name}.png"));
            write_rgb(&path, picture)?;
            let png = fs::read(&path).map_err(|error| TrainError::io("read", &path, error))?;
            self.events.image(&format!("validation/{name}"), &png, picture.dimensions(), step)?;
        }
        self.events.flush()
    }
}
