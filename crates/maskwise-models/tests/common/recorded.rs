//! Recorded runs of a whole system: images, sequences, generations and masks.

use super::goldens::{Goldens, binary};
use super::points::{SYSTEM_NAMES, compare_selection};
use super::system::{Seen, System, pixels};
use super::{FINAL_LOGITS, INTERMEDIATE, MASK_IOU, POINTS};
use candle_core::{DType, Tensor};
use maskwise_models::systems::read::{Generation, ReadModel, SegmentedMask, StopReason};
use serde::Deserialize;
use std::ops::ControlFlow;

/// One recorded conversation; what a set does not say is absent.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) sam_input_size: (usize, usize),
    pub(crate) original_size: (usize, usize),
    pub(crate) tf_prompt: String,
    pub(crate) ev_prompt: String,
    pub(crate) ev_text: String,
    #[serde(default)]
    pub(crate) ev_object_presence: Option<Vec<bool>>,
    #[serde(default)]
    tf_seg_hidden_index: Option<OneOrMany>,
    #[serde(default)]
    ev_seg_hidden_index: Option<OneOrMany>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(usize),
    Many(Vec<usize>),
}

impl Case {
    /// The cases of a manifest.
    pub(crate) fn all(goldens: &Goldens) -> Vec<Self> {
        let cases: Vec<Self> = serde_json::from_value(goldens.value("cases").clone()).unwrap();
        assert!(!cases.is_empty(), "the manifest has no cases");
        cases
    }

    /// The name under which the image's tensors are recorded.
    pub(crate) fn image_name(&self) -> &str {
        let file = self.image.rsplit('/').next().unwrap();
        file.split('.').next().unwrap()
    }

    /// Where the predictors of `[SEG]` stand, if that is recorded.
    pub(crate) fn seg_positions(&self, mode: &str) -> Option<Vec<usize>> {
        let recorded = if mode == "tf" { &self.tf_seg_hidden_index } else { &self.ev_seg_hidden_index };
        recorded.clone().map(|positions| match positions {
            OneOrMany::One(position) => vec![position],
            OneOrMany::Many(positions) => positions,
        })
    }
}

/// Preprocessing, CLIP, projector and SAM's encoder, as far as they are recorded.
pub(crate) fn compare_image(goldens: &Goldens, system: &System, name: &str, seen: &Seen) {
    let name = |part: &str| format!("{name}/{part}");
    let compare = |part: &str, ours: &dyn Fn() -> Tensor| {
        if goldens.has(&name(part)) {
            goldens.compare(&name(part), &ours(), INTERMEDIATE);
        }
    };
    compare("clip_pixels", &|| pixels(&seen.clip_pixels));
    compare("clip224_pixels", &|| pixels(&seen.clip_pixels));
    if goldens.has(&name("sam_resized_u8")) {
        goldens.compare(&name("sam_resized_u8"), &system.resized_for_sam(&seen.image), 0.0);
    }
    compare("sam_pixels", &|| pixels(&seen.sam.pixels));
    let batch = |values: &Tensor| values.unsqueeze(0).unwrap();
    compare("clip_features", &|| {
        system.model.vision_tower.patch_features(&batch(&pixels(&seen.clip_pixels))).unwrap()
    });
    compare("image_tokens", &|| seen.image_tokens.clone());
    compare("sam_embedding", &|| seen.embedding.clone());
    if goldens.has(&name("sam_patch_embed")) {
        let mut observed = Vec::new();
        let encoder = &system.model.sam.image_encoder;
        encoder
            .forward_observed(&batch(&pixels(&seen.sam.pixels)), &mut |_, state| observed.push(state.clone()))
            .unwrap();
        goldens.compare(&name("sam_patch_embed"), &observed[0], INTERMEDIATE);
        for (block, state) in observed[1..].iter().enumerate() {
            compare(&format!("sam_block{block}"), &|| state.clone());
        }
    }
}

/// A whole prompt in one pass: ids, spliced embeddings, every layer, final states and logits. Returns the ids and the states.
pub(crate) fn compare_sequence(
    goldens: &Goldens,
    system: &System,
    prefix: &str,
    prompt: &str,
    seen: &Seen,
) -> (Vec<i64>, Tensor) {
    let name = |part: &str| format!("{prefix}{part}");
    let model = &system.model;
    let ids = system.ids(prompt);
    goldens.compare_integers(&name("input_ids"), &ids);
    let embedded = model.splice(&ids, &seen.image_tokens).unwrap();
    if goldens.has(&name("embedded")) {
        goldens.compare(&name("embedded"), &embedded, INTERMEDIATE);
    }
    let mut compared = 0;
    model
        .language_model
        .forward_observed(&embedded, None, None, &mut |layer, state| {
            if goldens.has(&name(&format!("llm_layer{layer}"))) {
                goldens.compare(&name(&format!("llm_layer{layer}")), state, INTERMEDIATE);
                compared += 1;
            }
        })
        .unwrap();
    assert!(
        compared == 0 || compared == model.language_model.config().num_hidden_layers,
        "{prefix}: {compared} layers compared"
    );
    let hidden = model.hidden_states(&ids, &seen.image_tokens).unwrap();
    goldens.compare(&name("hidden_last"), &hidden, INTERMEDIATE);
    if goldens.has(&name("logits_tail")) {
        let shape = goldens.entry(&name("logits_tail")).full_shape();
        let tail = shape[shape.len() - 2];
        let last = hidden.narrow(0, hidden.dim(0).unwrap() - tail, tail).unwrap();
        goldens.compare(&name("logits_tail"), &model.language_model.logits(&last).unwrap(), INTERMEDIATE);
    }
    (ids, hidden)
}

/// Greedy decoding: ids, logits of each step, states.
pub(crate) fn compare_generation(
    goldens: &Goldens,
    system: &System,
    prefix: &str,
    prompt: &str,
    seen: &Seen,
) -> Generation {
    let name = |part: &str| format!("{prefix}{part}");
    let ids = system.ids(prompt);
    goldens.compare_integers(&name("input_ids"), &ids);
    let recorded = goldens.integers(&name("output_ids"));
    let steps = recorded.len() - ids.len();
    let eos = i64::from(system.model.special.eos);
    let ended = recorded.last() == Some(&eos);
    // Where the recording ended by itself, more tokens are allowed, so that not stopping would show.
    let limit = if ended { steps + 8 } else { steps };
    let mut logits: Vec<f32> = Vec::new();
    let generation = system
        .model
        .generate(&ids, &seen.image_tokens, limit, &mut |step| {
            logits.extend_from_slice(step.logits);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(generation.ids, recorded, "{prefix}: output ids");
    assert_eq!(
        generation.stop,
        if ended { StopReason::EndOfSequence } else { StopReason::MaxNewTokens },
        "{prefix}"
    );
    if goldens.has(&name("step_logits")) {
        let vocabulary = logits.len() / steps;
        let logits = Tensor::from_vec(logits, (steps, vocabulary), &candle_core::Device::Cpu).unwrap();
        goldens.compare(&name("step_logits"), &logits, INTERMEDIATE);
    }
    if goldens.has(&name("hidden_last")) {
        goldens.compare(&name("hidden_last"), &generation.hidden, INTERMEDIATE);
    }
    generation
}

/// Everything recorded under `prefix` of the masks of one answer, one row for each.
pub(crate) fn compare_masks(
    goldens: &Goldens,
    model: &ReadModel,
    prefix: &str,
    masks: &[SegmentedMask],
    seen: &Seen,
) {
    let name = |part: &str| format!("{prefix}{part}");
    let compare = |part: &str, limit: f64, of: &dyn Fn(&SegmentedMask) -> Tensor| {
        if goldens.has(&name(part)) {
            let rows: Vec<Tensor> = masks.iter().map(of).collect();
            goldens.compare(&name(part), &Tensor::stack(&rows, 0).unwrap(), limit);
        }
    };
    compare("sim_raw", INTERMEDIATE, &|mask| mask.similarity.clone());
    compare("seg_embedding", INTERMEDIATE, &|mask| mask.seg_embedding.clone());
    compare("sparse", INTERMEDIATE, &|mask| mask.sparse.clone());
    compare("low_res", INTERMEDIATE, &|mask| mask.low_resolution.clone());
    compare("iou", INTERMEDIATE, &|mask| Tensor::new(mask.predicted_iou, mask.logits.device()).unwrap());
    compare("final_logits", FINAL_LOGITS, &|mask| mask.logits.clone());
    compare("dense_vec", INTERMEDIATE, &|mask| prompts_of(model, mask).dense);
    compare("decoder_states", INTERMEDIATE, &|mask| {
        model.sam.decode(&seen.embedding, &prompts_of(model, mask), false).unwrap().tokens
    });
    if let [mask] = masks {
        if goldens.has(&name("cell_index")) {
            let (found, config) = (mask.points.as_ref().unwrap(), model.similarity_points.as_ref().unwrap());
            compare_selection(
                goldens,
                prefix,
                &SYSTEM_NAMES,
                &mask.similarity,
                seen.sam.original_size,
                config.map_size,
                found,
            );
        }
        if goldens.has(&name("points_sam_frame")) {
            compare_sam_points(goldens, &name(""), mask, seen);
        }
        if goldens.has(&name("mask")) {
            goldens.compare_mask(&name("mask"), &binary(&mask.logits), MASK_IOU);
        }
    }
}

/// The prompt tokens of a mask with the dense embedding of "no mask".
fn prompts_of(model: &ReadModel, mask: &SegmentedMask) -> maskwise_models::sam::PromptEmbeddings {
    let text = Some(mask.seg_embedding.unsqueeze(0).unwrap().unsqueeze(0).unwrap());
    let prompts = maskwise_models::sam::Prompts { text, ..Default::default() };
    let dense = model.sam.prompt_encoder.forward(&prompts).unwrap().dense;
    maskwise_models::sam::PromptEmbeddings { sparse: mask.sparse.unsqueeze(0).unwrap(), dense }
}

/// Points in SAM's frame: the limit in pixels grows with the image.
fn compare_sam_points(goldens: &Goldens, prefix: &str, mask: &SegmentedMask, seen: &Seen) {
    let name = format!("{prefix}points_sam_frame");
    let cells = goldens.integers(&format!("{prefix}cell_index"));
    let found = &mask.points.as_ref().unwrap().cells;
    let order: Vec<u32> = cells
        .iter()
        .map(|cell| found.iter().position(|found| found.index as i64 == *cell).unwrap() as u32)
        .collect();
    let order = Tensor::new(order, mask.logits.device()).unwrap();
    let ours = mask.sam_points.as_ref().unwrap().squeeze(0).unwrap().index_select(&order, 0).unwrap();
    let difference = (ours.flatten_all().unwrap() - goldens.tensor(&name).flatten_all().unwrap()).unwrap();
    let error = f64::from(difference.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap());
    let scale = seen.sam.input_size.0 as f64 / seen.sam.original_size.0 as f64;
    goldens.note("points_sam_frame [px]", error);
    assert!(error <= POINTS * scale.max(1.0), "{name}: off by {error} px");
    assert_eq!(ours.dtype(), DType::F32);
}
