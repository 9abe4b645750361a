//! The model in the program, as a fresh clone has it: it answers where no other is named.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{demo, files_below, maskwise, mini, picture, run};
use maskwise::mask::Mask;
use maskwise::tabletop::{SceneConfig, Split, World};
use serde_json::{Value, json};
use std::path::Path;

/// The README's picture, question and answer, and which picture of the Tabletop world's test split (seed 1) it is.
const PICTURE: &str = "tabletop-a.jpg";
const QUESTION: &str = "Please point to the part of the scissors that is held in the hand.";
const ANSWER: &str = "Sure, the handles of the scissors: [SEG] .";
const NUMBER: u64 = 194;

const NAMED: &str = "the embedded model maskwise-mini, version 2, answers; --model takes another\n";

/// What the question means, as the world drew it.
fn truth() -> Mask {
    let world = World::new(1, Split::Test, SceneConfig::default()).unwrap();
    let item = world.validation_item(NUMBER).unwrap();
    let committed = image::open(demo(PICTURE)).unwrap().into_rgb8();
    assert_eq!((item.question.as_str(), item.image.dimensions()), (QUESTION, committed.dimensions()));
    let differences =
        item.image.as_raw().iter().zip(committed.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)));
    let difference = differences.sum::<f64>() / committed.as_raw().len() as f64;
    assert!(difference < 3.0, "{PICTURE} is not picture {NUMBER}: a mean difference of {difference}");
    Mask::from_values(&item.target, committed.height() as usize, committed.width() as usize).unwrap()
}

fn open_mask(path: &Path) -> Mask {
    let image = image::open(path).unwrap().into_luma8();
    Mask::from_values(image.as_raw(), image.height() as usize, image.width() as usize).unwrap()
}

#[test]
fn it_answers_the_readme_s_question_with_the_mask_that_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(maskwise().arg("segment").arg(demo(PICTURE)).arg(QUESTION).arg("-o").arg(folder.path()));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, NAMED), "{ran:?}");
    assert_eq!(ran.stdout.lines().next(), Some(ANSWER));
    assert_eq!(files_below(folder.path()), ["tabletop-a_mask.png", "tabletop-a_overlay.png"]);
    let iou = open_mask(&folder.path().join("tabletop-a_mask.png")).iou(&truth()).unwrap();
    assert!(iou > 0.75, "IoU {iou}");
}

#[test]
fn it_is_the_model_of_its_folder() {
    let ask = |options: &[&str]| {
        let mut command = maskwise();
        command.arg("segment").arg(demo(PICTURE)).args([QUESTION, "--no-files"]).args(options);
        run(&mut command)
    };
    let ran = ask(&["--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, NAMED));
    let (record, folder) =
        (&ran.records()[0], &ask(&["--json", "-m", mini().to_str().unwrap()]).records()[0]);
    assert_eq!(record["model"]["name"], "embedded:maskwise-mini");
    assert_eq!((&record["model"]["revision"], &record["model"]["dtype"]), (&json!("2"), &json!("f32")));
    assert_eq!(record["masks"], folder["masks"], "the same files, the same answer");
    assert_eq!(record["model"]["config_sha256"], folder["model"]["config_sha256"]);

    let ran = ask(&["--quiet"]);
    let answer = format!("{ANSWER}\n");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, answer.as_str(), ""));
}

#[test]
fn it_says_what_is_not_there() {
    let ran = run(maskwise().arg("segment").arg(demo(PICTURE)).args([ABSENT, "--no-files", "--quiet"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (1, DENIAL), "{ran:?}");
}

const ABSENT: &str = "Where is the dog?";
const DENIAL: &str = "There is no dog here.\n";

#[test]
fn it_chats() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = maskwise();
    command.arg("chat").arg(demo(PICTURE)).arg("-o").arg(folder.path());
    let ran = run(command.write_stdin(format!("{QUESTION}\n")));
    assert_eq!((ran.code, ran.stdout.lines().next()), (0, Some(ANSWER)), "{ran:?}");
    assert_eq!(ran.stderr, NAMED);
    assert_eq!(files_below(folder.path()), ["tabletop-a_1_mask.png", "tabletop-a_1_overlay.png"]);
}

/// What its card says, on a few pictures: with so few a mean varies, so the bar lies below the card's figure.
#[test]
fn it_is_as_good_as_its_card_says() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("evaluation");
    let ran = run(maskwise().args(["eval", "tabletop", "--count", "64", "--quiet", "-o"]).arg(&output));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let lines = std::fs::read_to_string(output.join("samples.jsonl")).unwrap();
    let answers: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 64);
    let found = |answer: &Value| answer["outcome"] == "segmented";
    let iou = |answer: &Value| match answer["exists"].as_bool().unwrap() {
        true => answer["intersection"].as_f64().unwrap() / answer["union"].as_f64().unwrap(),
        false => f64::from(!found(answer)),
    };
    let giou = answers.iter().map(iou).sum::<f64>() / answers.len() as f64;
    let see = answers.iter().filter(|answer| answer["exists"] == found(answer)).count();
    assert!(giou > 0.48 && see >= 52, "gIoU {giou}, {see} of 64 seen rightly");
}

/// Shapes without a name in the world, and a picture that is none of it: an answer, not a failure.
#[test]
fn it_answers_about_other_pictures_too() {
    let ran = run(maskwise().arg("segment").arg(picture("shapes-a.png")).args([
        "Segment the blue circle.",
        "--no-files",
        "--quiet",
    ]));
    assert!([0, 1].contains(&ran.code) && ran.stderr.is_empty(), "{ran:?}");
}

/// In few bits the language model says the same, and SAM draws nearly the same.
#[test]
fn it_answers_alike_in_few_bits() {
    let ask = |options: &[&str]| {
        let mut command = maskwise();
        command.arg("segment").arg(demo(PICTURE)).args([QUESTION, "--no-files", "--json"]).args(options);
        let ran = run(&mut command);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.records()[0].clone()
    };
    let mask = |record: &Value| {
        let code: maskwise::mask::Rle =
            serde_json::from_value(record["masks"][0]["segmentation"].clone()).unwrap();
        code.decode()
    };
    let whole = ask(&[]);
    for (quantization, in_language, in_all) in [("int8", 0.95, 0.9), ("int4", 0.8, 0.8)] {
        let rounded = ask(&["--quantize", quantization]);
        assert_eq!((&rounded["model"]["dtype"], &rounded["text"]), (&json!(quantization), &whole["text"]));
        let iou = mask(&whole).iou(&mask(&rounded)).unwrap();
        assert!(iou > in_language, "{quantization}: IoU {iou}");
        // Written in few bits and mapped from there, it is the same to the bit.
        let everything = ["--quantize", quantization, "--quantize-vision", "int8", "--quantize-sam", "int8"];
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("few-bits");
        let mut convert = maskwise();
        convert.args(["convert", "embedded", "-o"]).arg(&target).args(everything);
        assert_eq!(run(&mut convert).code, 0);
        let (rounded, written) = (ask(&everything), ask(&["--model", target.to_str().unwrap()]));
        assert_eq!(mask(&rounded), mask(&written));
        assert_eq!(written["model"]["dtype"], json!(quantization));
        let iou = mask(&whole).iou(&mask(&rounded)).unwrap();
        assert!(iou > in_all, "{quantization}: IoU {iou}");
    }
    let mut other = maskwise();
    other.arg("segment").arg(demo(PICTURE)).args([QUESTION, "--quantize", "int8", "--dtype", "bf16"]);
    let ran = run(&mut other);
    assert!(ran.code == 2 && ran.stderr.contains("computes in f32, not bf16"), "{ran:?}");
}
