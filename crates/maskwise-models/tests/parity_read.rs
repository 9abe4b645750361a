//! READ and SESAME in f32 against the tensors that the official code recorded, driven by `read.manifest.json`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

mod common;

use candle_core::{DType, Tensor};
use common::goldens::binary;
use common::points::assert_that_dtoc_matters;
use common::recorded::{Case, compare_generation, compare_image, compare_masks, compare_sequence};
use common::system::Seen;
use common::{FINAL_LOGITS, Goldens, INTERMEDIATE, System, goldens_folder};
use maskwise_models::systems::read::{ReadModel, SegmentedMask};
use serde_json::Value;
use std::collections::BTreeMap;

#[test]
fn every_recorded_tensor_of_read() {
    let Some(folder) = goldens_folder() else { return };
    let goldens = Goldens::open(&folder, "read");
    let system = System::open(&folder.join("checkpoint"), DType::F32);
    let mut text_only = system.model.clone();
    text_only.similarity_points = None;
    compare_special_ids(&goldens, &system);

    let mut images: BTreeMap<String, Seen> = BTreeMap::new();
    for case in Case::all(&goldens) {
        let seen = images.entry(case.image.clone()).or_insert_with(|| {
            let seen = system.look(&folder.join(&case.image));
            compare_image(&goldens, &system, case.image_name(), &seen);
            seen
        });
        assert_eq!(seen.sam.input_size, case.sam_input_size, "{}", case.image);
        assert_eq!(seen.sam.original_size, case.original_size, "{}", case.image);
        teacher_forced(&goldens, &system, &text_only, &case, seen);
        generated(&goldens, &system, &case, seen);
    }
    if goldens.has("batch/input_ids") {
        let image = goldens.value("batch")["image"].as_str().unwrap().to_owned();
        let seen = images.entry(image.clone()).or_insert_with(|| system.look(&folder.join(&image)));
        batch(&goldens, &system, seen);
    }
    goldens.compare("dense_pe", &system.model.sam.prompt_encoder.dense_positions().unwrap(), INTERMEDIATE);
    assert_that_dtoc_matters(&goldens);
    goldens.finish();
}

fn compare_special_ids(goldens: &Goldens, system: &System) {
    let recorded = goldens.value("special_ids");
    let special = &system.model.special;
    for (name, id) in [
        ("seg", special.seg),
        ("im_start", special.im_start),
        ("bos", special.bos),
        ("eos", special.eos),
        ("pad", special.pad),
    ] {
        assert_eq!(recorded[name], id, "{name}");
    }
    assert_eq!(recorded["vocab"], system.model.language_model.config().vocab_size);
}

/// `tf`: the answer stands in the prompt; `sesame`: the same without points.
fn teacher_forced(goldens: &Goldens, system: &System, text_only: &ReadModel, case: &Case, seen: &Seen) {
    let prefix = format!("{}/tf/", case.name);
    let (ids, hidden) = compare_sequence(goldens, system, &prefix, &case.tf_prompt, seen);
    let positions = system.model.seg_positions(&ids).unwrap();
    assert_eq!(positions, case.seg_positions("tf").unwrap_or_default(), "{prefix}");
    let masks = system.model.segment(&ids, &hidden, seen.segment_inputs()).unwrap();
    assert_eq!(masks.len(), positions.len());
    compare_masks(goldens, &system.model, &prefix, &masks, seen);
    let masks = text_only.segment(&ids, &hidden, seen.segment_inputs()).unwrap();
    compare_masks(goldens, text_only, &format!("{}/sesame/", case.name), &masks, seen);
}

/// `ev`: the model writes the answer.
fn generated(goldens: &Goldens, system: &System, case: &Case, seen: &Seen) {
    let prefix = format!("{}/ev/", case.name);
    let generation = compare_generation(goldens, system, &prefix, &case.ev_prompt, seen);
    assert_eq!(system.text(generation.answer(), true).trim(), case.ev_text, "{prefix}");
    let positions = system.model.seg_positions(&generation.ids).unwrap();
    assert_eq!(positions, case.seg_positions("ev").unwrap_or_default(), "{prefix}");
    let masks = system.model.segment(&generation.ids, &generation.hidden, seen.segment_inputs()).unwrap();
    let present: Vec<bool> = masks.iter().map(|mask| binary(&mask.logits).contains(&true)).collect();
    let present = if present.is_empty() { vec![false] } else { present };
    assert_eq!(Some(present), case.ev_object_presence, "{prefix}: presence");
    compare_masks(goldens, &system.model, &prefix, &masks, seen);
    if masks.is_empty() {
        // The reference hands out an empty mask where nothing was to be segmented.
        let recorded = goldens.mask(&format!("{prefix}mask"));
        assert!(!recorded.contains(&true), "{prefix}");
    }
}

/// Several conversations about one image, right padded: padding comes after everything that a causal model looks at, so
/// each row is what it is alone. Padded positions are not compared.
fn batch(goldens: &Goldens, system: &System, seen: &Seen) {
    let prompts = goldens.value("batch")["prompts"].as_array().unwrap();
    let rows: Vec<Vec<i64>> =
        prompts.iter().map(|prompt| system.ids(Value::as_str(prompt).unwrap())).collect();
    let longest = rows.iter().map(Vec::len).max().unwrap();
    let padded = |fill: i64, row: &dyn Fn(&[i64]) -> Vec<i64>| -> Vec<i64> {
        rows.iter().flat_map(|ids| [row(ids), vec![fill; longest - ids.len()]].concat()).collect()
    };
    goldens.compare_integers(
        "batch/input_ids",
        &padded(i64::from(system.model.special.pad), &|ids| ids.to_vec()),
    );
    goldens.compare_integers("batch/attention_mask", &padded(0, &|ids| vec![1; ids.len()]));

    let model = &system.model;
    let mut masks: Vec<SegmentedMask> = Vec::new();
    let mut states = Vec::new();
    for ids in &rows {
        let hidden = model.hidden_states(ids, &seen.image_tokens).unwrap();
        masks.extend(model.segment(ids, &hidden, seen.segment_inputs()).unwrap());
        states.push(hidden.pad_with_zeros(0, 0, longest - ids.len()).unwrap());
    }
    let lengths: Vec<usize> = rows.iter().map(|ids| ids.len() - 1 + model.image_tokens()).collect();
    let states = Tensor::stack(&states, 0).unwrap();
    goldens.compare_where("batch/hidden_last", &states, INTERMEDIATE, |index| index[1] < lengths[index[0]]);
    for (index, mask) in masks.iter().enumerate() {
        compare_batch_points(goldens, index, mask);
    }
    let stack = |of: &dyn Fn(&SegmentedMask) -> Tensor| {
        Tensor::stack(&masks.iter().map(of).collect::<Vec<_>>(), 0).unwrap()
    };
    goldens.compare("batch/low_res", &stack(&|mask| mask.low_resolution.clone()), INTERMEDIATE);
    goldens.compare(
        "batch/iou",
        &stack(&|mask| Tensor::new(mask.predicted_iou, mask.logits.device()).unwrap()),
        INTERMEDIATE,
    );
    goldens.compare("batch/final_logits", &stack(&|mask| mask.logits.clone()), FINAL_LOGITS);
}

/// Points of one row, matched by their discrete coordinates: the cells themselves are not recorded here.
fn compare_batch_points(goldens: &Goldens, index: usize, mask: &SegmentedMask) {
    let name = |part: &str| format!("batch/{part}_{index}");
    let points = mask.points.as_ref().unwrap();
    let ours = points.coordinates.to_vec2::<f32>().unwrap();
    let (discrete, labels) =
        (goldens.integers(&name("points_discrete")), goldens.integers(&name("point_labels")));
    let continuous = goldens.floats(&name("points_continuous"));
    assert_eq!(points.cells.len(), labels.len());
    for (recorded, label) in labels.iter().enumerate() {
        let pixel = (discrete[2 * recorded] as usize, discrete[2 * recorded + 1] as usize);
        let place =
            points.cells.iter().position(|cell| cell.pixel == pixel && i64::from(cell.label) == *label);
        let place = place.unwrap_or_else(|| panic!("row {index}: no point at {pixel:?} with label {label}"));
        for axis in 0..2 {
            let error = (ours[place][axis] - continuous[2 * recorded + axis]).abs();
            assert!(f64::from(error) <= common::POINTS, "row {index}: point {recorded} is off by {error} px");
        }
    }
}
