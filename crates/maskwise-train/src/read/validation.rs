use super::ReadLearner;
use crate::coverage::coverage;
use crate::{TrainError, Validation};
use candle_core::{DType, Tensor};
use maskwise_data::dataset::{ValidationDataset, ValidationItem};
use maskwise_data::draw::{
    Layer, OverlayStyle, PointMark, draw_points, heat_map, overlay, palette_color, side_by_side,
};
use maskwise_data::image::RgbImage;
use maskwise_data::mask::{Mask, overlap_with_target};
use maskwise_data::text::ConversationTemplate;
use maskwise_data::text::prompt::{question_prompt, tokenize_image_prompt};
use maskwise_models::heads::similarity_points::full_resolution_map;
use maskwise_models::systems::read::{ReadModel, SamInputs, SegmentInputs, SegmentedMask};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Where the answer of a validation comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerMode {
    /// It stands in the prompt, as in the papers' validation (spec 4.3). Items whose answer has no `[SEG]` are left out.
    #[default]
    TeacherForced,
    /// The model writes it.
    Generated,
}

/// Tokens that an answer may have.
const MOST_TOKENS: usize = 96;
/// Added to the denominators of the means (spec 7.2).
const MEAN_EPSILON: f64 = 1e-5;
const CUMULATIVE_EPSILON: f64 = 1e-10;

/// What one item came to.
struct Measured {
    intersection: u64,
    union: u64,
    exists: bool,
    found: bool,
    /// Whether the cell of highest similarity holds a pixel of the target; none without a target or a `[SEG]`.
    pointed: Option<bool>,
    picture: Option<RgbImage>,
}

/// gIoU and cIoU of the model's present values on `items` (spec 7.2); where it writes its answers, also `see`, the share of items of
/// which it says rightly whether what is asked for is there, and `giou_present`, the mean over items of which it is. `pointing` is the share
/// of items with target and `[SEG]` whose most similar image token lies on the target (the pointing game of Zhang et al. 2016). The first
/// `pictures` items are drawn: image, truth, similarity with points, prediction.
///
/// # Errors
/// When an item cannot be read, or the model refuses.
pub fn validate(
    learner: &ReadLearner,
    items: &dyn ValidationDataset,
    mode: AnswerMode,
    pictures: usize,
) -> Result<Validation, TrainError> {
    let model = learner.model()?;
    let template = learner.template(mode)?;
    let measure = |index: usize| {
        let item = items.item(index)?;
        let id = item.id.clone();
        measure(learner, &model, &template, item, mode, index < pictures).map_err(|error| error.of_item(&id))
    };
    let measured: Vec<Option<Measured>> =
        (0..items.len()).into_par_iter().map(measure).collect::<Result<_, _>>()?;
    let measured: Vec<Measured> = measured.into_iter().flatten().collect();
    let iou = |item: &Measured| match item.union {
        0 => 1.0,
        union => item.intersection as f64 / (union as f64 + MEAN_EPSILON),
    };
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / (values.len() as f64 + MEAN_EPSILON);
    let giou = mean(measured.iter().map(iou).collect());
    let intersection: u64 = measured.iter().map(|item| item.intersection).sum();
    let union: u64 = measured.iter().map(|item| item.union).sum();
    let ciou = intersection as f64 / (union as f64 + CUMULATIVE_EPSILON);
    let pointing =
        mean(measured.iter().filter_map(|item| item.pointed).map(|hit| f64::from(u8::from(hit))).collect());
    let mut scores =
        vec![("giou".to_owned(), giou), ("ciou".to_owned(), ciou), ("pointing".to_owned(), pointing)];
    if mode == AnswerMode::Generated {
        let right = measured.iter().map(|item| f64::from(u8::from(item.found == item.exists))).collect();
        scores.push(("see".to_owned(), mean(right)));
        let present = measured.iter().filter(|item| item.exists).map(iou).collect();
        scores.push(("giou_present".to_owned(), mean(present)));
    }
    let pictures = measured.into_iter().filter_map(|item| item.picture).enumerate();
    let pictures = pictures.map(|(index, picture)| (format!("validation-{index:03}"), picture)).collect();
    Ok(Validation { scores, pictures })
}

fn measure(
    learner: &ReadLearner,
    model: &ReadModel,
    template: &ConversationTemplate,
    item: ValidationItem,
    mode: AnswerMode,
    with_picture: bool,
) -> Result<Option<Measured>, TrainError> {
    let inputs = &learner.files().inputs;
    let failed = |error: maskwise_data::image::PreprocessError| TrainError::Item {
        id: item.id.clone(),
        reason: error.to_string(),
    };
    let image_tokens =
        learner.features().image_tokens(model, &inputs.for_language(&item.image).map_err(failed)?)?;
    let (ids, hidden) = match mode {
        AnswerMode::TeacherForced => {
            let ids = learner.ids(template, &item.question, Some(&item.answer))?;
            let hidden = model.hidden_states(&ids, &image_tokens)?;
            (ids, hidden)
        }
        AnswerMode::Generated => {
            let prompt = learner.ids(template, &item.question, None)?;
            let generation =
                model.generate(&prompt, &image_tokens, MOST_TOKENS, &mut |_| ControlFlow::Continue(()))?;
            (generation.ids, generation.hidden)
        }
    };
    let positions = model.seg_positions(&ids)?;
    if positions.is_empty() && mode == AnswerMode::TeacherForced {
        return Ok(None);
    }
    let sam = inputs.for_masks(&item.image).map_err(failed)?;
    let segmented = match positions.first() {
        Some(position) => Some(segment(learner, model, &ids, &hidden, *position, &sam)?),
        None => None,
    };
    let prediction = match &segmented {
        Some(mask) => {
            mask.logits.flatten_all()?.to_vec1::<f32>()?.iter().map(|logit| u8::from(*logit > 0.0)).collect()
        }
        None => vec![0; item.target.len()],
    };
    let picture = match with_picture {
        true => Some(draw(&item, segmented.as_ref(), &prediction, model)?),
        false => None,
    };
    let (intersection, union) = overlap_with_target(&prediction, &item.target);
    let found = prediction.contains(&1);
    let pointed = match &segmented {
        Some(mask) if item.exists => Some(points_at(&mask.similarity, &item)?),
        _ => None,
    };
    Ok(Some(Measured { intersection, union, exists: item.exists, found, pointed, picture }))
}

fn segment(
    learner: &ReadLearner,
    model: &ReadModel,
    ids: &[i64],
    hidden: &Tensor,
    position: usize,
    sam: &SamInputs,
) -> Result<SegmentedMask, TrainError> {
    let embedding = learner.features().sam_embedding(model, &sam.pixels)?;
    let inputs =
        SegmentInputs { embedding: &embedding, input_size: sam.input_size, original_size: sam.original_size };
    Ok(model.segment_positions(ids, hidden, &[position], inputs)?.remove(0))
}

/// Whether the cell of highest similarity holds a pixel of the item's target.
fn points_at(similarity: &Tensor, item: &ValidationItem) -> Result<bool, TrainError> {
    let similarity = similarity.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    let highest = (0..similarity.len()).max_by(|a, b| similarity[*a].total_cmp(&similarity[*b]));
    let target: Vec<u8> = item.target.iter().map(|value| u8::from(*value == 1)).collect();
    let (width, height) = (item.image.width() as usize, item.image.height() as usize);
    let target =
        Mask::from_values(&target, height, width).map_err(|error| TrainError::Other(error.into()))?;
    let covered = coverage(&target, similarity.len().isqrt());
    Ok(highest.is_some_and(|cell| covered[cell] > 0.0))
}

/// Image, truth, similarity with points, prediction, side by side.
fn draw(
    item: &ValidationItem,
    segmented: Option<&SegmentedMask>,
    prediction: &[u8],
    model: &ReadModel,
) -> Result<RgbImage, TrainError> {
    let (width, height) = (item.image.width() as usize, item.image.height() as usize);
    let other = |error: Box<dyn std::error::Error + Send + Sync>| TrainError::Other(error);
    let tinted = |values: Vec<u8>| -> Result<RgbImage, TrainError> {
        let mask = Mask::from_values(&values, height, width).map_err(|error| other(error.into()))?;
        let layer = Layer { mask: &mask, color: palette_color(0), points: &[] };
        overlay(&item.image, &[layer], &OverlayStyle::for_image(&item.image))
            .map_err(|error| other(error.into()))
    };
    let truth = tinted(item.target.iter().map(|value| u8::from(*value == 1)).collect())?;
    let found = tinted(prediction.to_vec())?;
    let mut similarity = RgbImage::clone(&item.image);
    if let Some(mask) = segmented {
        let map_size = model.similarity_points.as_ref().map_or(336, |config| config.map_size);
        let map = full_resolution_map(&mask.similarity, (height, width), map_size)?;
        let map = map.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        similarity = heat_map(&item.image, &map).map_err(|error| other(error.into()))?;
        if let Some(points) = &mask.points {
            let coordinates = points.coordinates.to_vec2::<f32>()?;
            let marks: Vec<PointMark> = coordinates
                .iter()
                .zip(points.labels())
                .map(|(place, label)| PointMark { x: place[0], y: place[1], label })
                .collect();
            draw_points(&mut similarity, &marks, OverlayStyle::for_image(&item.image).point_radius);
        }
    }
    Ok(side_by_side(&[&item.image, &truth, &similarity, &found]))
}

impl ReadLearner {
    /// The conversation template of a mode.
    fn template(&self, mode: AnswerMode) -> Result<ConversationTemplate, TrainError> {
        let names = &self.files().system.conversation;
        let name = match mode {
            AnswerMode::TeacherForced => &names.teacher_forced,
            AnswerMode::Generated => &names.generate,
        };
        ConversationTemplate::by_name(name)
            .map_err(|error| TrainError::setting("conversation", error.to_string()))
    }

    /// The ids of a question, with its answer where it is to be read.
    fn ids(
        &self,
        template: &ConversationTemplate,
        question: &str,
        answer: Option<&str>,
    ) -> Result<Vec<i64>, TrainError> {
        let prompt = question_prompt(template, question, answer);
        let ids = prompt.and_then(|prompt| tokenize_image_prompt(&self.files().tokenizer, &prompt));
        ids.map_err(|error| TrainError::Other(error.into()))
    }
}
