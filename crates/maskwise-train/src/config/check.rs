use super::{ComputeType, DataSection, DatasetKind, ModelSection, TrainConfig};
use crate::TrainError;
use crate::read::Part;
use std::path::Path;

impl TrainConfig {
    /// Checks ranges and combinations.
    ///
    /// # Errors
    /// [`TrainError::Setting`] with the key at fault.
    pub fn check(&self) -> Result<(), TrainError> {
        self.run.check()?;
        self.schedule.check(self.run.steps)?;
        self.optimizer.check()?;
        self.model.check()?;
        self.data.check()?;
        self.loss.check().map_err(|reason| TrainError::setting("loss", reason))?;
        if self.model.quantize.is_some() {
            let reason = match self.model.dtype {
                ComputeType::Bf16 => Some("needs model.dtype = \"f32\", which quantized layers compute in"),
                _ if self.trainable.parts.contains(&Part::LanguageModel) => Some(
                    "rounds the weights of language_model, which trainable.parts names; train adapters ([lora]) instead",
                ),
                ComputeType::F32 => None,
            };
            if let Some(reason) = reason {
                return Err(TrainError::setting("model.quantize", reason));
            }
        }
        if self.loss.halfway_similarity > 0.0 && self.model.activation_checkpointing {
            let reason =
                "needs states that model.activation_checkpointing does not keep; leave one of them out";
            return Err(TrainError::setting("loss.halfway_similarity", reason));
        }
        match &self.lora {
            Some(lora) => lora.check().map_err(|reason| TrainError::setting("lora", reason))?,
            None if self.trainable.parts.is_empty() => {
                let reason = "is empty and there is no [lora], so nothing would be trained; name a part";
                return Err(TrainError::setting("trainable.parts", reason));
            }
            None => {}
        }
        if self.run.validation_interval > 0 && self.data.validation.is_none() {
            let reason = "asks for validation, but there is no [data.validation]; add it or set 0";
            return Err(TrainError::setting("run.validation_interval", reason));
        }
        Ok(())
    }

    /// Checks that what is read from is there.
    ///
    /// # Errors
    /// [`TrainError::Setting`] with the key at fault.
    pub fn check_paths(&self) -> Result<(), TrainError> {
        self.model.check_paths()?;
        for (index, dataset) in self.data.datasets.iter().enumerate() {
            needs(&format!("data.datasets[{index}].folder"), dataset.folder.as_deref())?;
            needs(&format!("data.datasets[{index}].explanations"), dataset.explanations.as_deref())?;
        }
        let validation = self.data.validation.as_ref();
        needs("data.validation.folder", validation.and_then(|validation| validation.folder.as_deref()))?;
        needs("data.templates", self.data.templates.as_deref())
    }
}

impl ModelSection {
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        let reason = match (&self.init_from, &self.architecture) {
            (Some(_), None) => return Ok(()),
            (None, Some(_)) if self.vision_tower.is_none() && self.sam.is_none() && self.system.is_none() => {
                return Ok(());
            }
            (None, Some(_)) => {
                "vision_tower, sam and system belong to init_from; leave them out with architecture"
            }
            _ => "give either init_from (a checkpoint) or architecture (to start from random weights)",
        };
        Err(TrainError::setting("model", reason))
    }

    pub(crate) fn check_paths(&self) -> Result<(), TrainError> {
        needs("model.init_from", self.init_from.as_deref())?;
        needs("model.architecture", self.architecture.as_deref())?;
        needs("model.vision_tower", self.vision_tower.as_deref())?;
        needs("model.sam", self.sam.as_deref())
    }
}

impl DataSection {
    fn check(&self) -> Result<(), TrainError> {
        if self.datasets.is_empty() {
            return Err(TrainError::setting("data.datasets", "is empty; add at least one [[data.datasets]]"));
        }
        for (field, value) in
            [("data.num_classes_per_sample", self.num_classes_per_sample), ("data.workers", self.workers)]
        {
            if value == 0 {
                return Err(TrainError::setting(field, "must be at least 1"));
            }
        }
        for (index, dataset) in self.datasets.iter().enumerate() {
            let field = |key: &str| format!("data.datasets[{index}].{key}");
            if !(dataset.rate.is_finite() && dataset.rate > 0.0) {
                let reason = format!("{} must be above 0; leave a dataset out to not use it", dataset.rate);
                return Err(TrainError::setting(field("rate"), reason));
            }
            if let Some(questions) = dataset.questions {
                questions.check().map_err(|reason| TrainError::setting(field("questions"), reason))?;
                if dataset.kind != DatasetKind::Tabletop {
                    return Err(TrainError::setting(field("questions"), "belongs to kind `tabletop` only"));
                }
            }
            check_folder(&field("folder"), dataset.kind, dataset.folder.as_deref())?;
            if dataset.explanations.is_some() && dataset.kind != DatasetKind::ReasonSeg {
                return Err(TrainError::setting(field("explanations"), "belongs to kind `reason_seg` only"));
            }
        }
        if let Some(validation) = &self.validation {
            check_folder("data.validation.folder", validation.kind, validation.folder.as_deref())?;
            let referring = [DatasetKind::ReferSeg, DatasetKind::NegReferSeg, DatasetKind::CorrectReferSeg];
            if referring.contains(&validation.kind) && validation.subset.is_none() {
                return Err(TrainError::setting(
                    "data.validation.subset",
                    "is missing; name one, as refcocog",
                ));
            }
            if validation.limit == Some(0) {
                return Err(TrainError::setting(
                    "data.validation.limit",
                    "must be at least 1; leave it out for all",
                ));
            }
        }
        Ok(())
    }
}

fn check_folder(field: &str, kind: DatasetKind, folder: Option<&Path>) -> Result<(), TrainError> {
    if folder.is_some() || kind == DatasetKind::Tabletop {
        return Ok(());
    }
    Err(TrainError::setting(field, "is missing; say where the dataset lies"))
}

/// A path that is given must be there.
fn needs(field: &str, path: Option<&Path>) -> Result<(), TrainError> {
    match path.filter(|path| !path.exists()) {
        Some(path) => {
            Err(TrainError::setting(field, format!("{} is not there; correct the path", path.display())))
        }
        None => Ok(()),
    }
}
