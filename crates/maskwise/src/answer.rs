use crate::error::Result;
use candle_core::Tensor;
use maskwise_data::draw::{self, Layer, OverlayStyle, PointMark, palette_color};
use maskwise_data::image::RgbImage;
use maskwise_data::mask::Mask;
use maskwise_data::mask::rle::Rle;
use maskwise_models::heads::similarity_points::{balanced_points, full_resolution_map};
use maskwise_models::sam::postprocess_masks;
use maskwise_models::systems::read::{Family, StopReason};
use serde::{Deserialize, Serialize};

/// What came of a question.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked.
    pub question: String,
    /// The answer in words; `[SEG]` stays in it where a mask belongs.
    pub text: String,
    /// Whether there is a mask.
    pub outcome: Outcome,
    /// One mask for each `[SEG]` of the answer, in order.
    pub masks: Vec<AnswerMask>,
    /// Whether the answer was given by the caller rather than written by the model.
    pub teacher_forced: bool,
    /// Why writing ended; none for a teacher-forced answer.
    pub stop: Option<StopReason>,
    /// How long each stage took.
    pub timings: Timings,
    /// Which model answered.
    pub model: ModelIdentity,
}

/// Whether an answer came with a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// At least one mask has a pixel.
    Segmented,
    /// The model wrote no `[SEG]`: it says that the thing is not there, or just talks.
    Declined,
    /// There is a `[SEG]`, but no mask has a pixel.
    Empty,
}

impl Outcome {
    pub(crate) fn of(masks: &[AnswerMask]) -> Self {
        if masks.is_empty() {
            Self::Declined
        } else if masks.iter().all(|mask| mask.mask.is_empty()) {
            Self::Empty
        } else {
            Self::Segmented
        }
    }
}

/// The mask of one `[SEG]`.
#[derive(Debug, Clone)]
pub struct AnswerMask {
    /// The mask, at the size of the image.
    pub mask: Mask,
    /// The words of the answer before this `[SEG]`.
    pub phrase: String,
    /// How sure the model seems.
    pub scores: Scores,
    /// The points that prompted SAM, in pixels of the image; none for LISA and SESAME.
    pub points: Vec<PointMark>,
    /// The mask decoder's logits, `[side, side]`.
    pub(crate) low_resolution: Tensor,
    pub(crate) similarity: Tensor,
    pub(crate) projector_similarity: Tensor,
    pub(crate) decoder: DecoderStates,
    pub(crate) size: (usize, usize),
    /// Side of the square map between the token grid and the image.
    pub(crate) map_size: usize,
}

/// What SAM's mask decoder made of its tokens and of the image.
#[derive(Debug, Clone)]
pub(crate) struct DecoderStates {
    /// `[tokens, dim]`
    pub(crate) tokens: Tensor,
    /// `[grid², dim]`
    pub(crate) image: Tensor,
    /// Side of SAM's square input.
    pub(crate) image_size: usize,
    /// (height, width) of the image in it.
    pub(crate) input_size: (usize, usize),
}

/// Which token of SAM's mask decoder stands for `[SEG]` in [`AnswerMask::decoder_similarity_map`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DecoderToken {
    /// The text prompt, which is the last token.
    #[default]
    Seg,
    /// The one before it, which the original's figures show: the last mask token without points, SAM's padding point with points
    /// (spec 1.8, row 13).
    Original,
}

/// How sure the model seems. None of these is calibrated: they order answers of one model, no more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The mask decoder's own estimate of the IoU, about 0..1.
    pub predicted_iou: f32,
    /// Mean probability of the pixels in the mask, 0.5..1; 0 for an empty mask.
    pub mean_probability: f32,
    /// Probability of `[SEG]` where it was written, 0..1.
    pub seg_probability: f32,
}

/// Seconds that each stage took; 0 where the encoding of an earlier question was used.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// CLIP and projector.
    pub encode_for_language: f64,
    /// The language model. Of questions that were answered together each has its share of the time, by the tokens of its answer.
    pub answer: f64,
    /// SAM's image encoder; nothing where it ran beside the language model, whose time lasts until both are done then.
    pub encode_for_masks: f64,
    /// Points, prompt encoder, mask decoder, resizing.
    pub masks: f64,
    /// Tokens of the answer.
    pub tokens: usize,
}

/// Which model answered, and how it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// The folder, the repository, or `embedded:NAME`.
    pub name: String,
    /// The commit of a repository, or the version of the embedded model.
    pub revision: Option<String>,
    /// SHA-256 of `config.json`, hexadecimal.
    pub config_sha256: String,
    /// Which published system it is.
    pub system: Family,
    /// The language model's dtype; `int8` or `int4` where it keeps its weights so.
    pub dtype: String,
    /// `exact` or `fast`.
    pub mode: String,
    /// The device.
    pub device: String,
}

impl Answer {
    /// The image with each mask tinted and outlined in a colour of its own.
    ///
    /// The points of a single mask are drawn: red positive, blue negative, grey neutral. Of several masks only the positive
    /// ones are, since one mask's negative points lie on the others; [`AnswerMask::draw_on`] shows all points of one.
    ///
    /// # Errors
    /// When the image has another size than the masks.
    pub fn draw_on(&self, image: &RgbImage) -> Result<RgbImage> {
        let several = self.masks.len() > 1;
        let points: Vec<Vec<PointMark>> = self
            .masks
            .iter()
            .map(|mask| mask.points.iter().filter(|point| !several || point.label == 1).copied().collect())
            .collect();
        let layers: Vec<Layer> = self
            .masks
            .iter()
            .zip(&points)
            .enumerate()
            .map(|(index, (mask, points))| Layer { mask: &mask.mask, color: palette_color(index), points })
            .collect();
        Ok(draw::overlay(image, &layers, &OverlayStyle::for_image(image))?)
    }
}

impl AnswerMask {
    /// The image with this mask alone, and all points that prompted it.
    ///
    /// # Errors
    /// When the image has another size than the mask.
    pub fn draw_on(&self, image: &RgbImage) -> Result<RgbImage> {
        let layer = Layer { mask: &self.mask, color: palette_color(0), points: &self.points };
        Ok(draw::overlay(image, &[layer], &OverlayStyle::for_image(image))?)
    }

    /// The mask as COCO RLE.
    pub fn to_rle(&self) -> Rle {
        self.mask.to_rle()
    }

    /// The logits at every pixel, row-major; the mask is where they are above 0.
    ///
    /// # Errors
    /// When the system has no memory for them.
    pub fn logits(&self) -> Result<Vec<f32>> {
        let DecoderStates { image_size, input_size, .. } = self.decoder;
        let logits = self.low_resolution.unsqueeze(0)?.unsqueeze(0)?;
        let logits = postprocess_masks(&logits, image_size, input_size, self.size)?;
        Ok(logits.flatten_all()?.to_vec1()?)
    }

    /// Similarity of the `[SEG]` state with the image tokens at every pixel, normalised to 0..1, row-major; 0 outside of the
    /// central square that the language model saw.
    ///
    /// # Errors
    /// When the similarity is the same everywhere.
    pub fn similarity_map(&self) -> Result<Vec<f32>> {
        let map = full_resolution_map(&self.similarity, self.size, self.map_size)?;
        Ok(map.flatten_all()?.to_vec1()?)
    }

    /// The highest cells of the similarity as positive and as many of the lowest as negative points (spec 7.4, `visualize/vis.py`): of the grid
    /// reduced by 2 and normalised to 0..1, as many as have 0.8 or more, at most half of them. In whole pixels of the image, which the grid
    /// is stretched over, as that older code has it.
    ///
    /// # Errors
    /// As [`AnswerMask::similarity_map`].
    pub fn balanced_points(&self) -> Result<Vec<PointMark>> {
        let points = balanced_points(&self.similarity, self.size)?;
        Ok(points.into_iter().map(|(x, y, label)| PointMark { x, y, label }).collect())
    }

    /// As [`AnswerMask::similarity_map`], with the image tokens as the projector made them, before the language model.
    ///
    /// # Errors
    /// As there.
    pub fn projector_similarity_map(&self) -> Result<Vec<f32>> {
        let map = full_resolution_map(&self.projector_similarity, self.size, self.map_size)?;
        Ok(map.flatten_all()?.to_vec1()?)
    }

    /// Similarity of a token of SAM's mask decoder with its image cells at every pixel, normalised to 0..1, row-major.
    ///
    /// # Errors
    /// When the decoder has no such token.
    pub fn decoder_similarity_map(&self, token: DecoderToken) -> Result<Vec<f32>> {
        let DecoderStates { tokens, image, image_size, input_size } = &self.decoder;
        let back = match token {
            DecoderToken::Seg => 1,
            DecoderToken::Original => 2,
        };
        let token = tokens.get(tokens.dim(0)? - back)?;
        let cells = image.matmul(&token.unsqueeze(1)?)?;
        let side = cells.dim(0)?.isqrt();
        let map =
            postprocess_masks(&cells.reshape((1, 1, side, side))?, *image_size, *input_size, self.size)?;
        let values: Vec<f32> = map.flatten_all()?.to_vec1()?;
        let (low, high) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
        // A map that is the same everywhere is shown as nothing.
        let range = if high > low { high - low } else { 1.0 };
        Ok(values.iter().map(|value| (value - low) / range).collect())
    }

    /// The similarity as a heat map over the image.
    ///
    /// # Errors
    /// As [`AnswerMask::similarity_map`], or when the image has another size than the mask.
    pub fn draw_similarity(&self, image: &RgbImage) -> Result<RgbImage> {
        let mut picture = draw::heat_map(image, &self.similarity_map()?)?;
        draw::draw_points(&mut picture, &self.points, OverlayStyle::for_image(image).point_radius);
        Ok(picture)
    }
}
