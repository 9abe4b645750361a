//! Label maps, parts and LLaVA-Instruct: layouts, composition of items, and files that are wrong.

#![allow(clippy::unwrap_used)] // Helpers outside #[test] functions are test code as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use image::{GrayImage, RgbImage};
use maskwise_data::dataset::{
    Composition, Convention, DatasetError, Instruct, LabelMaps, Mixture, PartInstances, Templates,
    TrainingDataset, TrainingItem, semantic_group,
};
use maskwise_data::mask::png;
use serde_json::{Value, json};
use tempfile::TempDir;

fn put(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn picture(root: &Path, path: &str) {
    put(root, path, b"");
    png::write_rgb(&root.join(path), &RgbImage::new(4, 1)).unwrap();
}

fn grey(root: &Path, path: &str, values: [u8; 4]) {
    put(root, path, b"");
    GrayImage::from_raw(4, 1, values.to_vec()).unwrap().save(root.join(path)).unwrap();
}

fn read() -> Arc<Composition> {
    let one = |text: &str| vec![text.to_owned()];
    let templates = Templates {
        short_question: one("{class_name}"),
        long_question: one("{sent}"),
        short_answer: one("{class_name} [SEG]."),
        long_answer: one("[SEG]."),
        neg_answer: one("no {class_name}"),
        correct_answer: one("no {class_name} but {gt_name}"),
        explanatory: Vec::new(),
    };
    Arc::new(Composition::new(Convention::Read, Some(templates), 3).unwrap())
}

fn lisa() -> Arc<Composition> {
    Arc::new(Composition::new(Convention::Lisa, None, 3).unwrap())
}

fn mixture(dataset: impl TrainingDataset + 'static) -> Mixture {
    Mixture::new("all", vec![(Box::new(dataset), 1.0)]).unwrap()
}

fn items(dataset: impl TrainingDataset + 'static, count: u64) -> Vec<TrainingItem> {
    let mixture = mixture(dataset);
    (0..count).map(|position| mixture.item(5, position).unwrap()).collect()
}

/// Question → the pixels of its mask, over all items whose premise is true.
fn asked(items: &[TrainingItem]) -> BTreeMap<String, Vec<u8>> {
    let rows = items.iter().flat_map(|item| &item.conversations).filter(|row| !row.masks.is_empty());
    rows.map(|row| (row.rounds[0].0.clone(), row.masks[0].data.clone())).collect()
}

fn ade20k() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    put(
        root.path(),
        "ade20k/ade20k_classes.json",
        json!(["Wall", "sky", "tree", "bed", "cat"]).to_string().as_bytes(),
    );
    for name in ["a", "b"] {
        picture(root.path(), &format!("ade20k/images/training/{name}.jpg"));
    }
    grey(root.path(), "ade20k/annotations/training/a.png", [0, 1, 3, 1]);
    grey(root.path(), "ade20k/annotations/training/b.png", [0, 0, 255, 0]);
    root
}

#[test]
fn ade20k_counts_from_one_and_skips_images_without_labels() {
    let root = ade20k();
    let items = items(LabelMaps::open("ade20k", root.path(), read()).unwrap(), 4000);
    assert!(items.iter().all(|item| item.id.ends_with("a.jpg") && item.conversations.len() == 2));
    let expected =
        BTreeMap::from([("wall".to_owned(), vec![0, 1, 0, 1]), ("tree".to_owned(), vec![0, 0, 1, 0])]);
    assert_eq!(asked(&items), expected);
    let answers: Vec<&str> = items.iter().map(|item| &*item.conversations[0].rounds[0].1).collect();
    let count = |wanted: fn(&str) -> bool| answers.iter().filter(|answer| wanted(answer)).count();
    // 0.85, 0.07 and 0.08 of 4000, within six standard deviations.
    assert!((3264..3536).contains(&count(|answer| answer.contains("[SEG]"))));
    assert!((183..377).contains(&count(|answer| answer.starts_with("no ") && !answer.contains(" but "))));
    assert!((217..423).contains(&count(|answer| answer.contains(" but "))));
    // What is denied is absent, what stands in for it is there.
    let corrections: BTreeSet<&str> =
        answers.iter().filter(|answer| answer.contains(" but ")).copied().collect();
    assert!(corrections.contains("no sky but wall"), "{corrections:?}");
    assert!(!corrections.iter().any(|answer| answer.starts_with("no wall") || answer.ends_with("but cat")));
}

#[test]
fn groups_draw_their_members_alike() {
    let root = ade20k();
    put(root.path(), "cocostuff/cocostuff_classes.txt", b"0: unlabeled\n1: person\n");
    picture(root.path(), "coco/train2017/7.jpg");
    grey(root.path(), "cocostuff/train2017/7.png", [0; 4]);
    let group = semantic_group("sem_seg", root.path(), &["ade20k", "cocostuff"], &lisa()).unwrap();
    let of_coco = items(group, 1000).iter().filter(|item| item.id.starts_with("cocostuff")).count();
    // Half of them, within six standard deviations.
    assert!((405..595).contains(&of_coco), "{of_coco}");
    let error = |members: &[&str]| {
        semantic_group("sem_seg", root.path(), members, &lisa()).err().unwrap().to_string()
    };
    assert!(
        error(&["ade20k", "ade"]).contains("\"ade\" is no semantic dataset; there are ade20k, cocostuff")
    );
    assert!(error(&["mapillary"]).contains("config_v2.0.json"));
    assert!(error(&[]).contains("no dataset"));
}

#[test]
fn lisa_asks_only_for_what_is_there() {
    let root = ade20k();
    let items = items(LabelMaps::open("ade20k", root.path(), lisa()).unwrap(), 300);
    assert!(items.iter().flat_map(|item| &item.conversations).all(|row| row.masks.len() == 1));
}

#[test]
fn cocostuff_ignores_names_with_hyphens() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "cocostuff/cocostuff_classes.txt", b"0: unlabeled\n1: person\n2: wall-brick\n3: sand\n");
    picture(root.path(), "coco/train2017/7.jpg");
    grey(root.path(), "cocostuff/train2017/7.png", [0, 1, 2, 255]);
    let items = items(LabelMaps::open("cocostuff", root.path(), lisa()).unwrap(), 50);
    let masks: BTreeSet<Vec<u8>> = asked(&items).into_values().collect();
    assert_eq!(masks, BTreeSet::from([vec![1, 0, 0, 0], vec![0, 0, 1, 0]]));
    assert!(asked(&items).keys().all(|question| !question.contains("brick")));
}

#[test]
fn mapillary_reads_palette_indices() {
    let root = tempfile::tempdir().unwrap();
    let config = json!({"labels": [{"readable": "Bird", "name": "animal--bird"}, {"readable": "Curb"}]});
    put(root.path(), "mapillary/config_v2.0.json", config.to_string().as_bytes());
    picture(root.path(), "mapillary/training/images/x.jpg");
    put(root.path(), "mapillary/training/v2.0/labels/x.png", b"");
    png::write_index(&root.path().join("mapillary/training/v2.0/labels/x.png"), &[1, 0, 1, 1], 1, 4).unwrap();
    let items = items(LabelMaps::open("mapillary", root.path(), read()).unwrap(), 50);
    assert_eq!(
        asked(&items),
        BTreeMap::from([("bird".to_owned(), vec![0, 1, 0, 0]), ("curb".to_owned(), vec![1, 0, 1, 1])])
    );
}

#[test]
fn wrong_label_maps_are_named() {
    let failure = |root: &TempDir| -> String {
        let opened = LabelMaps::open("ade20k", root.path(), lisa());
        opened.and_then(|dataset| mixture(dataset).item(0, 0)).unwrap_err().to_string()
    };
    let map = "ade20k/annotations/training/a.png";
    let root = ade20k();
    grey(root.path(), "ade20k/annotations/training/b.png", [9; 4]);
    grey(root.path(), map, [9; 4]);
    let error = failure(&root);
    assert!(
        error.starts_with("dataset ade20k: ") && error.contains("the label 9 is no class; there are 5"),
        "{error}"
    );
    for name in ["a", "b"] {
        png::write_rgb(
            &root.path().join(format!("ade20k/annotations/training/{name}.png")),
            &RgbImage::new(4, 1),
        )
        .unwrap();
    }
    assert!(failure(&root).contains("not 8-bit grey or palette"));
    for name in ["a", "b"] {
        grey(root.path(), &format!("ade20k/annotations/training/{name}.png"), [0; 4]);
    }
    assert!(failure(&root).contains("100 label maps in a row"));
    for name in ["a", "b"] {
        fs::write(root.path().join(format!("ade20k/annotations/training/{name}.png")), "no png").unwrap();
    }
    assert!(failure(&root).contains("is no label map"));
    fs::remove_dir_all(root.path().join("ade20k/annotations")).unwrap();
    assert!(failure(&root).contains("cannot be read"));
    fs::remove_dir_all(root.path().join("ade20k/images/training")).unwrap();
    assert!(failure(&root).contains("cannot be listed"));
    fs::create_dir(root.path().join("ade20k/images/training")).unwrap();
    assert!(failure(&root).contains("no .jpg files"));
    fs::remove_file(root.path().join("ade20k/ade20k_classes.json")).unwrap();
    assert!(failure(&root).contains("ade20k_classes.json: cannot be read"));
}

fn paco(annotations: &Value) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let file = json!({
        "images": [{"id": 3, "file_name": "train2017/3.jpg", "height": 1, "width": 4}, {"id": 4, "file_name": "none.jpg", "height": 1, "width": 4}],
        "categories": [{"id": 1, "name": "mug_(cup)"}, {"id": 2, "name": "mug_(cup):handle_(left)"}, {"id": 9, "name": "Dog:tail"}],
        "annotations": annotations,
    });
    put(root.path(), "vlpart/paco/annotations/paco_lvis_v1_train.json", file.to_string().as_bytes());
    picture(root.path(), "coco/train2017/3.jpg");
    root
}

fn part(id: i64, category: i64, image: i64, counts: Value) -> Value {
    json!({"id": id, "category_id": category, "image_id": image, "segmentation": {"size": [1, 4], "counts": counts}})
}

#[test]
fn parts_are_named_in_two_ways_and_masks_are_those_of_annotations() {
    let annotations = json!([part(1, 1, 3, json!([0, 3, 1])), part(2, 2, 3, json!([2, 1, 1]))]);
    let root = paco(&annotations);
    let items = items(PartInstances::paco_lvis(root.path(), read()).unwrap(), 600);
    let expected = BTreeMap::from([
        ("mug".to_owned(), vec![1, 1, 1, 0]),
        ("mug handle".to_owned(), vec![0, 0, 1, 0]),
        ("the handle of the mug".to_owned(), vec![0, 0, 1, 0]),
    ]);
    assert_eq!(asked(&items), expected);
    let denied: BTreeSet<&str> = items
        .iter()
        .filter(|item| item.conversations[0].masks.is_empty())
        .flat_map(|item| &item.conversations)
        .map(|row| &*row.rounds[0].0)
        .collect();
    // Only one class is absent, so that one row is left.
    assert_eq!(denied, BTreeSet::from(["dog tail", "the tail of the dog"]));

    let pascal = tempfile::tempdir().unwrap();
    let file = fs::read(root.path().join("vlpart/paco/annotations/paco_lvis_v1_train.json")).unwrap();
    put(pascal.path(), "vlpart/pascal_part/train.json", &file);
    picture(pascal.path(), "vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages/train2017/3.jpg");
    let dataset = PartInstances::pascal_part(pascal.path(), lisa()).unwrap();
    assert!(mixture(dataset).item(0, 0).unwrap().id.starts_with("pascal_part: "));
}

#[test]
fn wrong_part_files_are_named() {
    for (annotations, reason) in [
        (json!([part(1, 5, 3, json!([4]))]), "annotation 1 refers to no listed category"),
        (json!([part(1, 1, 8, json!([4]))]), "annotation 1 refers to no listed image"),
        (json!([]), "no annotations"),
        (json!([part(1, 1, 3, json!([5]))]), "cover"),
    ] {
        let root = paco(&annotations);
        // What is wrong with an area is found when it is drawn.
        let drawn = PartInstances::paco_lvis(root.path(), read()).map(|dataset| mixture(dataset).item(0, 0));
        let error = drawn.and_then(|item| item).err().unwrap().to_string();
        assert!(error.contains("paco_lvis_v1_train.json: ") && error.contains(reason), "{error}");
    }
}

#[test]
fn instructions_are_rows_of_several_rounds() {
    let root = tempfile::tempdir().unwrap();
    picture(root.path(), "coco/1.jpg");
    let turn = |from: &str, value: &str| json!({"from": from, "value": value});
    let file = root.path().join("llava.json");
    let open = |conversations: Value| -> Result<TrainingItem, DatasetError> {
        let entries = json!([{"id": "1", "image": "1.jpg", "conversations": conversations}]);
        fs::write(&file, entries.to_string()).unwrap();
        mixture(Instruct::open("vqa", &file, &root.path().join("coco"))?).item(0, 0)
    };
    let item = open(json!([
        turn("gpt", "left out"),
        turn("human", "What is it?\n<image>"),
        turn("gpt", "A mug."),
        turn("human", "Why?"),
        turn("gpt", "It is."),
    ]))
    .unwrap();
    let pair = |question: &str, answer: &str| (question.to_owned(), answer.to_owned());
    assert_eq!(item.conversations.len(), 1);
    assert_eq!(item.conversations[0].rounds, [pair("What is it?", "A mug."), pair("Why?", "It is.")]);
    for bad in
        [json!([]), json!([turn("human", "What?")]), json!([turn("human", "What?"), turn("human", "Why?")])]
    {
        let error = open(bad).unwrap_err().to_string();
        assert!(error.contains("llava.json: entry 0: its turns"), "{error}");
    }
    assert!(open(json!([turn("robot", "x")])).unwrap_err().to_string().contains("robot"));
    fs::write(&file, "[]").unwrap();
    assert!(Instruct::open("vqa", &file, root.path()).err().unwrap().to_string().contains("no entries"));
}
