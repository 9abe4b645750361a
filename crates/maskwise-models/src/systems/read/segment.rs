use super::ReadModel;
use super::model::placeholder_position;
use crate::error::Result;
use crate::heads::similarity_points::{self, SimilarityPoints, SimilarityPointsConfig};
use crate::sam::{PointPrompt, Prompts, postprocess_masks};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

type TensorResult<T> = candle_core::Result<T>;

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

/// What of a `[SEG]` prompts SAM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaskPrompting {
    /// How points are made of the similarity; none for a prompt without points.
    pub points: Option<SimilarityPointsConfig>,
    /// Whether the text embedding is part of the prompt.
    pub text: bool,
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
    /// The text prompt, `[dim]`; SAM does not see it where the model prompts with points alone.
    pub seg_embedding: Tensor,
    /// The prompt tokens, `[tokens, dim]`: points, padding point, text, those of them that the model uses.
    pub sparse: Tensor,
    /// What the decoder's transformer made of its tokens, `[tokens, dim]`: IoU token, mask tokens, then those of `sparse`.
    pub decoder_tokens: Tensor,
    /// What it made of the image, `[grid², dim]`.
    pub decoder_image: Tensor,
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
        self.segment_positions_with(ids, hidden, positions, inputs, &self.mask_prompting())
    }

    /// As [`ReadModel::segment_positions`], prompting SAM otherwise than the model was made for.
    ///
    /// # Errors
    /// As there.
    pub fn segment_positions_with(
        &self,
        ids: &[i64],
        hidden: &Tensor,
        positions: &[usize],
        inputs: SegmentInputs,
        prompting: &MaskPrompting,
    ) -> Result<Vec<SegmentedMask>> {
        let image_states = hidden.narrow(0, placeholder_position(ids)?, self.image_tokens())?;
        let states =
            positions.iter().map(|position| hidden.get(*position)).collect::<TensorResult<Vec<_>>>()?;
        self.segment_states_with(&image_states, &states, inputs, prompting)
    }

    /// The masks of the states `[width]` that predict `[SEG]`, beside the image-token states `[tokens, width]`.
    ///
    /// States that yield equally many points are decoded together.
    ///
    /// # Errors
    /// As [`ReadModel::segment`].
    pub fn segment_states(
        &self,
        image_states: &Tensor,
        states: &[Tensor],
        inputs: SegmentInputs,
    ) -> Result<Vec<SegmentedMask>> {
        self.segment_states_with(image_states, states, inputs, &self.mask_prompting())
    }

    /// What prompts SAM in this model.
    pub fn mask_prompting(&self) -> MaskPrompting {
        MaskPrompting { points: self.similarity_points.clone(), text: self.text_prompt }
    }

    /// As [`ReadModel::segment_states`], prompting SAM otherwise than the model was made for.
    ///
    /// # Errors
    /// As [`ReadModel::segment`].
    pub fn segment_states_with(
        &self,
        image_states: &Tensor,
        states: &[Tensor],
        inputs: SegmentInputs,
        prompting: &MaskPrompting,
    ) -> Result<Vec<SegmentedMask>> {
        let prompts = states.iter().map(|state| self.prompt(image_states, state, inputs, prompting));
        let prompts = prompts.collect::<Result<Vec<_>>>()?;
        let mut masks = Vec::with_capacity(prompts.len());
        for group in prompts.chunk_by(|left, right| left.point_count() == right.point_count()) {
            masks.extend(self.decode_prompts(group, inputs, prompting.text)?);
        }
        Ok(masks)
    }

    /// The mask logits `[height, width]` that SAM draws for points of the image alone; of its three masks that of the highest predicted IoU.
    ///
    /// # Errors
    /// Without a point, or when shapes do not fit.
    pub fn segment_points(
        &self,
        points: &[[f32; 2]],
        labels: &[i32],
        inputs: SegmentInputs,
    ) -> Result<Tensor> {
        if points.is_empty() || points.len() != labels.len() {
            let reason = format!("{} points with {} labels prompt nothing", points.len(), labels.len());
            return Err(crate::ModelError::Prompt(reason));
        }
        let flat: Vec<f32> = points.iter().flatten().copied().collect();
        let coordinates = Tensor::from_vec(flat, (points.len(), 2), inputs.embedding.device())?;
        let coordinates = to_sam_frame(&coordinates, inputs)?.unsqueeze(0)?;
        let points = Some(PointPrompt { coordinates, labels: vec![labels.to_vec()] });
        let prompts = self.sam.prompt_encoder.forward(&Prompts { points, ..Prompts::default() })?;
        let prediction = self.sam.decode(inputs.embedding, &prompts, true)?;
        let image_size = self.sam.image_encoder.image_size();
        let logits =
            postprocess_masks(&prediction.logits, image_size, inputs.input_size, inputs.original_size)?;
        let expected = prediction.iou.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let best = (0..expected.len()).max_by(|a, b| expected[*a].total_cmp(&expected[*b])).unwrap_or(0);
        Ok(logits.squeeze(0)?.get(best)?)
    }

    /// Similarity, points and text prompt of one `[SEG]`.
    fn prompt(
        &self,
        image_states: &Tensor,
        seg_state: &Tensor,
        inputs: SegmentInputs,
        prompting: &MaskPrompting,
    ) -> Result<SegPrompt> {
        let similarity = similarity_points::similarity(image_states, seg_state)?;
        let embedding = self.text_hidden_fcs.forward(&seg_state.unsqueeze(0)?)?;
        let points = match &prompting.points {
            Some(config) => {
                Some(similarity_points::similarity_points(&similarity, inputs.original_size, config)?)
            }
            None => None,
        };
        let sam_points = match &points {
            Some(points) => Some(to_sam_frame(&points.coordinates, inputs)?),
            None => None,
        };
        Ok(SegPrompt { similarity, embedding, points, sam_points })
    }

    /// Masks of prompts with equally many points.
    fn decode_prompts(
        &self,
        group: &[SegPrompt],
        inputs: SegmentInputs,
        with_text: bool,
    ) -> Result<Vec<SegmentedMask>> {
        let coordinates = group.iter().map(|prompt| prompt.sam_points.clone()).collect::<Option<Vec<_>>>();
        let points = match coordinates {
            Some(coordinates) => Some(PointPrompt {
                coordinates: Tensor::stack(&coordinates, 0)?,
                labels: group
                    .iter()
                    .flat_map(|prompt| &prompt.points)
                    .map(SimilarityPoints::labels)
                    .collect(),
            }),
            None => None,
        };
        let text: Vec<&Tensor> = group.iter().map(|prompt| &prompt.embedding).collect();
        let text = if with_text { Some(Tensor::stack(&text, 0)?) } else { None };
        let prompts = Prompts { points, text, ..Prompts::default() };
        let prompts = self.sam.prompt_encoder.forward(&prompts)?;
        let prediction = self.sam.decode(inputs.embedding, &prompts, false)?;
        let image_size = self.sam.image_encoder.image_size();
        let logits =
            postprocess_masks(&prediction.logits, image_size, inputs.input_size, inputs.original_size)?;
        let iou = prediction.iou.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let mask = |(index, prompt): (usize, &SegPrompt)| {
            Ok(SegmentedMask {
                logits: logits.get(index)?.squeeze(0)?,
                low_resolution: prediction.logits.get(index)?.squeeze(0)?,
                predicted_iou: iou[index],
                similarity: prompt.similarity.clone(),
                points: prompt.points.clone(),
                sam_points: prompt.sam_points.as_ref().map(|points| points.unsqueeze(0)).transpose()?,
                seg_embedding: prompt.embedding.squeeze(0)?,
                sparse: prompts.sparse.get(index)?,
                decoder_tokens: prediction.tokens.get(index)?,
                decoder_image: prediction.image.get(index)?,
            })
        };
        group.iter().enumerate().map(mask).collect()
    }
}

/// What SAM is asked with for one `[SEG]`.
struct SegPrompt {
    similarity: Tensor,
    /// `[1, dim]`.
    embedding: Tensor,
    points: Option<SimilarityPoints>,
    /// `[points, 2]`.
    sam_points: Option<Tensor>,
}

impl SegPrompt {
    fn point_count(&self) -> Option<usize> {
        self.points.as_ref().map(|points| points.cells.len())
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
