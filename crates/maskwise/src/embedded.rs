use crate::error::{Error, Result};
use maskwise_data::folder::{EmbeddedFiles, ModelFolder};
use serde::Serialize;

/// The model that the feature `embedded-model` links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EmbeddedModel {
    /// Its name.
    pub name: &'static str,
    /// The version of its weights.
    pub version: &'static str,
    /// Bytes of all its files.
    pub bytes: u64,
    /// What it can and cannot do, how it was made and measured; Markdown.
    #[serde(skip)]
    pub card: &'static str,
}

impl EmbeddedModel {
    /// The model in this build; `None` without the feature.
    pub fn get() -> Option<Self> {
        linked().map(|(model, _)| model)
    }

    pub(crate) fn folder() -> Result<ModelFolder> {
        let folder = linked().map(|(model, files)| ModelFolder::embedded(model.name, files));
        folder.ok_or_else(|| {
            let reason = "this build has no embedded model; name a model folder or ORG/NAME from the hub cache, or build with the \
                          feature `embedded-model`";
            Error::ModelNotFound(reason.to_owned())
        })
    }
}

#[cfg(feature = "embedded-model")]
fn linked() -> Option<(EmbeddedModel, EmbeddedFiles)> {
    use maskwise_mini::{CARD, FILES, NAME, VERSION};
    let bytes = FILES.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    Some((EmbeddedModel { name: NAME, version: VERSION, bytes, card: CARD }, FILES))
}

#[cfg(not(feature = "embedded-model"))]
fn linked() -> Option<(EmbeddedModel, EmbeddedFiles)> {
    None
}
