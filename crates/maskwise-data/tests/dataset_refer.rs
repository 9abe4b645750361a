//! RefCOCO's layout: refs pickle and instances.json, composition of items, validation, and files that are wrong.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // Helpers outside #[test] functions are test code as well.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use maskwise_data::dataset::{
    Composition, Convention, IndexCache, Mixture, Refer, ReferValidation, Templates, TrainingItem,
    ValidationDataset, default_split_by, refer_group,
};
use maskwise_data::image::{DecodeOptions, decode_path};
use maskwise_data::mask::png;
use maskwise_data::pickle;
use maskwise_data::text::QuestionTemplates;
use serde_json::{Value, json};
use tempfile::TempDir;

const SPLIT_BY: &str = "unc_exclude_unified";

/// The folder `refer_seg` with one dataset of pictures of 12 × 10.
fn layout(dataset: &str, references: &Value, annotations: &Value) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let pictures = root.path().join("images/mscoco/images/train2014");
    fs::create_dir_all(&pictures).unwrap();
    let folder = root.path().join(dataset);
    fs::create_dir(&folder).unwrap();
    let images: Vec<Value> = [30, 10, 20]
        .iter()
        .map(|id| json!({"id": id, "file_name": format!("{id}.jpg"), "height": 10, "width": 12}))
        .collect();
    for id in [10, 20, 30] {
        png::write_rgb(&pictures.join(format!("{id}.jpg")), &RgbImage::new(12, 10)).unwrap();
    }
    let instances = json!({"images": images, "annotations": annotations, "categories": []});
    fs::write(folder.join("instances.json"), instances.to_string()).unwrap();
    pickle::write(&folder.join(format!("refs({SPLIT_BY}).p")), references).unwrap();
    root
}

fn annotation(id: i64, segmentation: &Value) -> Value {
    json!({"id": id, "image_id": 10, "category_id": 1, "segmentation": segmentation, "area": 1.0})
}

fn square(x: f64, y: f64, size: f64) -> Value {
    json!([x, y, x + size, y, x + size, y + size, x, y + size])
}

/// Two overlapping squares, an RLE of the first column, nothing.
fn annotations() -> Value {
    json!([
        annotation(1, &json!([square(0.0, 0.0, 4.0), square(2.0, 2.0, 4.0)])),
        annotation(2, &json!([{"size": [10, 12], "counts": [0, 10, 110]}])),
        annotation(3, &json!([])),
    ])
}

fn reference(image: i64, ann_id: Value, split: &str, sentences: Value) -> Value {
    json!({"ref_id": 1, "ann_id": ann_id, "category_id": 1, "image_id": image, "split": split,
        "file_name": "x.jpg", "sent_ids": [1], "sentences": sentences})
}

fn references() -> Value {
    json!([
        reference(
            20,
            json!(2),
            "train",
            json!([{"sent": " Left Edge ", "tokens": ["left"], "raw": "Left", "sent_id": 5}])
        ),
        reference(10, json!(1), "train", json!([{"sent": "squares"}, {"sent": "both"}])),
        reference(
            10,
            json!([2, 3]),
            "train",
            json!([{"sent": "edge"}, {"sent": "ghost", "is_false_premise": true, "gt_sent": " The Edge "}])
        ),
        reference(30, json!([-1]), "testAB", json!([{"sent": "none"}, {"sent": "no", "exist": false}])),
    ])
}

fn read() -> Arc<Composition> {
    let one = |text: &str| vec![text.to_owned()];
    let templates = Templates {
        short_question: one("[{class_name}]?"),
        long_question: one("{sent}"),
        short_answer: one("{class_name} is [SEG]."),
        long_answer: one("[SEG]."),
        neg_answer: one("no {class_name}"),
        correct_answer: one("no {class_name} but {gt_name}"),
        explanatory: Vec::new(),
    };
    Arc::new(Composition::new(Convention::Read, Some(templates), 3).unwrap())
}

fn items(root: &Path, count: u64) -> Vec<TrainingItem> {
    let dataset = Refer::open(root, "refcoco", SPLIT_BY, "train", read()).unwrap();
    let mixture = Mixture::new("all", vec![(Box::new(dataset), 1.0)]).unwrap();
    (0..count).map(|position| mixture.item(5, position).unwrap()).collect()
}

/// PNG files recorded by the reference's `process_annotation` with pycocotools 2.0.7: sums of polygons and codes.
#[test]
fn targets_equal_the_recorded_ones() {
    let Some(goldens) = std::env::var_os("MASKWISE_GOLDENS") else {
        println!("skipped: MASKWISE_GOLDENS is not set");
        return;
    };
    let goldens = Path::new(&goldens);
    let manifest: Value =
        serde_json::from_slice(&fs::read(goldens.join("refcoco/manifest.json")).unwrap()).unwrap();
    let cases = manifest["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for (index, case) in cases.iter().enumerate() {
        let annotations = json!([annotation(1, &case["segmentation"])]);
        let references = json!([reference(10, json!(1), "val", json!([{"sent": "it"}]))]);
        let root = layout("refcoco", &references, &annotations);
        let images =
            json!([{"id": 10, "file_name": "10.jpg", "height": case["height"], "width": case["width"]}]);
        let instances = json!({"images": images, "annotations": annotations});
        fs::write(root.path().join("refcoco/instances.json"), instances.to_string()).unwrap();
        let [width, height] = ["width", "height"].map(|side| case[side].as_u64().unwrap() as u32);
        let picture = root.path().join("images/mscoco/images/train2014/10.jpg");
        png::write_rgb(&picture, &RgbImage::new(width, height)).unwrap();
        let dataset = ReferValidation::open(
            root.path(),
            "refcoco",
            SPLIT_BY,
            "val",
            QuestionTemplates::read(),
            &IndexCache::none(),
        )
        .unwrap();
        let mask = case["mask"].as_str().unwrap();
        let expected = decode_path(&goldens.join(mask), &DecodeOptions::default()).unwrap();
        let target = dataset.item(0).unwrap().target;
        assert!(expected.pixels().map(|pixel| pixel.0[0]).eq(target), "case {index}");
    }
}

#[test]
fn items_pool_the_sentences_of_an_image() {
    let root = layout("refcoco", &references(), &annotations());
    let mut seen: BTreeMap<(String, String), u64> = BTreeMap::new();
    for item in items(root.path(), 400) {
        let one = item.id.contains("20.jpg");
        assert_eq!(item.conversations.len(), if one { 1 } else { 3 });
        for row in item.conversations {
            let area = row.masks.first().map_or(0, |mask| mask.area());
            assert_eq!(*seen.entry(row.rounds[0].clone()).or_insert(area), area);
        }
    }
    let pair = |question: &str, answer: &str| (question.to_owned(), answer.to_owned());
    // The area of two 4 × 4 squares that share 2 × 2, by COCO's rule; a column of ten; a false premise has none. Questions are not
    // stripped, answers are.
    let expected = BTreeMap::from([
        (pair("[ left edge ]?", "left edge is [SEG]."), 10),
        (pair("[both]?", "both is [SEG]."), 28),
        (pair("[squares]?", "squares is [SEG]."), 28),
        (pair("[edge]?", "edge is [SEG]."), 10),
        (pair("[ghost]?", "no ghost but the edge"), 0),
    ]);
    assert_eq!(seen, expected);
}

#[test]
fn validation_has_every_sentence_and_empty_targets_for_false_ones() {
    let root = layout("refcoco", &references(), &annotations());
    let open = |split| {
        ReferValidation::open(
            root.path(),
            "refcoco",
            SPLIT_BY,
            split,
            QuestionTemplates::lisa(),
            &IndexCache::none(),
        )
    };
    let train = open("train").unwrap();
    assert_eq!(train.len(), 5);
    let items: Vec<_> = (0..5).map(|index| train.item(index).unwrap()).collect();
    let sums: Vec<u64> =
        items.iter().map(|item| item.target.iter().map(|&value| u64::from(value)).sum()).collect();
    // Images in the order of their ids; the squares' sum counts the shared pixels twice.
    assert_eq!(sums, [32, 32, 10, 0, 10]);
    assert_eq!(items.iter().map(|item| item.exists).collect::<Vec<_>>(), [true, true, true, false, true]);
    assert_eq!(items[4].question, "What is left edge in this image? Please output segmentation mask.");
    for split in ["testA", "testB", "test"] {
        let test = open(split).unwrap();
        let items = [test.item(0).unwrap(), test.item(1).unwrap()];
        assert_eq!((test.len(), items[0].exists, items[1].exists), (2, true, false), "{split}");
        assert!(
            items.iter().all(|item| item.target.len() == 120 && item.target.iter().all(|&value| value == 0))
        );
    }
    assert!(open("val").err().unwrap().to_string().contains("the split val has no sentences"));
}

#[test]
fn lisa_strips_and_refuses_false_premises() {
    let lisa = || Arc::new(Composition::new(Convention::Lisa, None, 3).unwrap());
    let root = layout("refcoco", &references(), &annotations());
    let error = Refer::open(root.path(), "refcoco", SPLIT_BY, "train", lisa()).err().unwrap().to_string();
    assert!(error.contains("refcoco has false premises"), "{error}");
    let honest = json!([references()[0]]);
    let root = layout("refcoco", &honest, &annotations());
    let dataset = Refer::open(root.path(), "refcoco", SPLIT_BY, "train", lisa()).unwrap();
    let mixture = Mixture::new("all", vec![(Box::new(dataset), 1.0)]).unwrap();
    let item = mixture.item(0, 0).unwrap();
    assert!(item.conversations[0].rounds[0].0.contains(" left edge "), "{item:?}");
    assert!(!item.conversations[0].rounds[0].0.contains("  "));
}

#[test]
fn a_group_opens_its_members_by_the_convention() {
    let root = layout("refcoco", &references(), &annotations());
    let group = refer_group("refer_seg", root.path(), &["refcoco"], &read()).unwrap();
    assert!(group.item(0, 0).unwrap().id.starts_with("refcoco: "));
    let error =
        refer_group("refer_seg", root.path(), &["refcoco", "refcocog"], &read()).err().unwrap().to_string();
    assert!(error.contains("refcocog/refs(umd_exclude_unified).p"), "{error}");
}

#[test]
fn splits_are_named_as_in_the_scripts() {
    let name = |dataset| {
        [Convention::Lisa, Convention::Read].map(|convention| default_split_by(dataset, convention))
    };
    assert_eq!(name("refclef"), ["unc", "unc"]);
    assert_eq!(name("refcoco+"), ["unc", "unc_exclude_unified"]);
    assert_eq!(name("refcocog"), ["umd", "umd_exclude_unified"]);
    assert_eq!(name("R-refcocog")[1], "umd_exclude_unified");
    assert_eq!(name("fprefcoco+")[1], "berkeley_exclude_unified");
}

#[test]
fn wrong_files_are_named() {
    let open = |root: &TempDir| Refer::open(root.path(), "refcoco", SPLIT_BY, "train", read());
    let failure = |root: &TempDir| open(root).err().unwrap().to_string();
    let refs = |root: &TempDir| root.path().join("refcoco").join(format!("refs({SPLIT_BY}).p"));
    let instances = |root: &TempDir| root.path().join("refcoco/instances.json");

    let root = layout("refcoco", &references(), &annotations());
    fs::write(refs(&root), b"cos\nsystem\n(S'true'\ntR.").unwrap();
    let error = failure(&root);
    assert!(error.contains("refs(unc_exclude_unified).p") && error.contains("os.system"), "{error}");
    fs::remove_file(refs(&root)).unwrap();
    assert!(failure(&root).contains("cannot read"));
    pickle::write(&refs(&root), &json!([{"image_id": 10}])).unwrap();
    assert!(failure(&root).contains("ann_id"));
    pickle::write(&refs(&root), &json!([reference(99, json!(1), "train", json!([{"sent": "x"}]))])).unwrap();
    assert!(failure(&root).contains("instances.json: it does not list image 99"));

    for (text, reason) in [
        ("{\"images\": [", "EOF"),
        ("{\"images\": [], \"annotations\": []}", "no images"),
        (
            "{\"images\": [{\"id\": 10, \"file_name\": \"a\", \"height\": 1000000, \"width\": 1000000}], \"annotations\": []}",
            "limit",
        ),
    ] {
        let root = layout("refcoco", &references(), &annotations());
        fs::write(instances(&root), text).unwrap();
        let error = failure(&root);
        assert!(error.contains("instances.json: ") && error.contains(reason), "{error}");
    }

    // Found when the item is drawn.
    let one = json!([reference(10, json!(1), "train", json!([{"sent": "x"}]))]);
    for (segmentation, reason) in [
        (json!([[1.0, 2.0, 3.0]]), "annotation 1: "),
        (json!([{"size": [3, 4], "counts": [12]}]), "annotation 1: "),
    ] {
        let root = layout("refcoco", &one, &json!([annotation(1, &segmentation)]));
        let mixture = Mixture::new("all", vec![(Box::new(open(&root).unwrap()), 1.0)]).unwrap();
        let error = mixture.item(0, 0).unwrap_err().to_string();
        assert!(error.starts_with("dataset refcoco: ") && error.contains(reason), "{error}");
    }
    let root = layout("refcoco", &one, &json!([]));
    let mixture = Mixture::new("all", vec![(Box::new(open(&root).unwrap()), 1.0)]).unwrap();
    assert!(mixture.item(0, 0).unwrap_err().to_string().contains("annotation 1: it is not there"));
    let root = layout("refcoco", &one, &annotations());
    fs::remove_file(root.path().join("images/mscoco/images/train2014/10.jpg")).unwrap();
    let mixture = Mixture::new("all", vec![(Box::new(open(&root).unwrap()), 1.0)]).unwrap();
    let error = mixture.item(0, 0).unwrap_err().to_string();
    assert!(error.starts_with("dataset refcoco: ") && error.contains("10.jpg"), "{error}");
}
