//! COCO run-length codes: our own goldens from pycocotools, published COCO results, the panoptic sample and
//! the recorded RefCOCO masks.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

use std::path::PathBuf;

use maskwise_data::image::{DecodeOptions, decode_path};
use maskwise_data::mask::{Mask, Rle, RleError};
use proptest::prelude::*;
use serde_json::Value;

fn folder(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: {variable} is not set");
    }
    folder
}

fn json(path: PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn size(value: &Value) -> [usize; 2] {
    [0, 1].map(|index| value[index].as_u64().unwrap() as usize)
}

fn parse(value: &Value) -> Rle {
    serde_json::from_value(value.clone()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn bbox(rle: &Rle) -> Vec<f64> {
    rle.bbox().iter().map(|&value| f64::from(value)).collect()
}

/// Made with pycocotools 2.0.11, see tests/golden/images/make_goldens.py.
fn golden() -> Value {
    serde_json::from_str(include_str!("../../../tests/golden/images/rle.json")).unwrap()
}

#[test]
fn masks_are_encoded_as_pycocotools_does() {
    for case in golden()["masks"].as_array().unwrap() {
        let [height, width] = size(&case["size"]);
        let rows = case["rows"].as_array().unwrap();
        let values: Vec<u8> =
            rows.iter().flat_map(|row| row.as_str().unwrap().bytes().map(|byte| byte - b'0')).collect();
        let mask = Mask::from_values(&values, height, width).unwrap();
        let rle = mask.to_rle();
        assert_eq!(rle.counts_string(), case["counts"].as_str().unwrap());
        assert_eq!(rle.area(), case["area"].as_u64().unwrap());
        assert_eq!(bbox(&rle), numbers(&case["bbox"]));
        assert_eq!(parse(case).decode(), mask);
    }
}

#[test]
fn long_runs_and_boxes_agree() {
    let mut big = Mask::empty(70, 300);
    for y in (40..260).filter(|y| y % 7 != 0) {
        big.data[y * 70 + 20..y * 70 + 33].fill(1);
    }
    let stripes = &golden()["stripes"];
    let rle = big.to_rle();
    assert_eq!(rle.counts_string(), stripes["counts"].as_str().unwrap());
    assert_eq!(rle.area(), stripes["area"].as_u64().unwrap());
    assert_eq!(bbox(&rle), numbers(&stripes["bbox"]));
}

#[test]
fn polygons_merges_and_overlaps_agree() {
    let golden = golden();
    let [height, width] = size(&golden["size"]);
    let mut rles = Vec::new();
    for polygon in golden["polygons"].as_array().unwrap() {
        let rle = Rle::from_polygon(&numbers(&polygon["xy"]), height, width).unwrap();
        assert_eq!(rle.counts_string(), polygon["counts"].as_str().unwrap(), "{}", polygon["xy"]);
        rles.push(rle);
    }
    assert_eq!(Rle::merge(&rles[..6], false).unwrap().counts_string(), golden["union"].as_str().unwrap());
    assert_eq!(
        Rle::merge(&rles[2..5], true).unwrap().counts_string(),
        golden["intersection"].as_str().unwrap()
    );
    for (key, is_crowd) in [("iou", false), ("iou_crowd", true)] {
        for (row, detection) in golden[key].as_array().unwrap().iter().zip(&rles) {
            for (expected, truth) in numbers(row).iter().zip(&rles) {
                let found = detection.iou(truth, is_crowd).unwrap();
                // One unit in the last place: what reading the number from JSON may cost.
                assert!((found - expected).abs() <= 1e-15, "{key}: {found} instead of {expected}");
            }
        }
    }
}

#[test]
fn published_coco_results_round_trip() {
    let Some(photos) = folder("MASKWISE_PHOTOS") else { return };
    let (mut count, mut area) = (0, 0);
    for entry in std::fs::read_dir(photos.join("coco_rle")).unwrap() {
        for result in json(entry.unwrap().path()).as_array().unwrap() {
            let segmentation = &result["segmentation"];
            let rle = parse(segmentation);
            let mask = rle.decode();
            assert_eq!(serde_json::to_value(mask.to_rle()).unwrap(), *segmentation);
            assert_eq!(mask.area(), rle.area());
            let expected = mask.bbox().map_or([0; 4], |b| [b.x, b.y, b.width, b.height].map(|v| v as u32));
            assert_eq!(rle.bbox(), expected);
            assert_eq!(rle.iou(&rle, false).unwrap(), if rle.area() == 0 { 0.0 } else { 1.0 });
            count += 1;
            area += rle.area();
        }
    }
    assert_eq!((count, area), (734, 7_766_804));
}

#[test]
fn panoptic_segments_agree_with_their_codes() {
    let Some(photos) = folder("MASKWISE_PHOTOS") else { return };
    let photos = photos.join("coco_panoptic");
    let detections = json(photos.join("panoptic_coco_detection_format.json"));
    let panoptic = json(photos.join("panoptic_examples.json"));
    let mut checked = 0;
    for annotation in panoptic["annotations"].as_array().unwrap() {
        let stem = annotation["file_name"].as_str().unwrap().trim_end_matches(".png");
        let path = photos.join(format!("{stem}.panoptic.png"));
        let picture = decode_path(&path, &DecodeOptions::default()).unwrap();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let ids: Vec<u64> =
            picture.pixels().map(|pixel| (0..3).map(|c| u64::from(pixel.0[c]) << (8 * c)).sum()).collect();
        for segment in annotation["segments_info"].as_array().unwrap() {
            let id = segment["id"].as_u64().unwrap();
            let values: Vec<u8> = ids.iter().map(|&value| u8::from(value == id)).collect();
            let mask = Mask::from_values(&values, height, width).unwrap();
            let rle = mask.to_rle();
            assert_eq!(rle.area(), segment["area"].as_u64().unwrap());
            assert_eq!(bbox(&rle), numbers(&segment["bbox"]));
            let same = |entry: &&Value| {
                entry["image_id"] == annotation["image_id"]
                    && entry["category_id"] == segment["category_id"]
                    && parse(&entry["segmentation"]) == rle
            };
            assert!(detections["annotations"].as_array().unwrap().iter().any(|entry| same(&entry)), "{id}");
            checked += 1;
        }
    }
    assert_eq!(checked, 50);
}

#[test]
fn refcoco_masks_are_sums_of_polygons_and_codes() {
    let Some(goldens) = folder("MASKWISE_GOLDENS") else { return };
    let manifest = json(goldens.join("refcoco/manifest.json"));
    for case in manifest["cases"].as_array().unwrap() {
        let (height, width) = (
            size(&serde_json::json!([case["height"], case["width"]]))[0],
            case["width"].as_u64().unwrap() as usize,
        );
        let mut sum = vec![0u8; height * width];
        for segment in case["segmentation"].as_array().unwrap() {
            let rle = if segment.is_array() {
                Rle::from_polygon(&numbers(segment), height, width).unwrap()
            } else {
                parse(segment)
            };
            sum.iter_mut().zip(&rle.decode().data).for_each(|(sum, value)| *sum += value);
        }
        let file = case["mask"].as_str().unwrap();
        let expected = decode_path(&goldens.join(file), &DecodeOptions::default()).unwrap();
        assert!(expected.pixels().map(|pixel| pixel.0[0]).eq(sum), "{file}");
    }
}

#[test]
fn malformed_codes_are_refused() {
    let read = |text: &str| serde_json::from_str::<Rle>(text);
    assert!(read(r#"{"size": [2, 3], "counts": [1, 2, 3]}"#).is_ok());
    for (text, part) in [
        (r#"{"size": [2, 3], "counts": [1, 2]}"#, "the runs cover 3 pixels, size 2x3 has 6"),
        (r#"{"size": [2, 3], "counts": "1!"}"#, "character 1"),
        (r#"{"size": [2, 3], "counts": "1é"}"#, "character 1"),
        (r#"{"size": [2, 3], "counts": "1P"}"#, "middle of a number"),
        (r#"{"size": [2, 3], "counts": "O"}"#, "length -1"),
        (r#"{"size": [2, 3], "counts": "oooooooooooooo0"}"#, "impossible length"),
        (r#"{"size": [99999999, 99999999], "counts": "0"}"#, "above the limit"),
        (r#"{"size": [18446744073709551615, 2], "counts": "0"}"#, "above the limit"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    for coordinates in [&[][..], &[1.0, 2.0, 3.0], &[f64::NAN, 1.0], &[1e300, 0.0]] {
        assert!(matches!(Rle::from_polygon(coordinates, 5, 5), Err(RleError::Polygon(_))));
    }
    let (a, b) = (Mask::empty(2, 3).to_rle(), Mask::empty(3, 2).to_rle());
    assert!(matches!(a.iou(&b, false), Err(RleError::Size { .. })));
    assert!(matches!(Rle::merge(&[a, b], false), Err(RleError::Size { .. })));
}

fn masks() -> impl Strategy<Value = Mask> {
    (1usize..25, 1usize..25, 0.0f64..1.0).prop_flat_map(|(width, height, share)| {
        prop::collection::vec(prop::bool::weighted(share), width * height).prop_map(move |values| {
            let values: Vec<u8> = values.into_iter().map(u8::from).collect();
            Mask::from_values(&values, height, width).unwrap()
        })
    })
}

fn pairs() -> impl Strategy<Value = (Mask, Mask)> {
    masks().prop_flat_map(|mask| {
        let (width, height) = (mask.width, mask.height);
        prop::collection::vec(0u8..2, width * height)
            .prop_map(move |values| (mask.clone(), Mask::from_values(&values, height, width).unwrap()))
    })
}

proptest! {
    #[test]
    fn codes_and_strings_round_trip(mask in masks()) {
        let rle = mask.to_rle();
        prop_assert_eq!(&rle.decode(), &mask);
        let text = serde_json::to_string(&rle).unwrap();
        let back: Rle = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&back, &rle);
        prop_assert_eq!(rle.area(), mask.area());
        let expected = mask.bbox().map_or([0; 4], |b| [b.x, b.y, b.width, b.height].map(|v| v as u32));
        prop_assert_eq!(rle.bbox(), expected);
    }

    #[test]
    fn any_string_is_parsed_or_refused(text in "[0-o]{0,40}", height in 0usize..50, width in 0usize..50) {
        if let Ok(rle) = Rle::from_counts_string([height, width], &text) {
            prop_assert_eq!(rle.decode().area(), rle.area());
        }
    }

    #[test]
    fn merges_are_those_of_the_pixels((a, b) in pairs()) {
        let rles = [a.to_rle(), b.to_rle()];
        let union = Rle::merge(&rles, false).unwrap();
        let both = Rle::merge(&rles, true).unwrap();
        let pixels = |f: fn(u8, u8) -> u8| -> Vec<u8> { a.data.iter().zip(&b.data).map(|(&a, &b)| f(a, b)).collect() };
        prop_assert_eq!(&union.decode().data, &pixels(|a, b| a | b));
        prop_assert_eq!(&both, &both.decode().to_rle());
        prop_assert_eq!(&both.decode().data, &pixels(|a, b| a & b));
        let (intersection, area) = a.overlap(&b).unwrap();
        let expected = if intersection == 0 { 0.0 } else { intersection as f64 / area as f64 };
        prop_assert_eq!(rles[0].iou(&rles[1], false).unwrap(), expected);
    }

    #[test]
    fn polygons_of_any_shape_give_codes(
        coordinates in prop::collection::vec(-60.0f64..120.0, 1..15).prop_map(|half| [half.clone(), half].concat()),
        height in 1usize..60, width in 1usize..60,
    ) {
        let rle = Rle::from_polygon(&coordinates, height, width).unwrap();
        prop_assert_eq!(Rle::new(rle.size(), rle.counts().to_vec()).unwrap(), rle);
    }
}
