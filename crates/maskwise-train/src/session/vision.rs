use super::start::open_model;
use super::{Begin, Task, Watched, Watcher};
use crate::config::ModelSection;
use crate::vision::{Encoder, VisionItem, VisionLearner};
use crate::{
    OptimizerConfig, Progress, RunIdentity, RunSettings, Schedule, TrainError, Trainer, Validation,
    fingerprint, prepared_items, write_run_record,
};
use candle_core::Device;
use maskwise_data::tabletop::{SceneConfig, Split, World};
use rand::SeedableRng;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A recipe of the vision stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    /// `vision`.
    pub task: Task,
    /// Where the weights start.
    pub model: ModelSection,
    /// What is seen and asked.
    #[serde(default)]
    pub vision: VisionSection,
    /// How parameters are updated.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// The learning rate.
    pub schedule: Schedule,
    /// Length and rhythm.
    pub run: RunSettings,
}

/// The `[vision]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VisionSection {
    /// Which Tabletop world.
    pub world_seed: u64,
    /// Which encoders learn; SAM's brings the mask decoder with it.
    pub encoders: Vec<Encoder>,
    /// Least and most things in a picture to learn from; held-out pictures have as many as the world's. More things, more to learn from a
    /// picture.
    pub things: [usize; 2],
    /// The most masks that are drawn of a picture.
    pub targets_per_picture: usize,
    /// Held-out pictures of a validation.
    pub validation_pictures: u64,
    /// Threads that draw pictures.
    pub workers: usize,
}

impl Default for VisionSection {
    fn default() -> Self {
        Self {
            world_seed: 1,
            encoders: vec![Encoder::Clip, Encoder::Sam],
            things: [1, 7],
            targets_per_picture: 5,
            validation_pictures: 64,
            workers: 1,
        }
    }
}

impl VisionConfig {
    /// Parses and checks a recipe.
    ///
    /// # Errors
    /// [`TrainError::Setting`] with the line or key at fault.
    pub fn parse(text: &str) -> Result<Self, TrainError> {
        let config: Self = crate::config::parse_toml(text)?;
        config.run.check()?;
        config.schedule.check(config.run.steps)?;
        config.optimizer.check()?;
        config.model.check()?;
        if config.model.activation_checkpointing {
            let reason = "is for the language model, which the vision stage does not run; leave it out";
            return Err(TrainError::setting("model.activation_checkpointing", reason));
        }
        let counts = [
            ("vision.targets_per_picture", config.vision.targets_per_picture),
            ("vision.workers", config.vision.workers),
        ];
        if config.vision.encoders.is_empty() {
            return Err(TrainError::setting("vision.encoders", "is empty; name clip, sam or both"));
        }
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((field, _)) => Err(TrainError::setting(*field, "must be at least 1")),
            None => Ok(config),
        }
    }

    fn identity(&self, model: String) -> Result<RunIdentity, TrainError> {
        let settings = serde_json::json!({
            "vision": {
                "world_seed": self.vision.world_seed,
                "encoders": self.vision.encoders,
                "things": self.vision.things,
                "targets_per_picture": self.vision.targets_per_picture,
            },
            "optimizer": { "betas": self.optimizer.betas, "epsilon": self.optimizer.epsilon,
                "weight_decay": self.optimizer.weight_decay, "groups": self.optimizer.groups, "muon": self.optimizer.muon,
                "max_gradient_norm": self.optimizer.max_gradient_norm.to_string() },
            "schedule": self.schedule,
            "run": { "steps": self.run.steps, "batch_size": self.run.batch_size, "seed": self.run.seed,
                "grad_accumulation_steps": self.run.grad_accumulation_steps,
                "float32_matmul_precision": self.run.float32_matmul_precision },
        });
        Ok(RunIdentity { model, data: format!("tabletop {}", self.vision.world_seed), settings })
    }
}

pub(super) fn train(
    config: &VisionConfig,
    begin: Begin,
    watcher: &mut dyn Watcher,
) -> Result<Progress, TrainError> {
    config.model.check_paths()?;
    let (run, vision) = (&config.run, &config.vision);
    let files = open_model(&config.model, &run.folder, run.seed)?;
    let identity = config.identity(fingerprint(&[&files.folder.location()])?)?;
    let learner = Arc::new(VisionLearner::new(
        files,
        &vision.encoders,
        vision.targets_per_picture,
        run.seed,
        &Device::Cpu,
    )?);
    let (schedule, optimizer) = (config.schedule.clone(), config.optimizer.clone());
    let mut trainer = match begin {
        Begin::New => Trainer::start(learner.as_ref(), run.clone(), schedule, optimizer, identity.clone())?,
        Begin::Resume => {
            Trainer::resume(learner.as_ref(), run.clone(), schedule, optimizer, identity.clone())?
        }
    };
    write_run_record(&run.folder, config, &identity)?;

    let world = |split, scenes| {
        let world = World::new(vision.world_seed, split, scenes);
        world.map_err(|error| TrainError::setting("vision", error.to_string()))
    };
    let held_out = world(Split::Validation, SceneConfig::default())?;
    let held_out = (0..vision.validation_pictures)
        .map(|index| draw(&learner, &held_out, index, index))
        .collect::<Result<Vec<_>, _>>()?;
    let [least, most] = vision.things;
    let pictures = world(Split::Train, SceneConfig { things: least..=most, ..SceneConfig::default() })?;
    let drawing = learner.clone();
    let items = prepared_items(run, trainer.progress(), vision.workers, move |seed, position| {
        let item = draw(&drawing, &pictures, position, seed ^ position)?;
        Ok((item.id.clone(), item))
    })?;
    let measure = || {
        let scores = learner.evaluate(&held_out)?;
        let scores = vec![("iou".to_owned(), scores.iou), ("kind_accuracy".to_owned(), scores.kind_accuracy)];
        Ok(Validation { scores, pictures: Vec::new() })
    };
    let mut observer = Watched::new(watcher, run.threads, measure, Vec::new)?;
    trainer.run(items, &mut observer).cloned()
}

fn draw(learner: &VisionLearner, world: &World, index: u64, seed: u64) -> Result<VisionItem, TrainError> {
    let id = format!("tabletop {} {index}", world.split());
    let sample = world
        .sample(index)
        .map_err(|error| TrainError::Item { id: id.clone(), reason: error.to_string() })?;
    let mut rng = maskwise_data::dataset::SampleRng::seed_from_u64(seed);
    learner.prepare(id, &sample.scene, &mut rng)
}
