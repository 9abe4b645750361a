//! Our own layout, COCO's instances and LabelMe's folders: what is read, what is refused, and that conversions keep the masks.

#![allow(clippy::unwrap_used)] // The lints exempt test functions, not their helpers.

use maskwise_data::dataset::{
    CocoInstances, Composition, Convention, DatasetError, IndexCache, JsonLines, JsonLinesValidation,
    LabelMeFolder, ReasonSegValidation, SampleRng, Target, TrainingDataset, ValidationDataset,
    ValidationItem, convert, survey,
};
use maskwise_data::image::RgbImage;
use maskwise_data::mask::png::write_rgb;
use maskwise_data::tabletop::{Layout, SceneConfig, Split, World, write_layout};
use maskwise_data::text::QuestionTemplates;
use rand::SeedableRng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn bare() -> QuestionTemplates {
    QuestionTemplates::bare()
}

fn items(dataset: &dyn ValidationDataset) -> Vec<ValidationItem> {
    (0..dataset.len()).map(|index| dataset.item(index).unwrap()).collect()
}

/// Tabletop pictures in our own layout.
fn tabletop(folder: &Path) -> JsonLinesValidation {
    let scenes = SceneConfig { size: 96, ..SceneConfig::default() };
    let world = World::new(3, Split::Test, scenes).unwrap();
    write_layout(&world, Layout::JsonLines, folder, 5, &mut |_| ()).unwrap();
    JsonLinesValidation::open("ours", folder, "test", bare(), &IndexCache::none()).unwrap()
}

/// The targets by picture and text, without those of what is not there.
fn targets(
    dataset: &dyn ValidationDataset,
    known: &BTreeMap<Vec<u8>, usize>,
) -> BTreeMap<(usize, String), Vec<u8>> {
    let present = items(dataset).into_iter().filter(|item| item.exists);
    present
        .map(|item| {
            let text = item.text().to_lowercase();
            ((known[item.image.as_raw()], text), item.target)
        })
        .collect()
}

#[test]
fn conversions_keep_every_mask() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let ours = tabletop(&at("ours"));
    let images =
        items(&ours).into_iter().enumerate().map(|(number, item)| (item.image.as_raw().clone(), number));
    let known: BTreeMap<Vec<u8>, usize> = images.collect();
    let expected = targets(&ours, &known);
    assert!(expected.len() > 10);
    let absent = items(&ours).iter().filter(|item| !item.exists).count();
    assert!(absent > 0);

    let done = convert(&ours, Target::ReasonSeg, &at("reason"), "val", &mut |_| ()).unwrap();
    assert_eq!((done.questions + done.left_out, done.left_out), (ours.len(), absent));
    let reason = ReasonSegValidation::open("reason", &at("reason/val"), bare()).unwrap();
    assert_eq!(targets(&reason, &known), expected);

    convert(&ours, Target::Coco, &at("coco"), "val", &mut |_| ()).unwrap();
    let coco =
        CocoInstances::open("coco", &at("coco/val.json"), &at("coco/images"), bare(), &IndexCache::none())
            .unwrap();
    assert_eq!(targets(&coco, &known), expected);

    convert(&ours, Target::LabelMe, &at("labelme"), "val", &mut |_| ()).unwrap();
    let labelme = LabelMeFolder::open("labelme", &at("labelme/val"), bare()).unwrap();
    assert_eq!(targets(&labelme, &known), expected);

    // And back again, those that are not there included.
    for (name, dataset) in
        [("a", &reason as &dyn ValidationDataset), ("b", &coco), ("c", &labelme), ("d", &ours)]
    {
        convert(dataset, Target::JsonLines, &at(name), "val", &mut |_| ()).unwrap();
        let back = JsonLinesValidation::open(name, &at(name), "val", bare(), &IndexCache::none()).unwrap();
        assert_eq!(targets(&back, &known), expected, "{name}");
        assert_eq!(back.len(), dataset.len(), "{name}");
    }
    let again = convert(&ours, Target::Coco, &at("coco"), "val", &mut |_| ()).unwrap_err();
    assert!(again.to_string().contains("is not empty"), "{again}");
}

/// A folder with one picture of 8 x 6 pixels and lines about it.
fn lines(folder: &Path, lines: &[Value]) {
    fs::create_dir_all(folder).unwrap();
    write_rgb(
        &folder.join("a.png"),
        &RgbImage::from_fn(8, 6, |x, y| [(x * 9) as u8, (y * 9) as u8, 3].into()),
    )
    .unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("val.jsonl"), text).unwrap();
}

fn code(counts: &[u32]) -> Value {
    json!({"size": [6, 8], "counts": counts})
}

#[test]
fn our_layout_takes_codes_and_pictures_as_masks() {
    let folder = tempfile::tempdir().unwrap();
    let white = RgbImage::from_fn(8, 6, |x, _| [if x == 7 { 255 } else { 0 }; 3].into());
    lines(
        folder.path(),
        &[
            json!({"image": "a.png", "phrase": "the left", "masks": [code(&[0, 6, 42])], "ignore": code(&[3, 6, 39]), "family": "side"}),
            json!({"image": "a.png", "question": "Where is the right?", "answer": "It is [SEG] and [SEG].", "masks": ["m.png", code(&[36, 6, 6])]}),
            json!({"image": "a.png", "phrase": "the cat", "masks": []}),
            json!({"image": "a.png", "sentence": "Where is the Cat?", "masks": []}),
        ],
    );
    write_rgb(&folder.path().join("m.png"), &white).unwrap();
    let dataset = JsonLinesValidation::open(
        "ours",
        folder.path(),
        "val",
        QuestionTemplates::read(),
        &IndexCache::none(),
    )
    .unwrap();
    let [left, right, cat, sentence] = &items(&dataset)[..] else { panic!() };
    assert_eq!(sentence.question, "Where is the Cat? Please output segmentation mask.");
    assert_eq!((right.masks, cat.masks), (2, 0));
    assert_eq!((left.family.as_str(), left.exists, cat.exists), ("side", true, false));
    assert_eq!(left.question, "What is the left in this image? Please output segmentation mask.");
    // The first column, of which the lower half is ignored, as is half of the next.
    assert_eq!(
        (left.target[0], left.target[3 * 8], left.target[1], left.target[4 * 8 + 1]),
        (1, 255, 255, 0)
    );
    assert_eq!((right.target[7], right.target[6], right.target[5]), (1, 1, 0));
    assert_eq!((0..4).map(|index| dataset.picture(index)).collect::<Vec<_>>(), [0; 4]);

    let composition = Arc::new(Composition::new(Convention::Lisa, None, 1).unwrap());
    fs::rename(folder.path().join("val.jsonl"), folder.path().join("train.jsonl")).unwrap();
    let training = JsonLines::open("ours", folder.path(), "train", composition).unwrap();
    let mut kinds = [0; 3];
    for seed in 0..40 {
        match training.draw(&mut SampleRng::seed_from_u64(seed)) {
            Ok(item) => {
                let conversation = &item.conversations[0];
                let segs = conversation.rounds[0].1.matches("[SEG]").count();
                assert_eq!(segs, conversation.masks.len());
                kinds[segs - 1] += 1;
            }
            // LISA cannot deny.
            Err(error) => {
                assert!(error.to_string().contains("0 masks and no answer"), "{error}");
                kinds[2] += 1;
            }
        }
    }
    assert!(kinds.iter().all(|count| *count > 3), "{kinds:?}");
}

fn refusal(result: Result<impl Sized, DatasetError>) -> String {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn damaged_lines_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let open = || JsonLinesValidation::open("ours", folder.path(), "val", bare(), &IndexCache::none());
    assert!(refusal(open()).contains("val.jsonl"));
    lines(folder.path(), &[]);
    assert!(refusal(open()).contains("no lines"));
    fs::write(
        folder.path().join("val.jsonl"),
        "{\"image\": \"a.png\", \"phrase\": \"x\", \"masks\": []}\n{\"image\": ",
    )
    .unwrap();
    assert!(refusal(open()).contains("line 2"));
    let of = |line: Value| {
        lines(folder.path(), &[line]);
        let dataset = open().unwrap();
        let found = survey(&dataset, &mut |_| ());
        assert_eq!(found.problems.len(), 1, "{found:?}");
        found.problems[0].reason.clone()
    };
    let both = json!({"image": "a.png", "phrase": "x", "question": "y", "masks": []});
    assert!(of(both).contains("one of \"question\", \"phrase\" and \"sentence\""));
    let count = json!({"image": "a.png", "phrase": "x", "answer": "Here.", "masks": [code(&[0, 48])]});
    assert!(of(count).contains("0 [SEG], but there are 1 masks"));
    let size = json!({"image": "a.png", "phrase": "x", "masks": [{"size": [3, 3], "counts": [9]}]});
    assert!(of(size).contains("3x3 pixels, its picture 8x6"));
    assert!(of(json!({"image": "b.png", "phrase": "x", "masks": []})).contains("b.png"));
    assert!(of(json!({"image": "a.png", "phrase": "x", "masks": [7]})).contains("a mask must be"));
    assert!(of(json!({"image": "a.png", "phrase": "x", "masks": [], "colour": 1})).contains("colour"));
    assert!(of(json!({"image": "a.png", "phrase": "x", "masks": [code(&[48])]})).contains("no pixel"));
    assert!(of(json!({"image": "a.png", "phrase": " ", "masks": []})).contains("empty"));
}

#[test]
fn coco_s_polygons_codes_and_crowds() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_rgb(&at("a.png"), &RgbImage::new(8, 6)).unwrap();
    let annotation = |id: i64, category: i64, crowd: u8, segmentation: Value| json!({"id": id, "image_id": 1, "category_id": category, "iscrowd": crowd, "segmentation": segmentation});
    let write = |annotations: Vec<Value>| {
        let file = json!({
            "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 6}, {"id": 2, "file_name": "none.png", "width": 8, "height": 6}],
            "categories": [{"id": 5, "name": "Mug"}, {"id": 7, "name": "fork"}],
            "annotations": annotations,
        });
        fs::write(at("val.json"), file.to_string()).unwrap();
        CocoInstances::open("coco", &at("val.json"), folder.path(), bare(), &IndexCache::none())
    };
    let square = |x: u32, y: u32| json!([x, y, x + 2, y, x + 2, y + 2, x, y + 2]);
    let dataset = write(vec![
        annotation(1, 7, 0, json!([square(0, 0), square(4, 0)])),
        annotation(2, 7, 0, json!({"size": [6, 8], "counts": [42, 6]})),
        annotation(3, 7, 1, json!({"size": [6, 8], "counts": [36, 6, 6]})),
        annotation(4, 5, 1, json!({"size": [6, 8], "counts": [0, 6, 42]})),
    ])
    .unwrap();
    // A crowd alone is no question.
    let [fork] = &items(&dataset)[..] else { panic!() };
    assert_eq!((fork.question.as_str(), fork.id.as_str()), ("fork", "coco: a.png"));
    assert!(fork.exists && fork.target.iter().filter(|value| **value == 1).count() == 4 + 4 + 6);
    assert_eq!(
        (fork.target[0], fork.target[4], fork.target[7], fork.target[6], fork.target[3]),
        (1, 1, 1, 255, 0)
    );
    let unknown = write(vec![annotation(1, 9, 0, json!([square(0, 0)]))]);
    assert!(refusal(unknown).contains("category 9"));
    let dataset = write(vec![annotation(1, 5, 0, json!({"size": [2, 2], "counts": [4]}))]).unwrap();
    assert!(refusal(dataset.item(0)).contains("annotation 1"));
    assert!(refusal(write(Vec::new())).contains("no annotations"));
}

#[test]
fn labelme_s_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_rgb(&at("a.png"), &RgbImage::new(8, 6)).unwrap();
    let write = |shapes: Value, width: usize| {
        let file = json!({"version": "5", "flags": {}, "shapes": shapes, "imagePath": "a.png", "imageData": null,
            "imageHeight": 6, "imageWidth": width});
        fs::write(at("a.json"), file.to_string()).unwrap();
        LabelMeFolder::open("labelme", folder.path(), bare())
    };
    let shape = |label: &str, kind: &str, points: Value| json!({"label": label, "points": points, "group_id": null, "shape_type": kind, "flags": {}});
    let left = shape("Mug", "rectangle", json!([[0.0, 0.0], [2.0, 6.0]]));
    let dataset = write(
        json!([
            left,
            shape("fork", "polygon", json!([[4.0, 0.0], [8.0, 0.0], [8.0, 3.0], [4.0, 3.0]])),
            shape("ignore", "polygon", json!([[0.0, 0.0], [8.0, 0.0], [8.0, 1.0], [0.0, 1.0]])),
            shape("Mug", "polygon", json!([[3.0, 5.0], [4.0, 5.0], [4.0, 6.0], [3.0, 6.0]])),
        ]),
        8,
    )
    .unwrap();
    let [mug, fork] = &items(&dataset)[..] else { panic!() };
    assert_eq!((mug.text(), fork.text()), ("mug", "fork"));
    assert_eq!((mug.target[0], mug.target[8], mug.target[10], mug.target[5 * 8 + 3]), (255, 1, 0, 1));
    assert_eq!(
        (fork.target[4], fork.target[12], fork.target[2 * 8 + 7], fork.target[3 * 8 + 7]),
        (255, 1, 1, 0)
    );
    let line = write(json!([shape("Mug", "polygon", json!([[0.0, 0.0], [2.0, 6.0]]))]), 8).unwrap();
    assert!(refusal(line.item(0)).contains("at least three"));
    assert!(refusal(write(json!([left]), 9).unwrap().item(0)).contains("9x6"));
    assert!(refusal(write(json!([]), 8)).contains("no LabelMe files"));
}

#[test]
fn what_a_layout_cannot_hold_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let ours = at("ours");
    lines(
        &ours,
        &[
            json!({"image": "a.png", "phrase": "the left", "masks": [code(&[0, 6, 42])]}),
            json!({"image": "a.png", "phrase": "The left", "masks": [code(&[6, 6, 36])]}),
            json!({"image": "a.png", "phrase": "the right", "masks": [code(&[42, 6])], "ignore": code(&[0, 6, 42])}),
            json!({"image": "a.png", "phrase": "the cat", "masks": []}),
        ],
    );
    let dataset = JsonLinesValidation::open("ours", &ours, "val", bare(), &IndexCache::none()).unwrap();
    let left_out = |target: Target, name: &str| {
        let done = convert(&dataset, target, &at(name), "val", &mut |_| ()).unwrap();
        assert_eq!(done.questions + done.left_out, 4);
        done.left_out
    };
    assert_eq!(left_out(Target::JsonLines, "a"), 0);
    assert_eq!(left_out(Target::ReasonSeg, "b"), 1, "what is not there");
    assert_eq!(left_out(Target::Coco, "c"), 2, "and the same words again");
    assert_eq!(left_out(Target::LabelMe, "d"), 3, "and other ignored pixels");
    let coco =
        CocoInstances::open("coco", &at("c/val.json"), &at("c/images"), bare(), &IndexCache::none()).unwrap();
    let [left, right] = &items(&coco)[..] else { panic!() };
    assert_eq!(left.target.iter().filter(|value| **value == 1).count(), 6);
    assert_eq!((right.target[7], right.target[0]), (1, 255));
}
