use super::{DataSection, DatasetKind, ModelSection, TrainConfig};
use crate::TrainError;
use std::path::Path;

impl TrainConfig {
    /// Checks ranges, combinations, and that what is read from is there.
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
}

impl ModelSection {
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        match (&self.init_from, &self.architecture) {
            (Some(folder), None) => needs("model.init_from", folder),
            (None, Some(folder)) => needs("model.architecture", folder),
            _ => {
                let reason =
                    "give either init_from (a checkpoint) or architecture (to start from random weights)";
                Err(TrainError::setting("model", reason))
            }
        }
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
            check_folder(&field("folder"), dataset.kind, dataset.folder.as_deref())?;
            if let Some(file) = &dataset.explanations {
                if dataset.kind != DatasetKind::ReasonSeg {
                    return Err(TrainError::setting(
                        field("explanations"),
                        "belongs to kind `reason_seg` only",
                    ));
                }
                needs(&field("explanations"), file)?;
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
        self.templates.as_deref().map_or(Ok(()), |path| needs("data.templates", path))
    }
}

fn check_folder(field: &str, kind: DatasetKind, folder: Option<&Path>) -> Result<(), TrainError> {
    match folder {
        Some(folder) => needs(field, folder),
        None if kind == DatasetKind::Tabletop => Ok(()),
        None => Err(TrainError::setting(field, "is missing; say where the dataset lies")),
    }
}

fn needs(field: &str, path: &Path) -> Result<(), TrainError> {
    if path.exists() {
        return Ok(());
    }
    Err(TrainError::setting(field, format!("{} is not there; correct the path", path.display())))
}
