use super::plan::{Planned, checkpoint, vision_tower};
use candle_core::DType;
use maskwise_nn::weights::TensorInfo;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The sizes of a READ: everything that the published checkpoints fix and a small one may choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSizes {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// LLaMA.
    pub language: LanguageSizes,
    /// The vision tower.
    pub clip: ClipSizes,
    /// SAM's image encoder.
    pub sam: SamSizes,
    /// SAM's prompt encoder and mask decoder.
    pub decoder: DecoderSizes,
}

/// Sizes of LLaMA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageSizes {
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Longest sequence, image tokens included.
    pub max_position_embeddings: usize,
}

/// Sizes of CLIP's vision transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipSizes {
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Width of the hidden states; the MLP is four times as wide.
    pub hidden_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Which layer's output the language model sees, counted from the end: −1 is the last.
    pub select_layer: i64,
}

/// Sizes of SAM's image encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamSizes {
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Width of the hidden states; the MLP is four times as wide.
    pub hidden_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Side of an attention window in cells.
    pub window: usize,
    /// The layers whose attention is global, counted from 0.
    pub global_layers: Vec<usize>,
}

/// Sizes of SAM's prompt encoder and mask decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderSizes {
    /// Width of prompts and of the image embedding; a multiple of 8.
    pub dim: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the MLP of the two-way transformer.
    pub intermediate_size: usize,
    /// Points that prompt it, at most.
    pub num_points: usize,
}

impl ModelSizes {
    /// READ-7B and READ-13B.
    pub fn published(language: LanguageSizes) -> Self {
        Self {
            vocab_size: 32_003,
            language,
            clip: ClipSizes {
                image_size: 336,
                patch_size: 14,
                hidden_size: 1024,
                layers: 24,
                heads: 16,
                select_layer: -2,
            },
            sam: SamSizes {
                image_size: 1024,
                patch_size: 16,
                hidden_size: 1280,
                layers: 32,
                heads: 16,
                window: 14,
                global_layers: vec![7, 15, 23, 31],
            },
            decoder: DecoderSizes { dim: 256, heads: 8, intermediate_size: 2048, num_points: 30 },
        }
    }

    /// The tensors of the checkpoint and of the vision tower, by name, in f32.
    pub(crate) fn tensors(&self) -> (BTreeMap<String, TensorInfo>, BTreeMap<String, TensorInfo>) {
        let infos = |planned: Vec<Planned>| {
            let info = |tensor: Planned| {
                let info = TensorInfo { shape: tensor.shape, dtype: DType::F32, file: PathBuf::new() };
                (tensor.name, info)
            };
            planned.into_iter().map(info).collect()
        };
        (infos(checkpoint(self)), infos(vision_tower(&self.clip)))
    }

    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn check(&self) -> Result<(), String> {
        let Self { language, clip, sam, decoder, .. } = self;
        let divides = [
            ("language.hidden_size", language.hidden_size, "heads", 2 * language.heads),
            ("clip.image_size", clip.image_size, "patch_size", clip.patch_size),
            ("clip.hidden_size", clip.hidden_size, "heads", clip.heads),
            ("sam.image_size", sam.image_size, "patch_size", sam.patch_size),
            ("sam.hidden_size", sam.hidden_size, "heads", sam.heads),
            ("decoder.dim", decoder.dim, "8", 8),
            ("decoder.dim", decoder.dim / 2, "twice the heads", decoder.heads),
        ];
        for (name, size, by_name, by) in divides {
            if by == 0 || size == 0 || !size.is_multiple_of(by) {
                return Err(format!("{name} does not divide by {by_name} ({size} by {by})"));
            }
        }
        let positive = [
            ("vocab_size", self.vocab_size),
            ("language.intermediate_size", language.intermediate_size),
            ("language.layers", language.layers),
            ("clip.layers", clip.layers),
            ("sam.layers", sam.layers),
            ("sam.window", sam.window),
            ("decoder.intermediate_size", decoder.intermediate_size),
            ("decoder.num_points", decoder.num_points),
        ];
        match positive.into_iter().find(|(_, size)| *size == 0) {
            Some((name, _)) => Err(format!("{name} is 0")),
            None => Ok(()),
        }
    }
}
