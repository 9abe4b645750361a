use super::ReadModel;
use super::model::placeholder_position;
use crate::error::Result;
use crate::heads::similarity_points::{self, SimilarityPoints};
use crate::sam::{PointPrompt, Prompts, postprocess_masks};
use candle_core::{DType, Tensor};

/// What masks are made from, besides the hidden states.
#[derive(Debug, Clone, Copy)]
pub struct SegmentInputs<'a> {
    /// SAM's embedding of the image, `[1, dim, grid, grid]`.
    pub embedding: &'a Tensor,
    /// (height, width) of the image as SAM's preprocessor resized it, before padding.
    pub input_size: (usize, usize),
    /// (height, width) of the image.
    pub original_size: (usize, usize),
}

/// The mask of one `[SEG]`.
#[derive(Debug, Clone)]
pub struct SegmentedMask {
    /// Mask logits at the size of the image, `[height, width]` f32; above 0 is the mask.
    pub logits: Tensor,
    /// Mask logits at the decoder's resolution, `[4·grid, 4·grid]`.
    pub low_resolution: Tensor,
    /// The decoder's own estimate of the IoU; not calibrated.
    pub predicted_iou: f32,
    /// Similarity of the state with every image token, `[tokens]`.
    pub similarity: Tensor,
    /// The points that prompted SAM, where the model uses points.
    pub points: Option<SimilarityPoints>,
    /// The points in the frame of SAM's square input, `[1, points, 2]` f32.
    pub sam_points: Option<Tensor>,
    /// The text prompt, `[dim]`.
    pub seg_embedding: Tensor,
    /// The prompt tokens, `[tokens, dim]`: points, padding point, text.
    pub sparse: Tensor,
}

impl ReadModel {
    /// Where in the hidden states the predictor of each `[SEG]` of `ids` stands: the position before it (spec 1.6).
    ///
    /// # Errors
    /// When `ids` does not hold exactly one image placeholder.
    pub fn seg_positions(&self, ids: &[i64]) -> Result<Vec<usize>> {
        let image = placeholder_position(ids)?;
        let shift = |index: usize| if index > image { index + self.image_tokens() - 1 } else { index };
        let segs = ids.iter().enumerate().skip(1).filter(|(_, id)| **id == i64::from(self.special.seg));
        Ok(segs.map(|(index, _)| shift(index) - 1).collect())
    }

    /// One mask for each `[SEG]` of `ids`, from the hidden states `[positions, width]` of those ids.
    ///
    /// Unlike the reference, which fails on a second `[SEG]` with points (spec 9, row 6), each gets points of its own.
    ///
    /// # Errors
    /// [`crate::ModelError::Similarity`] when a similarity map cannot be turned into points, or shapes that do not fit.
    pub fn segment(&self, ids: &[i64], hidden: &Tensor, inputs: SegmentInputs) -> Result<Vec<SegmentedMask>> {
        self.segment_positions(ids, hidden, &self.seg_positions(ids)?, inputs)
    }

    /// As [`ReadModel::segment`], for some of [`ReadModel::seg_positions`] only.
    ///
    /// # Errors
    /// As [`ReadModel::segment`], or when a position lies outside of `hidden`.
    pub fn segment_positions(
        &self,
        ids: &[i64],
        hidden: &Tensor,
        positions: &[usize],
        inputs: SegmentInputs,
    ) -> Result<Vec<SegmentedMask>> {
        let image_states = hidden.narrow(0, placeholder_position(ids)?, self.image_tokens())?;
        let segment = |position: &usize| self.segment_at(&hidden.get(*position)?, &image_states, inputs);
        positions.iter().map(segment).collect()
    }

    /// The mask of the `[SEG]` that `seg_state` `[width]` predicts.
    fn segment_at(
        &self,
        seg_state: &Tensor,
        image_states: &Tensor,
        inputs: SegmentInputs,
    ) -> Result<SegmentedMask> {
        let similarity = similarity_points::similarity(image_states, seg_state)?;
        let seg_embedding = self.text_hidden_fcs.forward(&seg_state.unsqueeze(0)?)?;
        let points = match &self.similarity_points {
            Some(config) => {
                Some(similarity_points::similarity_points(&similarity, inputs.original_size, config)?)
            }
            None => None,
        };
        let sam_points = match &points {
            Some(points) => Some(to_sam_frame(&points.coordinates, inputs)?.unsqueeze(0)?),
            None => None,
        };
        let prompt = points.as_ref().zip(sam_points.as_ref()).map(|(points, coordinates)| PointPrompt {
            coordinates: coordinates.clone(),
            labels: vec![points.labels()],
        });
        let prompts =
            Prompts { points: prompt, text: Some(seg_embedding.unsqueeze(1)?), ..Prompts::default() };
        let prompts = self.sam.prompt_encoder.forward(&prompts)?;
        let prediction = self.sam.decode(inputs.embedding, &prompts, false)?;
        let image_size = self.sam.image_encoder.image_size();
        let logits =
            postprocess_masks(&prediction.logits, image_size, inputs.input_size, inputs.original_size)?;
        Ok(SegmentedMask {
            logits: logits.squeeze(0)?.squeeze(0)?,
            low_resolution: prediction.logits.squeeze(0)?.squeeze(0)?,
            predicted_iou: prediction.iou.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?[0],
            similarity,
            points,
            sam_points,
            seg_embedding: seg_embedding.squeeze(0)?,
            sparse: prompts.sparse.squeeze(0)?,
        })
    }
}

/// Step G: `points` `[points, 2]` on the image to SAM's square input.
fn to_sam_frame(points: &Tensor, inputs: SegmentInputs) -> Result<Tensor> {
    let scale = [
        (inputs.input_size.1 as f64 / inputs.original_size.1 as f64) as f32,
        (inputs.input_size.0 as f64 / inputs.original_size.0 as f64) as f32,
    ];
    Ok(points.broadcast_mul(&Tensor::from_slice(&scale, (1, 2), points.device())?)?)
}
