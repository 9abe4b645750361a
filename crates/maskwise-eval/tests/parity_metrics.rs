//! gIoU, cIoU and See against what the official `train_read.validate` and `test_read.run_eval` gave for the same masks
//! (`MASKWISE_GOLDENS`, `metrics.*`).

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

use maskwise_eval::{Conventions, Overlap, Row, Sample, SampleOutcome, Summary};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::PathBuf;

struct Golden {
    tensors: Vec<u8>,
    values: Value,
}

impl Golden {
    fn open() -> Option<Self> {
        let Some(folder) =
            std::env::var_os("MASKWISE_GOLDENS").filter(|folder| !folder.is_empty()).map(PathBuf::from)
        else {
            println!("skipped: MASKWISE_GOLDENS is not set");
            return None;
        };
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(folder.join("metrics.manifest.json")).unwrap()).unwrap();
        let tensors = std::fs::read(folder.join("metrics.safetensors")).unwrap();
        Some(Self { tensors, values: manifest["values"].clone() })
    }

    fn value(&self, name: &str) -> &Value {
        &self.values[name]["value"]
    }

    /// The masks of item `number`, one sample each.
    fn samples(&self, number: usize) -> Vec<Sample> {
        let tensors = SafeTensors::deserialize(&self.tensors).unwrap();
        let logits = tensors.tensor(&format!("{number}/pred_logits")).unwrap();
        let targets = tensors.tensor(&format!("{number}/gt")).unwrap();
        let pixels = targets.shape()[1] * targets.shape()[2];
        let prediction: Vec<u8> = logits
            .data()
            .chunks_exact(4)
            .map(|bytes| u8::from(f32::from_le_bytes(bytes.try_into().unwrap()) > 0.0))
            .collect();
        let masks = prediction.chunks_exact(pixels).zip(targets.data().chunks_exact(pixels));
        masks.map(|(prediction, target)| sample(prediction, target)).collect()
    }

    fn all(&self) -> Vec<Sample> {
        (0..20).flat_map(|number| self.samples(number)).collect()
    }
}

fn sample(prediction: &[u8], target: &[u8]) -> Sample {
    let found = prediction.contains(&1);
    Sample {
        index: 0,
        id: String::new(),
        family: String::new(),
        question: String::new(),
        answer: String::new(),
        outcome: if found { SampleOutcome::Segmented } else { SampleOutcome::Empty },
        error: None,
        exists: target.contains(&1),
        overlap: Overlap::of(prediction, target),
        tokens: 0,
        mask: None,
        pairs: Vec::new(),
    }
}

fn row(samples: &[Sample]) -> Row {
    Summary::new(samples, &[], Conventions::default()).all().unwrap().clone()
}

/// The official figures are sums of single precision.
fn close(found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() < 2e-5, "{found} {expected}");
}

#[test]
fn every_mask_has_the_official_pixels_in_intersection_and_union() {
    let Some(golden) = Golden::open() else { return };
    let official = golden.value("validate")["per_mask"].as_array().unwrap();
    let samples = golden.all();
    // The recording goes on with the masks of the subsets.
    assert!(samples.len() == 27 && official.len() > 27);
    for (Sample { overlap, .. }, official) in samples.iter().zip(official) {
        let pixels = |row: usize, class: usize| official[row][class].as_f64().unwrap() as u64;
        assert_eq!((overlap.intersection, overlap.union), (pixels(0, 1), pixels(1, 1)));
        // The background: what lies in neither, and what does not lie in both.
        assert_eq!(overlap.pixels - overlap.union, pixels(0, 0));
        assert_eq!(overlap.pixels - overlap.intersection, pixels(1, 0));
        assert_eq!(overlap.target, pixels(2, 1));
    }
}

#[test]
fn giou_and_ciou_of_all_and_of_subsets() {
    let Some(golden) = Golden::open() else { return };
    let found = row(&golden.all());
    let official = golden.value("validate");
    close(found.giou.unwrap().mean, &official["giou"]);
    close(found.ciou.mean, &official["ciou"]);
    let subsets = golden.value("validate_subsets").as_array().unwrap();
    assert!(subsets.len() > 4);
    for subset in subsets {
        let numbers =
            subset["items"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize);
        let found = row(&numbers.flat_map(|number| golden.samples(number)).collect::<Vec<_>>());
        close(found.giou.unwrap().mean, &subset["giou"]);
        close(found.ciou.mean, &subset["ciou"]);
    }
}

#[test]
fn see_and_segment_of_false_premises() {
    let Some(golden) = Golden::open() else { return };
    let official = golden.value("run_eval");
    let mut samples = Vec::new();
    for (place, number) in official["items"].as_array().unwrap().iter().enumerate() {
        let of_item = golden.samples(number.as_u64().unwrap() as usize);
        for (mask, mut sample) in of_item.into_iter().enumerate() {
            // Both were recorded with the masks; the official code counts them and does not look at the pixels.
            sample.exists = official["gt_exists"][place][mask].as_bool().unwrap();
            sample.outcome = match official["pred_exists"][place][mask].as_bool().unwrap() {
                true => SampleOutcome::Segmented,
                false => SampleOutcome::Declined,
            };
            samples.push(sample);
        }
    }
    let row = row(&samples);
    let printed =
        format!("[Final Result - fprefcoco] cIoU: {:.4} | See Accuracy: {:.4}", row.ciou.mean, row.see.mean);
    assert_eq!(printed, official["printed"].as_str().unwrap());
}
