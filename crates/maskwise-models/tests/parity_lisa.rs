//! LISA in f32 against the tensors that the official code recorded, driven by `lisa.manifest.json`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

mod common;

use candle_core::{Device, Tensor};
use common::goldens::binary;
use common::losses::{binary_cross_entropy, cross_entropy, dice};
use common::recorded::{Case, compare_generation, compare_image, compare_masks, compare_sequence};
use common::system::Seen;
use common::{Goldens, INTERMEDIATE, MASK_IOU, System, goldens_folder};
use maskwise_data::text::IMAGE_PLACEHOLDER;
use maskwise_models::systems::read::SegmentedMask;
use std::collections::BTreeMap;

#[test]
fn every_recorded_tensor_of_lisa() {
    let Some(folder) = goldens_folder() else { return };
    let goldens = Goldens::open(&folder, "lisa");
    let system = System::open_lisa(&folder);
    let mut images: BTreeMap<String, Seen> = BTreeMap::new();
    let mut several = false;
    for case in Case::all(&goldens) {
        let seen = images.entry(case.image.clone()).or_insert_with(|| {
            let seen = system.look(&folder.join(&case.image));
            compare_image(&goldens, &system, case.image_name(), &seen);
            seen
        });
        assert_eq!(
            (seen.sam.input_size, seen.sam.original_size),
            (case.sam_input_size, case.original_size),
            "{}",
            case.image
        );

        let prefix = format!("{}/tf/", case.name);
        let (ids, hidden) = compare_sequence(&goldens, &system, &prefix, &case.tf_prompt, seen);
        assert_eq!(system.model.seg_positions(&ids).unwrap(), case.seg_positions("tf").unwrap(), "{prefix}");
        let masks = system.model.segment(&ids, &hidden, seen.segment_inputs()).unwrap();
        several |= masks.len() > 1;
        compare_masks(&goldens, &system.model, &prefix, &masks, seen);
        compare_pictures(&goldens, &prefix, &masks);

        let prefix = format!("{}/ev/", case.name);
        let generation = compare_generation(&goldens, &system, &prefix, &case.ev_prompt, seen);
        assert_eq!(system.text(generation.answer(), false).trim(), case.ev_text.trim(), "{prefix}");
        let masks = system.model.segment(&generation.ids, &generation.hidden, seen.segment_inputs()).unwrap();
        compare_masks(&goldens, &system.model, &prefix, &masks, seen);
        compare_pictures(&goldens, &prefix, &masks);
    }
    assert!(several, "no recorded answer has several [SEG]");
    let image = goldens.value("loss")["image"].as_str().unwrap().to_owned();
    let seen = images.entry(image.clone()).or_insert_with(|| system.look(&folder.join(&image)));
    training_loss(&goldens, &system, seen);
    goldens.finish();
}

/// The masks of an answer are recorded as pictures, one for each `[SEG]`.
fn compare_pictures(goldens: &Goldens, prefix: &str, masks: &[SegmentedMask]) {
    for (index, mask) in masks.iter().enumerate() {
        goldens.compare_mask(&format!("lisa_{prefix}mask_{index}"), &binary(&mask.logits), MASK_IOU);
    }
    assert!(!goldens.has(&format!("lisa_{prefix}mask_{}", masks.len())), "{prefix}: more masks are recorded");
}

/// The losses of one training sample.
fn training_loss(goldens: &Goldens, system: &System, seen: &Seen) {
    let recorded = goldens.value("loss");
    let number = |name: &str| recorded[name].as_f64().unwrap();
    let (ids, labels) = (goldens.integers("loss/input_ids"), goldens.integers("loss/labels"));
    let hidden = system.model.hidden_states(&ids, &seen.image_tokens).unwrap();
    let placeholder = ids.iter().position(|id| *id == IMAGE_PLACEHOLDER).unwrap();
    let mut spliced = labels[..placeholder].to_vec();
    spliced.extend(vec![-100; system.model.image_tokens()]);
    spliced.extend_from_slice(&labels[placeholder + 1..]);
    let next: Vec<Option<u32>> = spliced[1..].iter().map(|label| u32::try_from(*label).ok()).collect();
    let logits = system.model.language_model.logits(&hidden.narrow(0, 0, next.len()).unwrap()).unwrap();

    let masks = system.model.segment(&ids, &hidden, seen.segment_inputs()).unwrap();
    let logits_of_masks =
        Tensor::stack(&masks.iter().map(|mask| mask.logits.clone()).collect::<Vec<_>>(), 0).unwrap();
    let (_, height, width) = logits_of_masks.dims3().unwrap();
    let corner = |index: usize| recorded["gt_rect_yxyx"][index].as_u64().unwrap() as usize;
    let inside = |pixel: usize| {
        (corner(0)..corner(2)).contains(&(pixel / width)) && (corner(1)..corner(3)).contains(&(pixel % width))
    };
    let target: Vec<f32> = (0..height * width).map(|pixel| f32::from(u8::from(inside(pixel)))).collect();
    let target = Tensor::from_vec(target, (1, height, width), &Device::Cpu).unwrap();
    let scalar = |tensor: Tensor| f64::from(tensor.to_scalar::<f32>().unwrap());
    let ce = scalar(cross_entropy(&logits, &next).unwrap()) * number("ce_loss_weight");
    let bce = scalar(binary_cross_entropy(&logits_of_masks, &target).unwrap()) * number("bce_loss_weight");
    let dice = scalar(dice(&logits_of_masks, &target).unwrap()) * number("dice_loss_weight");
    for (name, found) in
        [("ce_loss", ce), ("mask_bce_loss", bce), ("mask_dice_loss", dice), ("loss", ce + bce + dice)]
    {
        let error = (found - number(name)).abs() / number(name);
        goldens.note(name, error);
        assert!(error < INTERMEDIATE, "{name}: {found} instead of {}", number(name));
    }
}
