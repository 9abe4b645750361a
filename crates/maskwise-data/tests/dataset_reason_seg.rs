//! ReasonSeg's layout: targets to the pixel, composition of items, folders of a user's own, and files that are wrong.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // Helpers outside #[test] functions are test code as well.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use maskwise_data::dataset::{
    Composition, Convention, Mixture, ReasonSeg, ReasonSegValidation, Templates, TrainingItem,
    ValidationDataset,
};
use maskwise_data::image::{DecodeOptions, decode_path};
use maskwise_data::mask::png;
use maskwise_data::text::QuestionTemplates;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder of 12 × 10 pictures with these annotations, as `0.jpg`, `0.json`, `1.jpg`, …
fn folder(annotations: &[Value]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (index, annotation) in annotations.iter().enumerate() {
        png::write_rgb(&folder.path().join(format!("{index}.jpg")), &RgbImage::new(12, 10)).unwrap();
        fs::write(folder.path().join(format!("{index}.json")), annotation.to_string()).unwrap();
    }
    folder
}

fn square(label: &str, from: f64, to: f64) -> Value {
    json!({"label": label, "points": [[from, from], [to, from], [to, to], [from, to]]})
}

fn mug() -> Value {
    json!({"shapes": [square("target", 2.0, 5.0)], "text": ["The Mug", "a cup", "the red one", "what holds tea"],
        "is_sentence": false,
        "false_premise_QA": [["a Lion", false, "There is no lion."], ["Where is the boat?", true, "No boat is here."]]})
}

fn lisa() -> Arc<Composition> {
    Arc::new(Composition::new(Convention::Lisa, None, 3).unwrap())
}

/// Templates that show where they were used.
fn read() -> Arc<Composition> {
    let one = |text: &str| vec![text.to_owned()];
    let templates = Templates {
        short_question: one("short {class_name}?"),
        long_question: one("long {sent}"),
        short_answer: one("short {class_name} [SEG]."),
        long_answer: one("long [SEG]."),
        neg_answer: one("no {class_name}"),
        correct_answer: one("no {class_name} but {gt_name}"),
        explanatory: Vec::new(),
    };
    Arc::new(Composition::new(Convention::Read, Some(templates), 3).unwrap())
}

fn items(dataset: ReasonSeg, count: u64) -> Vec<TrainingItem> {
    let mixture = Mixture::new("all", vec![(Box::new(dataset), 1.0)]).unwrap();
    (0..count).map(|position| mixture.item(5, position).unwrap()).collect()
}

/// PNG files recorded by `get_mask_from_json` of the reference with opencv 4.8.0.74.
#[test]
fn targets_equal_the_recorded_ones() {
    let Some(goldens) = std::env::var_os("MASKWISE_GOLDENS") else {
        println!("skipped: MASKWISE_GOLDENS is not set");
        return;
    };
    let goldens = Path::new(&goldens).join("reasonseg");
    let manifest: Value = serde_json::from_slice(&fs::read(goldens.join("manifest.json")).unwrap()).unwrap();
    let cases = manifest["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let name =
            Path::new(case["mask"].as_str().unwrap()).file_stem().unwrap().to_str().unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let mask = goldens.join(format!("{name}.png"));
        // The recorded mask, which has the picture's size, stands in for the picture.
        fs::copy(&mask, folder.path().join("0.png")).unwrap();
        fs::copy(goldens.join(format!("{name}.json")), folder.path().join("0.json")).unwrap();
        let dataset = ReasonSegValidation::open("golden", folder.path(), QuestionTemplates::read()).unwrap();
        let item = dataset.item(0).unwrap();
        let expected = decode_path(&mask, &DecodeOptions::default()).unwrap();
        assert!(expected.pixels().map(|pixel| pixel.0[0]).eq(item.target.iter().copied()), "{name}");
        let text = case["text"][0].as_str().unwrap();
        let (text, family) = if case["is_sentence"] == true {
            (text.to_owned(), "long")
        } else {
            (text.to_lowercase(), "short")
        };
        assert!(item.question.contains(&text) && item.family == family, "{name}: {}", item.question);
    }
}

#[test]
fn small_shapes_show_on_large_ones_and_flags_do_not() {
    let annotation = json!({"text": ["x"], "shapes": [
        square("Ignored area", 3.0, 4.0), square("anything", 1.0, 6.0), square("FLAG", 8.0, 9.0)]});
    let files = folder(&[annotation]);
    let item =
        ReasonSegValidation::open("mine", files.path(), QuestionTemplates::lisa()).unwrap().item(0).unwrap();
    let value = |x: usize, y: usize| item.target[y * 12 + x];
    assert_eq!(
        [value(0, 0), value(1, 1), value(6, 6), value(3, 3), value(4, 4), value(7, 7), value(8, 8)],
        [0, 1, 1, 255, 255, 0, 0]
    );
    assert_eq!(item.answer, "[SEG].");
    assert!(item.exists);
}

#[test]
fn validation_asks_the_first_text_in_order_of_names() {
    let sentence = json!({"shapes": [square("target", 2.0, 5.0)], "text": "Which one holds Tea?"});
    let files = folder(&[mug(), sentence]);
    let dataset = ReasonSegValidation::open("val", files.path(), QuestionTemplates::read()).unwrap();
    assert_eq!(dataset.len(), 2);
    let items = [dataset.item(0).unwrap(), dataset.item(1).unwrap()];
    assert_eq!(items[0].question, "What is the mug in this image? Please output segmentation mask.");
    assert_eq!(items[1].question, "Which one holds Tea? Please output segmentation mask.");
    assert_eq!([&*items[0].family, &*items[1].family], ["short", "long"]);
    assert!(items[1].id.contains("1.jpg"));
    assert_eq!(items[0].target.iter().filter(|&&value| value == 1).count(), 16);
}

#[test]
fn lisa_asks_up_to_three_texts_with_its_templates() {
    let files = folder(&[mug()]);
    let items = items(ReasonSeg::open("rs", files.path(), lisa()).unwrap(), 300);
    let mut questions: BTreeMap<String, usize> = BTreeMap::new();
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for item in &items {
        assert_eq!(item.conversations.len(), 3);
        for row in &item.conversations {
            assert_eq!((row.rounds.len(), row.masks.len(), row.masks[0].area()), (1, 1, 16));
            let (question, answer) = row.rounds[0].clone();
            *questions.entry(question).or_default() += 1;
            *answers.entry(answer).or_default() += 1;
        }
    }
    // Four texts in four templates; five answers.
    assert_eq!((questions.len(), answers.len()), (16, 5));
    assert!(questions.contains_key("Can you segment the the mug in this image?"));
    assert!(questions.values().all(|&count| (25..95).contains(&count)), "{questions:?}");
    assert!(answers.values().all(|&count| (130..230).contains(&count)), "{answers:?}");
}

#[test]
fn read_asks_for_what_is_not_there_in_15_of_100() {
    let files = folder(&[mug()]);
    let items = items(ReasonSeg::open("rs", files.path(), read()).unwrap(), 2000);
    let (deceived, honest): (Vec<_>, Vec<_>) =
        items.iter().partition(|item| item.conversations.iter().all(|row| row.masks.is_empty()));
    // Six standard deviations of a binomial with 2000 draws at 0.15.
    assert!((204..396).contains(&deceived.len()), "{}", deceived.len());
    for item in deceived {
        let rounds: Vec<_> = item.conversations.iter().map(|row| row.rounds[0].clone()).collect();
        let pair = |question: &str, answer: &str| (question.to_owned(), answer.to_owned());
        // Verbatim, and in the file's order, since there are fewer than three.
        assert_eq!(
            rounds,
            [pair("short a Lion?", "There is no lion."), pair("long Where is the boat?", "No boat is here."),]
        );
    }
    for item in honest {
        assert_eq!(item.conversations.len(), 3);
        for row in &item.conversations {
            assert!(row.rounds[0].0.starts_with("short ") && row.rounds[0].1 == "long [SEG].");
        }
    }
    let plain =
        json!({"shapes": [square("target", 2.0, 5.0)], "text": ["What is This?"], "is_sentence": true});
    let files = folder(&[plain]);
    let items = self::items(ReasonSeg::open("rs", files.path(), read()).unwrap(), 100);
    assert!(items.iter().all(|item| item.conversations[0].rounds[0].0 == "long What is This?"));
}

#[test]
fn explanations_come_with_the_mask_or_alone() {
    let files = folder(&[mug()]);
    let file = files.path().join("train.json");
    fs::write(&file, json!([{"image": "0.jpg", "query": "unused", "outputs": "It holds tea."}]).to_string())
        .unwrap();
    let open = || ReasonSeg::open("rs", files.path(), lisa()).unwrap();
    let items = items(open().with_explanations(&file, 0.1).unwrap(), 2000);
    let mut counts = [0; 3];
    for item in &items {
        let (question, answer) = &item.conversations[0].rounds[0];
        let kind = match (answer.contains("[SEG]"), answer.contains("It holds tea.")) {
            (false, true) => 0,
            (true, true) => 1,
            _ => 2,
        };
        counts[kind] += 1;
        assert_eq!(kind == 1, question.contains("Please output segmentation mask and "), "{question}");
        assert!(kind != 0 || ["The Mug", "a cup", "the red one", "what holds tea"].contains(&&**question));
    }
    // 0.1, 0.45 and 0.45 of 2000, within six standard deviations.
    assert!((120..280).contains(&counts[0]) && (767..1033).contains(&counts[1]), "{counts:?}");
    assert!(open().with_explanations(&file, -1.0).is_err());
    fs::write(&file, r#"[{"image": "0.jpg"}]"#).unwrap();
    let error = open().with_explanations(&file, 0.1).err().unwrap().to_string();
    assert!(error.contains("train.json") && error.contains("outputs"), "{error}");
}

#[test]
fn old_windows_files_are_read() {
    let files = folder(&[mug()]);
    let text = b"{\"shapes\": [], \"text\": [\"caf\xe9 \x93sign\x94\"], \"is_sentence\": true}";
    fs::write(files.path().join("0.json"), text).unwrap();
    let dataset = ReasonSegValidation::open("val", files.path(), QuestionTemplates::read()).unwrap();
    assert_eq!(dataset.item(0).unwrap().question, "café “sign” Please output segmentation mask.");
    fs::write(files.path().join("0.json"), b"{\"shapes\": [], \"text\": [\"\x81\"]}").unwrap();
    assert!(dataset.item(0).unwrap_err().to_string().contains("0.json: it is neither"));
}

#[test]
fn rectangles_and_circles_count_and_other_shapes_are_refused() {
    let shape = |kind: &str, points: Value| {
        json!({"text": ["x"], "imageData": "AAAA", "flags": {}, "version": "5.5.0", "imagePath": "0.jpg",
            "shapes": [{"label": "a", "shape_type": kind, "points": points, "group_id": null, "flags": {}}]})
    };
    let files = folder(&[
        shape("rectangle", json!([[5, 6], [2.9, 3]])),
        shape("circle", json!([[5, 5], [5, 8]])),
        shape("line", json!([[5, 5], [5, 8]])),
        shape("rectangle", json!([[5, 5]])),
        shape("polygon", json!([])),
        shape("polygon", json!([[1e12, 0]])),
    ]);
    let dataset = ReasonSegValidation::open("val", files.path(), QuestionTemplates::read()).unwrap();
    let area = |index| dataset.item(index).unwrap().target.iter().filter(|&&value| value == 1).count();
    assert_eq!(area(0), 16);
    // A disc of radius 3 has 28 pixels, its outline included a few more.
    assert!((24..45).contains(&area(1)), "{}", area(1));
    for (index, reason) in
        [(2, "shape type line is not supported"), (3, "two points"), (4, "no points"), (5, "far outside")]
    {
        let error = dataset.item(index).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains(&format!("{index}.json")), "{error}");
    }
}

#[test]
fn folders_and_files_that_are_wrong_are_named() {
    let files = folder(&[mug()]);
    let open = |path: &Path| ReasonSeg::open("mine", path, lisa()).map(drop).unwrap_err().to_string();
    assert!(open(&files.path().join("nowhere")).contains("nowhere: cannot be listed"));
    png::write_rgb(&files.path().join("b.PNG"), &RgbImage::new(2, 2)).unwrap();
    let error = open(files.path());
    assert!(error.contains("b.PNG: it has no annotation; put b.json beside it"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(open(empty.path()).contains("it has no pictures"));

    for (text, reason) in [
        (r#"{"shapes": []}"#, "add a field \"text\""),
        (r#"{"shapes": [], "text": []}"#, "add a field \"text\""),
        (r#"{"shapes": [], "text": [5]}"#, "text"),
        (r#"{"shapes": [{"label": "a"}], "text": ["x"]}"#, "points"),
        (r#"{"text": ["x"]}"#, "shapes"),
        (r#"{"shapes": [], "te"#, "EOF"),
        ("", "EOF"),
    ] {
        let files = folder(&[mug()]);
        fs::write(files.path().join("0.json"), text).unwrap();
        let mixture = Mixture::new(
            "all",
            vec![(Box::new(ReasonSeg::open("mine", files.path(), lisa()).unwrap()), 1.0)],
        )
        .unwrap();
        let error = mixture.item(0, 0).unwrap_err().to_string();
        assert!(
            error.starts_with("dataset mine: ") && error.contains("0.json: ") && error.contains(reason),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }
    let files = folder(&[mug()]);
    fs::write(files.path().join("0.jpg"), "no picture").unwrap();
    let mixture =
        Mixture::new("all", vec![(Box::new(ReasonSeg::open("mine", files.path(), lisa()).unwrap()), 1.0)])
            .unwrap();
    let error = mixture.item(0, 0).unwrap_err().to_string();
    assert!(error.starts_with("dataset mine: ") && error.contains("0.jpg"), "{error}");
}

#[test]
fn templates_are_checked() {
    assert!(Composition::new(Convention::Lisa, None, 0).is_err());
    let error = Composition::new(Convention::Read, None, 3).unwrap_err().to_string();
    assert!(error.contains("NEG_ANSWER (100)"), "{error}");
    assert!(Composition::new(Convention::Read, Some(Templates::lisa()), 3).is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("templates.json");
    let good = json!({"SHORT_QUESTION": ["<image>\n{class_name}?"], "LONG_QUESTION": ["{sent}"],
        "SHORT_ANSWER": ["{class_name}: [SEG]."], "LONG_ANSWER": ["[SEG]."], "NEG_ANSWER": ["no"],
        "CORRECT_ANSWER": ["no {class_name}, {gt_name}"], "EXPLANATORY": []});
    let read = |value: &Value| {
        fs::write(&path, value.to_string()).unwrap();
        Templates::read(&path)
    };
    let templates = read(&good).unwrap();
    assert_eq!(templates.short_question, ["{class_name}?"]);
    assert_eq!(templates.differences_from_published().len(), 7);
    assert!(
        templates.differences_from_published()[0].contains("SHORT_QUESTION has 1 entries, the published 100")
    );
    Composition::new(Convention::Read, Some(templates), 3).unwrap();
    for (pool, entry, reason) in [
        ("SHORT_QUESTION", "what?", "lacks {class_name}"),
        ("LONG_QUESTION", "{class_name} {sent}", "nothing is put in the place of {class_name}"),
        ("SHORT_ANSWER", "here", "must have 1 [SEG]"),
        ("NEG_ANSWER", "[SEG]", "must have 0 [SEG]"),
        ("CORRECT_ANSWER", "no {class_name}", "lacks {gt_name}"),
    ] {
        let mut bad = good.clone();
        bad[pool][0] = json!(entry);
        let error = read(&bad).unwrap_err().to_string();
        assert!(
            error.contains("templates.json") && error.contains(pool) && error.contains(reason),
            "{error}"
        );
    }
    let mut unknown = good.clone();
    unknown["SHORT_QUESTIONS"] = json!([]);
    assert!(read(&unknown).unwrap_err().to_string().contains("SHORT_QUESTIONS"));
    let mut missing = good;
    missing.as_object_mut().unwrap().shift_remove("LONG_ANSWER");
    assert!(read(&missing).unwrap_err().to_string().contains("LONG_ANSWER"));
}
