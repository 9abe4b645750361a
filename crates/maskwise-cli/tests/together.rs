//! Several questions about one image give what each gives alone.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{picture, run, segment};
use maskwise::mask::rle::Rle;
use serde_json::{Value, json};

const QUESTIONS: [&str; 9] = [
    "Segment the blue circle.",
    "Where is the red circle?",
    "Segment the blue circle and the red triangle.",
    "",
    "Where is the red triangle?",
    "What is [SEG]?",
    "Segment the blue circle.",
    "Segment the yellow triangle.",
    "Where is the blue circle?",
];

fn mask(entry: &Value) -> maskwise::mask::Mask {
    let rle = &entry["segmentation"];
    let size = [0, 1].map(|index| rle["size"][index].as_u64().unwrap() as usize);
    Rle::from_counts_string(size, rle["counts"].as_str().unwrap()).unwrap().decode()
}

#[track_caller]
fn assert_equal(together: &Value, alone: &Value) {
    for field in ["image", "question", "text", "outcome", "answer_mode", "stop", "size", "error", "model"] {
        assert_eq!(together.get(field), alone.get(field), "{field}");
    }
    assert_eq!(together["timings"]["tokens"], alone["timings"]["tokens"]);
    let masks = [together, alone].map(|record| record["masks"].as_array().cloned().unwrap_or_default());
    assert_eq!(masks[0].len(), masks[1].len());
    for (one, other) in masks[0].iter().zip(&masks[1]) {
        assert_eq!(one["phrase"], other["phrase"]);
        assert!(mask(one).iou(&mask(other)).unwrap() >= 0.999);
    }
}

#[test]
fn several_questions_are_answered_as_each_alone() {
    let folder = tempfile::tempdir().unwrap();
    let image = picture("shapes-a.png");
    let options = ["--json", "--no-files", "--mode", "exact"];
    let ran = run(segment(&image, &QUESTIONS, folder.path()).args(options));
    assert_eq!((ran.code, ran.stderr.as_str()), (2, ""), "two questions cannot be asked");
    let records = ran.records();
    assert_eq!(records.len(), QUESTIONS.len());
    for (record, question) in records.iter().zip(QUESTIONS) {
        let alone = run(segment(&image, &[question], folder.path()).args(options));
        assert_equal(record, &alone.records()[0]);
    }
    // As text, in the same order; what is wrong with a question is told on the error stream.
    let ran =
        run(segment(&image, &QUESTIONS, folder.path()).args(["--no-files", "--quiet", "--mode", "exact"]));
    let texts: Vec<&str> = records.iter().filter_map(|record| record["text"].as_str()).collect();
    assert_eq!((texts.len(), ran.stdout.lines().collect::<Vec<_>>()), (7, texts));
    assert_eq!(ran.stderr.lines().count(), 2, "{ran:?}");
}

#[test]
fn lines_and_images_that_fail_are_told_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    std::fs::copy(picture("shapes-a.png"), images.join("a.png")).unwrap();
    std::fs::write(images.join("b.png"), "no picture").unwrap();
    let ran = run(&mut segment(&images, &QUESTIONS[..3], &folder.path().join("out")));
    assert_eq!(ran.code, 2);
    let from_folder = ran.records();
    assert_eq!(from_folder.len(), 6);
    for (record, question) in from_folder[3..].iter().zip(QUESTIONS) {
        assert!(record["error"].as_str().unwrap().contains("b.png"), "{record}");
        assert_eq!(record["question"], question);
    }
    let line = |image: &str, question: &str, id: usize| {
        json!({"image": format!("images/{image}"), "question": question, "id": id}).to_string()
    };
    let mut lines: Vec<String> =
        QUESTIONS[..3].iter().enumerate().map(|(id, question)| line("a.png", question, id)).collect();
    lines.push(line("b.png", QUESTIONS[0], 3));
    let file = folder.path().join("questions.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let ran = run(segment(&file, &[], &folder.path().join("lines")).arg("--no-files"));
    let from_lines = ran.records();
    assert_eq!((ran.code, from_lines.len()), (2, 4));
    for (id, (mut record, other)) in from_lines.into_iter().zip(&from_folder).enumerate() {
        assert_eq!(record["id"], id);
        record["image"] = other["image"].clone();
        if id < 3 {
            assert_equal(&record, other);
        }
    }
}
