use super::LlavaConfig;
use crate::clip::{ClipVisionConfig, ClipVisionModel};
use crate::error::{ModelError, Result};
use crate::heads::TextHiddenFcs;
use crate::heads::similarity_points::SimilarityPointsConfig;
use crate::llama::LlamaModel;
use crate::sam::Sam;
use candle_core::{DType, Device, Tensor};
use maskwise_data::image::PixelValues;
use maskwise_data::text::{IMAGE_PLACEHOLDER, SpecialIds};
use maskwise_nn::layers::Linear;
use maskwise_nn::ops;
use maskwise_nn::weights::{Loaded, Weights};

/// The networks of READ, LISA or SESAME, on token ids and tensors; conversation and files are [`super::ModelFiles`]' business.
#[derive(Debug, Clone)]
pub struct ReadModel {
    /// CLIP up to the selected layer.
    pub vision_tower: ClipVisionModel,
    /// From the tower's width to the language model's.
    pub mm_projector: Projector,
    /// The language model.
    pub language_model: LlamaModel,
    /// From the state that predicts `[SEG]` to a prompt for SAM.
    pub text_hidden_fcs: TextHiddenFcs,
    /// Segment Anything.
    pub sam: Sam,
    /// How similarity becomes points; none prompts SAM with the text embedding alone.
    pub similarity_points: Option<SimilarityPointsConfig>,
    /// Whether SAM is prompted with the text embedding; without it there must be points.
    pub text_prompt: bool,
    /// Token ids by vocabulary lookup.
    pub special: SpecialIds,
    pub(super) vision_dtype: DType,
    pub(super) language_dtype: DType,
    pub(super) sam_dtype: DType,
    pub(super) device: Device,
}

/// The weights of each part, each with the dtype that the part computes in and the quantization of its large linear layers.
pub struct PartWeights {
    /// The checkpoint, in the language model's dtype.
    pub language: Weights,
    /// The checkpoint, in SAM's dtype.
    pub sam: Weights,
    /// The vision tower's own state dict.
    pub vision: Weights,
}

impl ReadModel {
    /// Builds the model, with the text prompt; the caller ends with [`Weights::finish`] on the checkpoint and on the tower.
    ///
    /// # Errors
    /// When the configuration does not fit the tensors, or reading fails.
    pub fn load(
        config: &LlavaConfig,
        vision_config: &ClipVisionConfig,
        similarity_points: Option<SimilarityPointsConfig>,
        decoder_heads: usize,
        special: SpecialIds,
        weights: &PartWeights,
    ) -> Result<Self> {
        let depth = config.vision_depth(vision_config.num_hidden_layers).map_err(ModelError::Prompt)?;
        let (vision_width, width) = (vision_config.hidden_size, config.language_model.hidden_size);
        let model = weights.language.pp("model");
        Ok(Self {
            vision_tower: ClipVisionModel::load(vision_config, depth, &weights.vision)?,
            mm_projector: Projector::load(vision_width, width, &model.pp("mm_projector"))?,
            language_model: LlamaModel::load(&config.language_model, &weights.language)?,
            text_hidden_fcs: TextHiddenFcs::load(width, &model.pp("text_hidden_fcs"))?,
            sam: Sam::load(decoder_heads, weights.language.dtype(), &weights.sam.pp("model.visual_model"))?,
            similarity_points,
            text_prompt: true,
            special,
            vision_dtype: weights.vision.dtype(),
            language_dtype: weights.language.dtype(),
            sam_dtype: weights.sam.dtype(),
            device: weights.language.device().clone(),
        })
    }

    /// How many image tokens take the placeholder's place.
    pub fn image_tokens(&self) -> usize {
        self.vision_tower.config().grid().pow(2)
    }

    /// The image tokens `[1, tokens, width]` of CLIP's pixels.
    ///
    /// # Errors
    /// When the pixels have another size than the tower takes.
    pub fn encode_for_language(&self, pixels: &PixelValues) -> Result<Tensor> {
        Ok(self.mm_projector.forward(&self.clip_features(pixels)?)?)
    }

    /// What the projector makes image tokens of: the patches' features `[1, tokens, vision width]` of CLIP's pixels, in the language
    /// model's dtype.
    ///
    /// # Errors
    /// When the pixels have another size than the tower takes.
    pub fn clip_features(&self, pixels: &PixelValues) -> Result<Tensor> {
        let pixels = pixel_tensor(pixels, self.vision_dtype, &self.device)?;
        Ok(self.vision_tower.patch_features(&pixels)?.to_dtype(self.language_dtype)?)
    }

    /// SAM's embedding `[1, dim, grid, grid]` of its pixels.
    ///
    /// # Errors
    /// When the pixels have another size than the encoder takes.
    pub fn encode_for_masks(&self, pixels: &PixelValues) -> Result<Tensor> {
        Ok(self.sam.image_encoder.forward(&pixel_tensor(pixels, self.sam_dtype, &self.device)?)?)
    }

    /// The embeddings `[1, ids − 1 + image tokens, width]` of `ids`, of which exactly one is the image placeholder, with
    /// `image_tokens` `[1, tokens, width]` in its place (spec 1.4).
    ///
    /// # Errors
    /// [`ModelError::Prompt`] when there is not exactly one placeholder, or an id is not in the vocabulary.
    pub fn splice(&self, ids: &[i64], image_tokens: &Tensor) -> Result<Tensor> {
        let position = placeholder_position(ids)?;
        let before = self.embed(&ids[..position])?;
        let after = self.embed(&ids[position + 1..])?;
        let parts: Vec<&Tensor> =
            [before.as_ref(), Some(image_tokens), after.as_ref()].into_iter().flatten().collect();
        Ok(Tensor::cat(&parts, 1)?)
    }

    /// The normalised hidden states `[ids − 1 + image tokens, width]` of a whole prompt in one pass: the teacher-forced mode.
    ///
    /// # Errors
    /// As [`ReadModel::splice`], or when the prompt is longer than the context.
    pub fn hidden_states(&self, ids: &[i64], image_tokens: &Tensor) -> Result<Tensor> {
        let embeddings = self.splice(ids, image_tokens)?;
        Ok(self.language_model.forward(&embeddings, None, None)?.squeeze(0)?)
    }

    /// `[1, ids, width]`, or nothing for no ids.
    pub(super) fn embed(&self, ids: &[i64]) -> Result<Option<Tensor>> {
        if ids.is_empty() {
            return Ok(None);
        }
        let rows = self.language_model.config().vocab_size;
        let valid = |id: &i64| u32::try_from(*id).ok().filter(|id| (*id as usize) < rows);
        let ids: Option<Vec<u32>> = ids.iter().map(valid).collect();
        let Some(ids) = ids else {
            return Err(ModelError::Prompt(format!(
                "a token id is not below the {rows} rows of the vocabulary"
            )));
        };
        let count = ids.len();
        let ids = Tensor::from_vec(ids, (1, count), &self.device)?;
        Ok(Some(self.language_model.embed(&ids)?))
    }
}

/// The index of the one image placeholder.
pub(super) fn placeholder_position(ids: &[i64]) -> Result<usize> {
    let mut positions = ids.iter().enumerate().filter(|(_, id)| **id == IMAGE_PLACEHOLDER);
    match (positions.next(), positions.next()) {
        (Some((position, _)), None) => Ok(position),
        (None, _) => Err(ModelError::Prompt("the prompt holds no image".to_owned())),
        _ => Err(ModelError::Prompt("the prompt holds more than one image".to_owned())),
    }
}

fn pixel_tensor(pixels: &PixelValues, dtype: DType, device: &Device) -> Result<Tensor> {
    let shape = (1, pixels.channels, pixels.height, pixels.width);
    Ok(Tensor::from_slice(&pixels.data, shape, device)?.to_dtype(dtype)?)
}

/// LLaVA's projector: a single linear layer (LISA) or `mlp2x_gelu` (LLaVA-1.5); the tensors tell which (spec 1.3).
#[derive(Debug, Clone)]
pub enum Projector {
    /// `y = W x + b`.
    Linear(Linear),
    /// Linear, exact GELU, linear.
    Mlp2xGelu(Linear, Linear),
}

impl Projector {
    /// Loads the projector from `weights` standing at `model.mm_projector`.
    ///
    /// # Errors
    /// When reading fails; missing and mis-shaped tensors are reported by [`Weights::finish`].
    pub fn load(input: usize, output: usize, weights: &Weights) -> Loaded<Self> {
        if weights.contains("weight") {
            return Ok(Self::Linear(Linear::load(input, output, weights)?));
        }
        let first = Linear::load(input, output, &weights.pp("0"))?;
        Ok(Self::Mlp2xGelu(first, Linear::load(output, output, &weights.pp("2"))?))
    }

    /// `features` `[.., vision width]` to `[.., width]`.
    ///
    /// # Errors
    /// When the width differs.
    pub fn forward(&self, features: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Linear(linear) => linear.forward(features),
            Self::Mlp2xGelu(first, second) => second.forward(&ops::gelu_erf(&first.forward(features)?)?),
        }
    }
}
