//! READ in bf16 against what the official code recorded in bf16: exactly where arithmetic can be exact (the selection on recorded
//! similarities), and as close as the official bf16 is to its own f32 where rounding differs.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

mod common;

use candle_core::{DType, Tensor};
use common::goldens::{binary, flat, iou};
use common::recorded::Case;
use common::system::Seen;
use common::{Goldens, System, goldens_folder};
use maskwise_models::heads::similarity_points::{SimilarityPointsConfig, similarity_points};
use maskwise_models::systems::read::SegmentedMask;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// How much lower a single mask may score than the official bf16 does against its own f32.
const CASE_MARGIN: f64 = 0.05;
/// Smallest cosine between our bf16 and the official bf16.
const COSINE: f64 = 0.999;

/// The IoU of our bf16 mask with the official bf16 one, and of the official bf16 with the official f32.
struct Overlap {
    name: String,
    ours: f64,
    official: f64,
}

#[test]
fn bf16_is_as_close_as_the_official_one_is_to_its_f32() {
    let Some(folder) = goldens_folder() else { return };
    let (goldens, single) = (Goldens::open(&folder, "read_bf16"), Goldens::open(&folder, "read"));
    let system = System::open(&folder.join("checkpoint"), DType::BF16);
    let config = system.model.similarity_points.clone().unwrap();
    let mut images: BTreeMap<String, Seen> = BTreeMap::new();
    let mut overlaps = Vec::new();
    for case in Case::all(&goldens) {
        let seen = images.entry(case.image.clone()).or_insert_with(|| system.look(&folder.join(&case.image)));
        for mode in ["tf", "ev"] {
            let prefix = format!("{}/{mode}/", case.name);
            compare_recorded_selection(&goldens, &prefix, seen, &config);
            let (ids, hidden) = answer(&goldens, &system, &case, mode, seen);
            let masks = system.model.segment(&ids, &hidden, seen.segment_inputs()).unwrap();
            compare_states(&goldens, &prefix, &hidden, masks.first());
            overlaps.extend(overlap(&goldens, &single, &prefix, &masks));
        }
    }
    goldens.finish();
    compare_overlaps(&overlaps);
}

/// Ids and states of a case: of the whole prompt, or as generated, where the ids must be the recorded ones.
fn answer(goldens: &Goldens, system: &System, case: &Case, mode: &str, seen: &Seen) -> (Vec<i64>, Tensor) {
    if mode == "tf" {
        let ids = system.ids(&case.tf_prompt);
        let hidden = system.model.hidden_states(&ids, &seen.image_tokens).unwrap();
        return (ids, hidden);
    }
    let prompt = system.ids(&case.ev_prompt);
    let recorded = goldens.integers(&format!("{}/ev/output_ids", case.name));
    let limit = recorded.len() - prompt.len();
    let generation = system
        .model
        .generate(&prompt, &seen.image_tokens, limit, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(generation.ids, recorded, "{}: output ids", case.name);
    (generation.ids, generation.hidden)
}

/// Fed with the recorded bf16 similarities, the same (point, label) pairs come out: each pixel stands for a cell.
fn compare_recorded_selection(goldens: &Goldens, prefix: &str, seen: &Seen, config: &SimilarityPointsConfig) {
    let name = |part: &str| format!("{prefix}{part}");
    if !goldens.has(&name("sim_raw")) {
        return;
    }
    let recorded = goldens.tensor(&name("sim_raw"));
    let half = recorded.to_dtype(DType::BF16).unwrap();
    assert_eq!(flat(&half), flat(&recorded), "{prefix}: the recorded similarities are not bf16");
    let found = similarity_points(&half, seen.sam.original_size, config).unwrap();
    let ours: BTreeSet<(i64, i64, i64)> = found
        .cells
        .iter()
        .map(|cell| (cell.pixel.0 as i64, cell.pixel.1 as i64, i64::from(cell.label)))
        .collect();
    let (discrete, labels) =
        (goldens.integers(&name("points_discrete")), goldens.integers(&name("point_labels")));
    let theirs: BTreeSet<(i64, i64, i64)> =
        discrete.chunks_exact(2).zip(&labels).map(|(point, label)| (point[0], point[1], *label)).collect();
    assert_eq!(found.cells.len(), labels.len(), "{prefix}: number of points");
    assert_eq!(ours, theirs, "{prefix}: selected points");

    let continuous = goldens.floats(&name("points_continuous"));
    let coordinates = flat(&found.coordinates);
    for (point, discrete) in discrete.chunks_exact(2).enumerate() {
        let ours = found
            .cells
            .iter()
            .position(|cell| [cell.pixel.0 as i64, cell.pixel.1 as i64] == discrete)
            .unwrap();
        for axis in 0..2 {
            let error = f64::from((coordinates[2 * ours + axis] - continuous[2 * point + axis]).abs());
            goldens.note("continuous points [px]", error);
            assert!(error <= common::POINTS, "{prefix}: point {point} is off by {error} px");
        }
    }
}

/// States of our own bf16 run point where the official ones do.
fn compare_states(goldens: &Goldens, prefix: &str, hidden: &Tensor, mask: Option<&SegmentedMask>) {
    let compare = |part: &str, ours: &Tensor, least: f64| {
        let name = format!("{prefix}{part}");
        if goldens.has(&name) {
            let cosine = goldens.cosine(&name, ours);
            goldens.note(&format!("{part} 1-cosine"), 1.0 - cosine);
            assert!(cosine >= least, "{name}: cosine {cosine} is below {least}");
        }
    };
    compare("hidden_last", hidden, COSINE);
    if let Some(mask) = mask {
        compare("seg_embedding", &mask.seg_embedding, COSINE);
        // Neighbouring points may differ in bf16, and the mask with them: held to the masks' overlap below.
        compare("low_res", &mask.low_resolution, 0.9);
        let iou = goldens.floats(&format!("{prefix}iou"))[0];
        goldens.note("iou difference", f64::from((mask.predicted_iou - iou).abs()));
    }
}

fn overlap(goldens: &Goldens, single: &Goldens, prefix: &str, masks: &[SegmentedMask]) -> Option<Overlap> {
    let name = format!("{prefix}mask_bf16");
    if !goldens.has(&name) {
        return None;
    }
    let half = goldens.mask(&name);
    let full = single.mask(&format!("{prefix}mask"));
    let ours = masks.first().map_or_else(|| vec![false; half.len()], |mask| binary(&mask.logits));
    Some(Overlap { name, ours: iou(&ours, &half), official: iou(&half, &full) })
}

fn compare_overlaps(overlaps: &[Overlap]) {
    assert!(!overlaps.is_empty());
    for overlap in overlaps {
        println!("{:24} ours {:.4}, official {:.4}", overlap.name, overlap.ours, overlap.official);
        assert!(
            overlap.ours >= overlap.official - CASE_MARGIN,
            "{}: IoU {} with the official bf16, which has {} with its f32",
            overlap.name,
            overlap.ours,
            overlap.official
        );
    }
    let mean = |of: fn(&Overlap) -> f64| overlaps.iter().map(of).sum::<f64>() / overlaps.len() as f64;
    let (ours, official) = (mean(|overlap| overlap.ours), mean(|overlap| overlap.official));
    println!("mean IoU: ours {ours:.4}, official {official:.4}");
    assert!(ours >= official, "mean IoU {ours} with the official bf16, which has {official} with its f32");
}
