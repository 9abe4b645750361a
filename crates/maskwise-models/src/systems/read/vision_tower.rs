use super::load::{at, open_weights, read_config};
use crate::clip::ClipVisionConfig;
use crate::error::{ModelError, Result};
use maskwise_data::folder::ModelFolder;
use maskwise_data::image::clip::ClipPreprocessor;
use maskwise_nn::weights::{Filtered, Renamed, TensorSource, WeightsError};
use std::path::{Path, PathBuf};

/// Where a LLaVA checkpoint keeps a vision tower, if it keeps one.
pub(super) const INSIDE: &str = "model.vision_tower.";
/// Its names start so; what follows is CLIP's own name.
const INSIDE_CLIP: &str = "model.vision_tower.vision_tower.";
/// Width of an attention head in every published CLIP; tensors do not tell it.
const HEAD_WIDTH: usize = 64;
/// The narrowest published CLIP vision tower; below it nothing says how wide the heads are.
const NARROWEST: usize = 768;

const PREPROCESSOR: &str = "preprocessor_config.json";

/// Where the CLIP tower of a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VisionTower {
    /// A folder of its own.
    Folder(ModelFolder),
    /// In the model's checkpoint, under `model.vision_tower.vision_tower.`.
    Inside {
        /// The model's folder.
        checkpoint: ModelFolder,
        /// The folder of the tower's configuration, where there is one.
        config: Option<ModelFolder>,
    },
}

impl VisionTower {
    /// Finds the tower that the configuration calls `name`: the folder that was asked for; else below and beside the model, by
    /// the whole name and by its last part; else `candidates`; else in the checkpoint itself.
    pub(super) fn find(
        folder: &ModelFolder,
        name: &str,
        asked: Option<&Path>,
        candidates: &[PathBuf],
    ) -> Result<Self> {
        let looked_in = match asked {
            Some(tower) => vec![tower.into()],
            None => {
                let mut places = places_around(folder, name);
                places.extend(candidates.iter().map(ModelFolder::from));
                places.dedup();
                places
            }
        };
        let found = looked_in.iter().find(|place| place.contains("config.json"));
        let has_weights =
            |place: &&ModelFolder| !matches!(open_weights(place), Err(WeightsError::NoWeights { .. }));
        if let Some(place) = found.filter(has_weights) {
            return Ok(Self::Folder(place.clone()));
        }
        let is_inside = |name: &String| name.starts_with(INSIDE_CLIP);
        let may_be_inside = asked.is_none() || found.is_some();
        if may_be_inside && open_weights(folder)?.tensors().keys().any(is_inside) {
            return Ok(Self::Inside { checkpoint: folder.clone(), config: found.cloned() });
        }
        if let Some(place) = found {
            // A configuration without weights: opening it says what was looked for.
            return Ok(Self::Folder(place.clone()));
        }
        let looked_in = looked_in.iter().map(ModelFolder::location).collect();
        Err(ModelError::VisionTowerNotFound { name: name.to_owned(), looked_in })
    }

    /// The folder that holds the tower's weights: its own, or the model's.
    pub fn folder(&self) -> &ModelFolder {
        match self {
            Self::Folder(folder) | Self::Inside { checkpoint: folder, .. } => folder,
        }
    }

    /// The tower's tensors under CLIP's own names.
    ///
    /// # Errors
    /// When the files are missing, damaged or no weights.
    pub fn open(&self) -> Result<Box<dyn TensorSource>> {
        let source = open_weights(self.folder())?;
        match self {
            Self::Folder(_) => Ok(source),
            Self::Inside { .. } => {
                let clip = Filtered::new(source, |name| name.starts_with(INSIDE_CLIP));
                let name = |name: &str| name.strip_prefix(INSIDE_CLIP).map(str::to_owned);
                Ok(Box::new(Renamed::new(Box::new(clip), name)?))
            }
        }
    }

    /// The tower's `config.json`; for a tower inside of a checkpoint, what its tensors tell.
    pub(super) fn config(&self) -> Result<ClipVisionConfig> {
        match self {
            Self::Folder(folder) | Self::Inside { config: Some(folder), .. } => {
                read_config(folder, "config.json", ClipVisionConfig::from_json)
            }
            Self::Inside { checkpoint, config: None } => {
                config_from_shapes(self.open()?.as_ref()).map_err(|reason| at(&checkpoint.location(), reason))
            }
        }
    }

    /// The tower's `preprocessor_config.json`, or the published preprocessing for a tower of `image_size`.
    pub(super) fn preprocessor(&self, image_size: usize) -> Result<ClipPreprocessor> {
        match self {
            Self::Folder(folder) | Self::Inside { config: Some(folder), .. }
                if folder.contains(PREPROCESSOR) =>
            {
                let parse = |text: &str| ClipPreprocessor::from_json(text).map_err(|error| error.to_string());
                read_config(folder, PREPROCESSOR, parse)
            }
            _ => Ok(ClipPreprocessor::square(image_size)),
        }
    }
}

/// Below and beside the model, by the whole name of the tower and by its last part.
fn places_around(folder: &ModelFolder, name: &str) -> Vec<ModelFolder> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let around = match folder {
        ModelFolder::Disk(path) => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let parent = absolute.parent().map(ModelFolder::from);
            [Some(ModelFolder::Disk(absolute)), parent]
        }
        // Nothing lies beside it.
        ModelFolder::Embedded(_) => [Some(folder.clone()), None],
    };
    around.into_iter().flatten().flat_map(|place| [place.join(name), place.join(last)]).collect()
}

/// The sizes that the shapes of a CLIP tower tell.
fn config_from_shapes(source: &dyn TensorSource) -> std::result::Result<ClipVisionConfig, String> {
    let size = |name: &str, axis: usize| {
        let name = format!("vision_model.{name}");
        let found = source.tensors().get(&name).and_then(|info| info.shape.get(axis).copied());
        found.ok_or_else(|| format!("the vision tower inside of the checkpoint lacks {name}"))
    };
    let hidden_size = size("embeddings.class_embedding", 0)?;
    if hidden_size < NARROWEST || !hidden_size.is_multiple_of(HEAD_WIDTH) {
        return Err(format!(
            "the vision tower inside of the checkpoint is {hidden_size} wide, unlike any published CLIP, so the number of its \
             attention heads is not known; pass --vision-tower DIR with its config.json"
        ));
    }
    let patch_size = size("embeddings.patch_embedding.weight", 2)?;
    let patches = size("embeddings.position_embedding.weight", 0)?.saturating_sub(1);
    let layers =
        (0..).take_while(|layer| size(&format!("encoder.layers.{layer}.mlp.fc1.weight"), 0).is_ok()).count();
    let config = ClipVisionConfig {
        hidden_size,
        intermediate_size: size("encoder.layers.0.mlp.fc1.weight", 0)?,
        num_hidden_layers: layers,
        num_attention_heads: hidden_size / HEAD_WIDTH,
        image_size: patches.isqrt() * patch_size,
        patch_size,
        ..ClipVisionConfig::default()
    };
    config.check()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};
    use maskwise_nn::weights::InMemory;

    fn tower(width: usize) -> InMemory {
        let shapes = [
            ("embeddings.class_embedding", vec![width]),
            ("embeddings.patch_embedding.weight", vec![width, 3, 14, 14]),
            ("embeddings.position_embedding.weight", vec![577, width]),
            ("encoder.layers.0.mlp.fc1.weight", vec![4 * width, width]),
            ("encoder.layers.1.mlp.fc1.weight", vec![4 * width, width]),
        ];
        let zeros = |shape: Vec<usize>| Tensor::zeros(shape, DType::U8, &Device::Cpu).unwrap();
        InMemory::new(
            shapes.into_iter().map(|(name, shape)| (format!("vision_model.{name}"), zeros(shape))).collect(),
        )
    }

    #[test]
    fn shapes_tell_a_published_tower() {
        let config = config_from_shapes(&tower(1024)).unwrap();
        assert_eq!((config.num_attention_heads, config.image_size, config.num_hidden_layers), (16, 336, 2));
        assert_eq!((config.intermediate_size, config.patch_size), (4096, 14));
    }

    #[test]
    fn a_tower_of_unknown_heads_is_refused() {
        assert!(config_from_shapes(&tower(64)).unwrap_err().contains("--vision-tower"));
    }
}
