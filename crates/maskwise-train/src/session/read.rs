use super::start::open_model;
use super::{Begin, Watched, Watcher};
use crate::config::{ComputeType, DatasetKind, TrainConfig};
use crate::read::{FeatureSettings, ReadLearner, ReadSettings, TrainedWeightsConfig, validate};
use crate::{
    Progress, RunIdentity, TrainError, Trainer, Validation, fingerprint, prepared_items, write_run_record,
};
use candle_core::{DType, Device};
use maskwise_models::systems::read::{ModelFiles, PartTypes};
use std::sync::Arc;

pub(super) fn train(
    config: &TrainConfig,
    begin: Begin,
    watcher: &mut dyn Watcher,
) -> Result<Progress, TrainError> {
    config.check_paths()?;
    let run = &config.run;
    let files = open_model(&config.model, &run.folder, run.seed)?;
    let questions = files.system.system.question_templates();
    let mixture = config.data.mixture()?;
    let held_out = config.data.open_validation(questions)?;
    let identity = RunIdentity {
        model: fingerprint(&[&files.folder.location()])?,
        data: fingerprint(&config.data_paths())?,
        settings: config.mathematics()?,
    };
    let settings = settings(config, &files);
    let learner = Arc::new(ReadLearner::new(files, &settings, &Device::Cpu)?);
    let (schedule, optimizer) = (config.schedule.clone(), config.optimizer.clone());
    let mut trainer = match begin {
        Begin::New => Trainer::start(learner.as_ref(), run.clone(), schedule, optimizer, identity.clone())?,
        Begin::Resume => {
            Trainer::resume(learner.as_ref(), run.clone(), schedule, optimizer, identity.clone())?
        }
    };
    write_run_record(&run.folder, config, &identity)?;
    let preparing = learner.clone();
    let items = prepared_items(run, trainer.progress(), config.data.workers, move |seed, position| {
        let item = mixture.item(seed, position)?;
        Ok((item.id.clone(), preparing.prepare(item)?))
    })?;
    let measure = || match (&config.data.validation, &held_out) {
        (Some(section), Some(items)) => validate(&learner, items.as_ref(), section.answers, section.pictures),
        _ => Ok(Validation::default()),
    };
    let notices = || learner.features().take_notices();
    let mut observer = Watched::new(watcher, run.threads, measure, notices)?;
    trainer.run(items, &mut observer).cloned()
}

/// What is trained of `files`, and in which dtypes.
fn settings(config: &TrainConfig, files: &ModelFiles) -> ReadSettings {
    let special = &files.special;
    let first_new = special.seg.min(special.im_start).min(special.im_end) as usize;
    let mut types = match config.model.dtype {
        ComputeType::F32 => PartTypes::uniform(DType::F32),
        ComputeType::Bf16 => PartTypes::exact(DType::BF16, &Device::Cpu),
    };
    if let Some(quantize) = config.model.quantize {
        types.quantization.language = quantize.quantization();
    }
    let weights = TrainedWeightsConfig {
        parts: config.trainable.parts.clone(),
        lora: config.lora.clone(),
        first_trained_row: config.trainable.new_vocabulary_rows_only.then_some(first_new),
        types,
        seed: config.run.seed,
    };
    let pictures_return = config.data.datasets.iter().any(|dataset| dataset.kind != DatasetKind::Tabletop);
    let features = FeatureSettings {
        memory_bytes: if pictures_return { config.data.feature_memory_mib << 20 } else { 0 },
        folder: config.data.feature_cache.clone(),
    };
    let activation_checkpointing = config.model.activation_checkpointing;
    ReadSettings { weights, loss: config.loss, features, activation_checkpointing }
}
