//! Segment Anything (spec 1.9): image encoder, prompt encoder with text embeddings, mask decoder.
//!
//! Every width, depth, window and grid follows from the shapes of the tensors; only the number of heads of the decoder does
//! not show there.

mod image_encoder;
mod mask_decoder;
mod postprocess;
mod prompt_encoder;
mod two_way_transformer;

pub use image_encoder::{ImageEncoder, relative_positions};
pub use mask_decoder::{MaskDecoder, MaskPrediction};
pub use postprocess::postprocess_masks;
pub use prompt_encoder::{PointPrompt, PromptEmbeddings, PromptEncoder, Prompts};
pub use two_way_transformer::TwoWayTransformer;

use crate::error::Result;
use candle_core::{DType, Tensor};
use maskwise_nn::weights::Weights;

/// Heads of the two-way transformer in every published SAM.
pub const DECODER_HEADS: usize = 8;

/// A whole SAM.
#[derive(Debug, Clone)]
pub struct Sam {
    /// The image encoder: pixels to an embedding.
    pub image_encoder: ImageEncoder,
    /// The prompt encoder: points, boxes, masks and text to tokens.
    pub prompt_encoder: PromptEncoder,
    /// The mask decoder: embedding and tokens to mask logits.
    pub mask_decoder: MaskDecoder,
}

impl Sam {
    /// Loads a SAM from `weights` standing at its root (`image_encoder.`, `prompt_encoder.`, `mask_decoder.`).
    ///
    /// `prompt_dtype` is the prompt encoder's: in half precision it decides where points lie (spec 1.9), so it may be narrower
    /// than that of the rest.
    ///
    /// # Errors
    /// When a tensor that decides the sizes is missing, or reading fails.
    pub fn load(decoder_heads: usize, prompt_dtype: DType, weights: &Weights) -> Result<Self> {
        let image_encoder = ImageEncoder::load(&weights.pp("image_encoder"))?;
        let (grid, image_size) = (image_encoder.grid(), image_encoder.image_size());
        Ok(Self {
            prompt_encoder: PromptEncoder::load(
                grid,
                image_size,
                &weights.pp("prompt_encoder").with_dtype(prompt_dtype),
            )?,
            mask_decoder: MaskDecoder::load(decoder_heads, &weights.pp("mask_decoder"))?,
            image_encoder,
        })
    }

    /// Mask logits of prompts on one image, at the decoder's resolution.
    ///
    /// `embedding` `[1, dim, grid, grid]` is shared by the `batch` prompts; `prompts.sparse` is `[batch, tokens, dim]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn decode(
        &self,
        embedding: &Tensor,
        prompts: &PromptEmbeddings,
        multimask: bool,
    ) -> Result<MaskPrediction> {
        let dtype = embedding.dtype();
        let position = self.prompt_encoder.dense_positions()?.to_dtype(dtype)?;
        let (sparse, dense) = (prompts.sparse.to_dtype(dtype)?, prompts.dense.to_dtype(dtype)?);
        self.mask_decoder.forward(embedding, &position, &sparse, &dense, multimask)
    }
}
