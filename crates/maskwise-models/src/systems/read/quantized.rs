use super::ModelFiles;
use crate::error::Result;
use maskwise_nn::weights::{Quantization, Quantized, TensorSource};

/// How each part keeps the weights of its large linear layers: attention and MLP of the language model, the vision tower and SAM's image
/// encoder. Embeddings, heads, projections, norms and SAM's mask decoder stay in the part's dtype.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartQuantization {
    /// The language model.
    pub language: Quantization,
    /// The vision tower.
    pub vision: Quantization,
    /// SAM's image encoder.
    pub sam: Quantization,
}

/// Layers of the checkpoint that [`PartQuantization::language`] is about.
const LANGUAGE: &str = "model.layers.";
/// Layers of the checkpoint that [`PartQuantization::sam`] is about.
const SAM: &str = "model.visual_model.image_encoder.blocks.";
/// Layers of the tower that [`PartQuantization::vision`] is about.
const VISION: &str = "vision_model.encoder.layers.";

impl PartQuantization {
    /// Whether every part is kept in its own dtype.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The checkpoint with the weights of these parts rounded as they are read, under the names that a written folder has.
    pub fn of_checkpoint(self, checkpoint: Box<dyn TensorSource>) -> Box<dyn TensorSource> {
        Box::new(Quantized::new(checkpoint, |name| match name {
            name if name.starts_with(LANGUAGE) => self.language,
            name if name.starts_with(SAM) => self.sam,
            _ => Quantization::None,
        }))
    }

    /// As [`PartQuantization::of_checkpoint`], of the vision tower.
    pub fn of_vision_tower(self, tower: Box<dyn TensorSource>) -> Box<dyn TensorSource> {
        Box::new(Quantized::new(tower, |name| match name {
            name if name.starts_with(VISION) => self.vision,
            _ => Quantization::None,
        }))
    }
}

impl ModelFiles {
    /// Which parts are in few bits on the disk; they stay so when they are loaded.
    ///
    /// # Errors
    /// When the weights cannot be opened.
    pub fn stored_quantization(&self) -> Result<PartQuantization> {
        let of = |source: &dyn TensorSource, prefix: &str| {
            let names = source.tensors().keys().filter(|name| name.starts_with(prefix));
            let kept = names.map(|name| Quantization::of(name));
            kept.into_iter().find(|kept| *kept != Quantization::None).unwrap_or_default()
        };
        let checkpoint = self.open_checkpoint()?;
        Ok(PartQuantization {
            language: of(checkpoint.as_ref(), LANGUAGE),
            vision: of(self.open_vision_tower()?.as_ref(), VISION),
            sam: of(checkpoint.as_ref(), SAM),
        })
    }
}
