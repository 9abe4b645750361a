//! `segment` with the committed checkpoint on the committed pictures: the masks themselves are looked at.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{
    Ran, copy_folder, files_below, maskwise, picture, run, segment, settings, text, tiny_read, wait,
};
use image::{Rgb, RgbImage};
use maskwise::mask::Mask;
use maskwise::mask::rle::Rle;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const BLUE_CIRCLE: &str = "Segment the blue circle.";
const RED_CIRCLE: &str = "Where is the red circle?";
const BOTH: &str = "Segment the blue circle and the red triangle.";
const YELLOW_TRIANGLE: &str = "Segment the yellow triangle.";

fn is_blue(Rgb([red, green, blue]): &Rgb<u8>) -> bool {
    *blue > 150 && *red < 100 && *green < 120
}

fn is_red(Rgb([red, green, blue]): &Rgb<u8>) -> bool {
    *red > 150 && *green < 80 && *blue < 80
}

fn is_yellow(Rgb([red, green, blue]): &Rgb<u8>) -> bool {
    *red > 180 && *green > 150 && *blue < 100
}

/// The pixels of a committed picture that a test of colour picks: the truth that masks are held against.
fn pixels(image: &Path, is_object: fn(&Rgb<u8>) -> bool) -> Mask {
    let image = open(image);
    let values: Vec<u8> = image.pixels().map(|pixel| u8::from(is_object(pixel))).collect();
    Mask::from_values(&values, image.height() as usize, image.width() as usize).unwrap()
}

fn open(path: &Path) -> RgbImage {
    image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_rgb8()
}

/// A mask file, which must be grey and hold 0 and 255 only.
fn open_mask(path: &Path) -> Mask {
    let image = image::open(path).unwrap();
    assert_eq!(image.color(), image::ColorType::L8);
    let image = image.into_luma8();
    assert!(image.pixels().all(|pixel| [0, 255].contains(&pixel.0[0])));
    Mask::from_values(image.as_raw(), image.height() as usize, image.width() as usize).unwrap()
}

/// The mask of an entry of `masks`.
fn rle_mask(entry: &Value) -> Mask {
    let rle = &entry["segmentation"];
    let size = [0, 1].map(|index| rle["size"][index].as_u64().unwrap() as usize);
    Rle::from_counts_string(size, rle["counts"].as_str().unwrap()).unwrap().decode()
}

/// Pixels whose centre lies inside an odd number of rings `[x, y, …]`.
fn inside(rings: &[Vec<f64>], width: usize, height: usize) -> Mask {
    let mut values = vec![0; width * height];
    for (index, value) in values.iter_mut().enumerate() {
        let (x, y) = ((index % width) as f64 + 0.5, (index / width) as f64 + 0.5);
        let mut odd = false;
        for ring in rings {
            let corners: Vec<&[f64]> = ring.chunks(2).collect();
            for (from, to) in corners.iter().zip(corners.iter().cycle().skip(1)) {
                let crosses = (from[1] > y) != (to[1] > y);
                odd ^= crosses && x < from[0] + (y - from[1]) / (to[1] - from[1]) * (to[0] - from[0]);
            }
        }
        *value = u8::from(odd);
    }
    Mask::from_values(&values, height, width).unwrap()
}

/// A run on the blue circle with further options, and its record.
fn blue_circle(options: &[&str]) -> (Ran, Value) {
    let folder = tempfile::tempdir().unwrap();
    let ran =
        run(segment(&picture("shapes-a.png"), &[BLUE_CIRCLE], folder.path()).arg("--json").args(options));
    let mut records = ran.records();
    assert_eq!(records.len(), 1, "{ran:?}");
    (ran, records.remove(0))
}

fn without_timings(records: Vec<Value>) -> Vec<Value> {
    let strip = |mut record: Value| {
        assert!(record.as_object_mut().unwrap().remove("timings").is_some());
        record
    };
    records.into_iter().map(strip).collect()
}

#[test]
fn a_mask_covers_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let image = picture("shapes-a.png");
    let ran = run(segment(&image, &[BLUE_CIRCLE], folder.path()).args(["--json", "--save-all"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        files_below(folder.path()),
        ["shapes-a_labelme.json", "shapes-a_mask.png", "shapes-a_overlay.png", "shapes-a_similarity.png"]
    );
    let [record] = &ran.records()[..] else { panic!("{ran:?}") };
    assert_eq!(record["image"], text(&image));
    assert_eq!(record["question"], BLUE_CIRCLE);
    assert_eq!(record["text"], "It is [SEG] .");
    assert_eq!(record["outcome"], "segmented");
    assert_eq!(record["answer_mode"], "generated");
    assert_eq!(record["stop"], "end_of_sequence");
    assert_eq!(record["size"], json!([240, 320]));

    let mask = open_mask(&folder.path().join("shapes-a_mask.png"));
    let truth = pixels(&image, is_blue);
    assert!(mask.iou(&truth).unwrap() > 0.9, "IoU {}", mask.iou(&truth).unwrap());
    let [entry] = &record["masks"].as_array().unwrap()[..] else { panic!("{record}") };
    assert_eq!(rle_mask(entry), mask);
    assert_eq!(entry["area"], mask.area());
    let (mut left, mut top, mut right, mut bottom) = (320, 240, 0, 0);
    for (x, y) in (0..240).flat_map(|y| (0..320).map(move |x| (x, y))).filter(|(x, y)| mask.get(*x, *y)) {
        (left, top, right, bottom) = (left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1));
    }
    assert_eq!(entry["bbox"], json!([left, top, right - left, bottom - top]));
    for score in ["predicted_iou", "mean_probability", "seg_probability"] {
        assert!((0.5..=1.0).contains(&entry["scores"][score].as_f64().unwrap()), "{entry}");
    }

    let points = entry["points"].as_array().unwrap();
    assert_eq!(points.len(), 12, "the checkpoint's num_points");
    let label = |wanted: i64| points.iter().filter(move |point| point["label"] == wanted);
    let position = |point: &Value| (point["x"].as_f64().unwrap(), point["y"].as_f64().unwrap());
    for (x, y) in points.iter().map(position) {
        assert!((0.0..320.0).contains(&x) && (0.0..240.0).contains(&y), "({x}, {y})");
    }
    assert!(label(1).count() >= 1 && label(0).count() >= 1);
    for (x, y) in label(1).map(position) {
        assert!(truth.get(x as usize, y as usize), "a positive point beside the circle: ({x}, {y})");
    }

    let (before, overlay) = (open(&image), open(&folder.path().join("shapes-a_overlay.png")));
    assert_eq!(before.dimensions(), overlay.dimensions());
    let changed =
        |x: usize, y: usize| before.get_pixel(x as u32, y as u32) != overlay.get_pixel(x as u32, y as u32);
    let tinted = (0..240)
        .flat_map(|y| (0..320).map(move |x| (x, y)))
        .filter(|(x, y)| mask.get(*x, *y) && changed(*x, *y));
    assert!(tinted.count() as u64 > mask.area() * 9 / 10);
    assert!(!changed(310, 230), "a corner without mask and points");
    let heat = open(&folder.path().join("shapes-a_similarity.png"));
    assert_eq!(heat.dimensions(), before.dimensions());
    assert_ne!(heat, before);

    for stage in ["encode_for_language", "answer", "encode_for_masks", "masks"] {
        assert!(record["timings"][stage].as_f64().unwrap() > 0.0, "{record}");
    }
    assert_eq!(record["model"]["name"], text(&tiny_read()));
    assert_eq!(record["model"]["revision"], Value::Null);
    assert_eq!(record["model"]["system"], "read");
    assert_eq!((&record["model"]["dtype"], &record["model"]["mode"]), (&json!("f32"), &json!("fast")));
    assert_eq!(record["model"]["device"], "cpu");
    // `sha256sum tests/tiny-read/model/config.json`
    let sha256 = "5fffc1b3a4df6aa3f9a7f4340a6bde2d359f4e7769b2cd75909bd003f3b42081";
    assert_eq!(record["model"]["config_sha256"], sha256);
    let named: Vec<&str> = [&entry["files"], &record["files"]]
        .iter()
        .flat_map(|files| files.as_array().unwrap())
        .map(|file| file.as_str().unwrap())
        .collect();
    let mut named: Vec<String> = named
        .iter()
        .map(|file| Path::new(file).strip_prefix(folder.path()).unwrap().display().to_string())
        .collect();
    named.sort();
    assert_eq!(named, files_below(folder.path()), "the record names every file");
}

#[test]
fn two_segs_give_two_masks_with_their_phrases() {
    let folder = tempfile::tempdir().unwrap();
    let image = picture("shapes-a.png");
    let ran = run(segment(&image, &[BOTH], folder.path()).arg("--json"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        files_below(folder.path()),
        ["shapes-a_mask_1.png", "shapes-a_mask_2.png", "shapes-a_overlay.png"]
    );
    let record = &ran.records()[0];
    assert_eq!(record["text"], "The blue circle is [SEG] and the red triangle is [SEG] .");
    let masks = record["masks"].as_array().unwrap();
    assert_eq!(masks.len(), 2);
    for (entry, (phrase, is_object)) in masks
        .iter()
        .zip([("The blue circle is", is_blue as fn(&Rgb<u8>) -> bool), ("and the red triangle is", is_red)])
    {
        assert_eq!(entry["phrase"], phrase);
        let iou = rle_mask(entry).iou(&pixels(&image, is_object)).unwrap();
        assert!(iou > 0.85, "{phrase}: IoU {iou}");
        assert_eq!(open_mask(Path::new(entry["files"][0].as_str().unwrap())), rle_mask(entry));
    }
}

#[test]
fn what_is_not_there_is_declined() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = segment(&picture("shapes-a.png"), &[RED_CIRCLE], folder.path());
    let ran = run(command.arg("--save-all"));
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stdout,
        "There is no red circle in this image.\n  no mask: there is no [SEG] in the answer\n"
    );
    let ran = run(command.arg("--json"));
    assert_eq!(ran.code, 1);
    let record = &ran.records()[0];
    assert_eq!(record["outcome"], "declined");
    assert_eq!(record["masks"], json!([]));
    assert_eq!(files_below(folder.path()), [""; 0]);
}

#[test]
fn text_is_for_people_and_quiet_is_the_answer_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = segment(&picture("shapes-a.png"), &[BLUE_CIRCLE], folder.path());
    let ran = run(&mut command);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "It is [SEG] .");
    assert!(
        lines[1].starts_with("  mask: ") && lines[1].contains(" pixels (6.9 %), predicted IoU 0."),
        "{ran:?}"
    );
    assert_eq!(lines[2], format!("  wrote {}", folder.path().join("shapes-a_mask.png").display()));
    assert_eq!(lines[3], format!("  wrote {}", folder.path().join("shapes-a_overlay.png").display()));
    assert_eq!(run(command.arg("--quiet")).stdout, "It is [SEG] .\n");
}

#[test]
fn several_questions_share_the_encodings() {
    let folder = tempfile::tempdir().unwrap();
    let image = picture("shapes-a.png");
    let ran = run(segment(&image, &[BLUE_CIRCLE, RED_CIRCLE, BOTH], folder.path()).arg("--json"));
    assert_eq!(ran.code, 1, "one of three has no mask");
    let records = ran.records();
    let seconds = |index: usize, stage: &str| records[index]["timings"][stage].as_f64().unwrap();
    assert!(seconds(0, "encode_for_language") > 0.0 && seconds(0, "encode_for_masks") > 0.0);
    for index in [1, 2] {
        assert_eq!((seconds(index, "encode_for_language"), seconds(index, "encode_for_masks")), (0.0, 0.0));
    }
    assert_eq!(
        files_below(folder.path()),
        [
            "shapes-a_q1_mask.png",
            "shapes-a_q1_overlay.png",
            "shapes-a_q3_mask_1.png",
            "shapes-a_q3_mask_2.png",
            "shapes-a_q3_overlay.png"
        ]
    );
    // Sharing changes nothing.
    let alone = run(segment(&image, &[BOTH], folder.path()).arg("--json")).records();
    assert_eq!(rle_mask(&alone[0]["masks"][1]), rle_mask(&records[2]["masks"][1]));
}

#[test]
fn a_folder_is_answered_image_by_image() {
    let folder = tempfile::tempdir().unwrap();
    let (images, output) = (folder.path().join("images"), folder.path().join("out"));
    copy_folder(&picture(""), &images.join("sub"));
    std::fs::copy(picture("shapes-a.png"), images.join("first.png")).unwrap();
    std::fs::write(images.join("notes.txt"), "not an image").unwrap();
    let ran = run(&mut segment(&images, &["Segment the blue circle.", YELLOW_TRIANGLE], &output));
    let records = ran.records();
    let answered: Vec<(&str, &str)> = records
        .iter()
        .map(|record| (record["image"].as_str().unwrap(), record["question"].as_str().unwrap()))
        .collect();
    let (first, a, b) =
        (images.join("first.png"), images.join("sub/shapes-a.png"), images.join("sub/shapes-b.png"));
    let expected: Vec<(&str, &str)> = [&first, &a, &b]
        .iter()
        .flat_map(|image| [(text(image), BLUE_CIRCLE), (text(image), YELLOW_TRIANGLE)])
        .collect();
    assert_eq!(answered, expected);
    assert_eq!(records[1]["timings"]["encode_for_language"], 0.0);
    assert!(records[2]["timings"]["encode_for_language"].as_f64().unwrap() > 0.0);
    let yellow = rle_mask(&records[5]["masks"][0]).iou(&pixels(&b, is_yellow)).unwrap();
    assert!(yellow > 0.9, "IoU {yellow}");
    assert!(output.join("sub/shapes-b_q2_mask.png").is_file());
}

#[test]
fn one_bad_line_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&picture(""), &folder.path().join("images"));
    let lines = [
        json!({"id": 7, "image": "images/shapes-a.png", "question": BLUE_CIRCLE}).to_string(),
        "this is no JSON".to_owned(),
        String::new(),
        json!({"id": "gone", "image": "images/gone.png", "question": BLUE_CIRCLE}).to_string(),
        json!({"id": ["any", {"shape": 1}], "image": "images/shapes-a.png", "question": " "}).to_string(),
        json!({"image": "images/shapes-a.png", "question": BLUE_CIRCLE, "colour": "blue"}).to_string(),
        json!({"id": null, "image": "images/shapes-b.png", "question": "What is it?", "answer": "It is [SEG] ."}).to_string(),
        json!({"id": "last", "image": "images/shapes-b.png", "question": YELLOW_TRIANGLE}).to_string(),
    ];
    let file = folder.path().join("questions.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let output = folder.path().join("out");
    let ran = run(&mut segment(&file, &[], &output));
    assert_eq!((ran.code, ran.stderr.as_str()), (2, ""));
    let records = ran.records();
    assert_eq!(records.len(), 7);
    assert_eq!(records[0]["id"], 7);
    assert_eq!(records[0]["outcome"], "segmented");
    assert_eq!(records[0]["image"], "images/shapes-a.png", "as the input called it");
    let error =
        |index: usize| records[index]["error"].as_str().unwrap_or_else(|| panic!("{}", records[index]));
    assert!(error(1).contains("questions.jsonl, line 2"), "{}", error(1));
    assert!(error(2).contains("images/gone.png") && records[2]["id"] == "gone", "{}", error(2));
    assert!(error(3).contains("empty") && records[3]["id"] == json!(["any", {"shape": 1}]), "{}", error(3));
    assert!(error(4).contains("line 6") && error(4).contains("colour"), "{}", error(4));
    assert_eq!(records[5]["answer_mode"], "teacher-forced");
    assert_eq!(records[6]["id"], "last");
    assert!(
        rle_mask(&records[6]["masks"][0]).iou(&pixels(&picture("shapes-b.png"), is_yellow)).unwrap() > 0.9
    );
    let files = files_below(&output);
    assert!(files.contains(&"000001_shapes-a_mask.png".to_owned()), "{files:?}");
    assert!(files.contains(&"000008_shapes-b_mask.png".to_owned()), "{files:?}");
}

#[test]
fn standard_input_is_answered_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_maskwise"));
    command.args(["segment", "-", "--no-files", "-m"]).arg(tiny_read()).current_dir(folder.path());
    for (name, value) in settings() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || output.lines().for_each(|line| sender.send(line.unwrap()).unwrap()));
    for (id, question, outcome) in [(1, BLUE_CIRCLE, "segmented"), (2, RED_CIRCLE, "declined")] {
        writeln!(input, "{}", json!({"id": id, "image": picture("shapes-a.png"), "question": question}))
            .unwrap();
        // The next line is written only after this one was answered.
        let line = receiver
            .recv_timeout(std::time::Duration::from_secs(60))
            .expect("an answer while the input is open");
        let record: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&record["id"], &record["outcome"]), (&json!(id), &json!(outcome)));
        assert_eq!(record["timings"]["encode_for_language"] == 0.0, id == 2, "one image, encoded once");
    }
    drop(input);
    assert_eq!(wait(&mut child).code(), Some(1));
    assert_eq!(files_below(folder.path()), [""; 0]);
}

#[test]
fn a_given_answer_is_read_instead_of_written() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(segment(&picture("shapes-a.png"), &["Where is the red triangle?"], folder.path()).args([
        "--json",
        "--teacher-forced",
        "It is [SEG] .",
    ]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let record = &ran.records()[0];
    assert_eq!(
        (&record["answer_mode"], &record["text"]),
        (&json!("teacher-forced"), &json!("It is [SEG] ."))
    );
    assert_eq!(record.get("stop"), None);
    let iou = rle_mask(&record["masks"][0]).iou(&pixels(&picture("shapes-a.png"), is_red)).unwrap();
    assert!(iou > 0.8, "IoU {iou}");
    let (ran, record) = blue_circle(&["--teacher-forced", "Nothing to see."]);
    assert_eq!((ran.code, &record["outcome"]), (1, &json!("declined")));
}

#[test]
fn points_are_chosen_as_asked() {
    let labels = |options: &[&str]| -> Vec<i64> {
        let (ran, record) = blue_circle(options);
        assert_eq!(ran.code, 0, "{ran:?}");
        let iou = rle_mask(&record["masks"][0]).iou(&pixels(&picture("shapes-a.png"), is_blue)).unwrap();
        assert!(iou > 0.8, "{options:?}: IoU {iou}");
        let points = record["masks"][0]["points"].as_array().unwrap();
        points.iter().map(|point| point["label"].as_i64().unwrap()).collect()
    };
    assert_eq!(labels(&["--no-points"]), [0; 0]);
    assert_eq!(labels(&["--points", "5"]).len(), 5);
    let positives = |t_pos| {
        let labels = labels(&["--points", "64", "--t-pos", t_pos]);
        labels.iter().filter(|label| **label == 1).count()
    };
    assert!(positives("0.95") < positives("0.4"));
    let negatives = |t_neg| {
        let labels = labels(&["--points", "64", "--t-neg", t_neg]);
        labels.iter().filter(|label| **label == 0).count()
    };
    assert!(negatives("0.01") < negatives("0.3"));
    // The grid of 8 x 8 image tokens, and a quarter of it.
    assert!(labels(&["--points", "100"]).len() > 16);
    assert!(labels(&["--points", "100", "--down-sample", "2"]).len() <= 16);
}

#[test]
fn polygons_and_labelme_outline_the_mask() {
    let folder = tempfile::tempdir().unwrap();
    let image = picture("shapes-a.png");
    // Relative, to see that the annotation finds the image all the same.
    let ran = run(maskwise()
        .current_dir(image.parent().unwrap())
        .args(["segment", "shapes-a.png", BLUE_CIRCLE, BOTH, "--json", "--polygons", "--labelme", "-m"])
        .arg(tiny_read())
        .arg("-o")
        .arg(folder.path()));
    assert_eq!(ran.code, 0, "{ran:?}");
    for record in ran.records() {
        for entry in record["masks"].as_array().unwrap() {
            let rings: Vec<Vec<f64>> = serde_json::from_value(entry["polygons"].clone()).unwrap();
            assert_eq!(inside(&rings, 320, 240), rle_mask(entry));
        }
    }
    let labelme = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.path().join(name)).unwrap()).unwrap()
    };
    let first = labelme("shapes-a_q1_labelme.json");
    assert_eq!((&first["imageHeight"], &first["imageWidth"]), (&json!(240), &json!(320)));
    let found = folder.path().join(first["imagePath"].as_str().unwrap());
    assert_eq!(found.canonicalize().unwrap(), image);
    assert!(first["shapes"].as_array().unwrap().iter().all(|shape| shape["label"] == BLUE_CIRCLE));
    let second = labelme("shapes-a_q2_labelme.json");
    let mut by_label = BTreeMap::<&str, Vec<Vec<f64>>>::new();
    for shape in second["shapes"].as_array().unwrap() {
        assert_eq!(shape["shape_type"], "polygon");
        let points: Vec<[f64; 2]> = serde_json::from_value(shape["points"].clone()).unwrap();
        by_label.entry(shape["label"].as_str().unwrap()).or_default().push(points.concat());
    }
    assert_eq!(
        by_label.keys().copied().collect::<Vec<_>>(),
        ["The blue circle is", "and the red triangle is"]
    );
    let masks = &ran.records()[1]["masks"];
    for (rings, entry) in by_label.values().zip(masks.as_array().unwrap()) {
        // Simplified by half a pixel at most.
        assert!(inside(rings, 320, 240).iou(&rle_mask(entry)).unwrap() > 0.95);
    }
}

#[test]
fn other_types_and_modes_find_the_same_circle() {
    let truth = pixels(&picture("shapes-a.png"), is_blue);
    for (options, dtype, mode) in [
        (["--dtype", "bf16"].as_slice(), "bf16", "fast"),
        (&["--dtype", "bf16", "--mode", "exact"], "bf16", "exact"),
        (&["--mode", "exact"], "f32", "exact"),
    ] {
        let (ran, record) = blue_circle(options);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!((&record["model"]["dtype"], &record["model"]["mode"]), (&json!(dtype), &json!(mode)));
        let iou = rle_mask(&record["masks"][0]).iou(&truth).unwrap();
        assert!(iou > 0.9, "{options:?}: IoU {iou}");
    }
}

#[test]
fn no_files_writes_none() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let ran = run(segment(&picture("shapes-a.png"), &[BLUE_CIRCLE], &output).args(["--no-files", "--json"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!output.exists());
    let record = &ran.records()[0];
    assert_eq!((record.get("files"), record["masks"][0].get("files")), (None, None));
}

#[test]
fn the_model_may_stand_in_the_environment() {
    let ran = run(maskwise()
        .env("MASKWISE_MODEL", tiny_read())
        .arg("segment")
        .arg(picture("shapes-a.png"))
        .args([BLUE_CIRCLE, "--no-files", "--quiet"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "It is [SEG] .\n"));
    let ran = run(maskwise()
        .env("MASKWISE_MODEL", "/nonexistent/model")
        .arg("segment")
        .arg(picture("shapes-a.png"))
        .args([BLUE_CIRCLE, "--no-files"]));
    assert!(
        ran.code == 2 && ran.stderr.contains("/nonexistent/model"),
        "the default is not taken instead: {ran:?}"
    );
}

#[test]
fn a_short_limit_cuts_the_answer_off() {
    let (ran, record) = blue_circle(&["--max-new-tokens", "2"]);
    assert_eq!(ran.code, 1);
    assert_eq!((&record["stop"], &record["timings"]["tokens"]), (&json!("max_new_tokens"), &json!(2)));
}

#[test]
fn two_runs_are_equal_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let once = |name: &str| {
        let output = folder.path().join(name);
        // The same name in both records.
        let ran = run(maskwise()
            .current_dir({
                std::fs::create_dir(&output).unwrap();
                &output
            })
            .arg("segment")
            .arg(picture("shapes-a.png"))
            .args([BLUE_CIRCLE, RED_CIRCLE, BOTH, "--json", "--save-all", "--polygons", "-o", "out", "-m"])
            .arg(tiny_read()));
        let files: Vec<(String, Vec<u8>)> = files_below(&output)
            .into_iter()
            .map(|name| (name.clone(), std::fs::read(output.join(&name)).unwrap()))
            .collect();
        assert_eq!(files.len(), 12);
        (without_timings(ran.records()), files)
    };
    assert!(once("one") == once("two"));
}

#[test]
fn a_converted_model_answers_alike() {
    let folder = tempfile::tempdir().unwrap();
    let converted = folder.path().join("converted");
    let ran = run(maskwise().arg("convert").arg(tiny_read()).arg("-o").arg(&converted));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, format!("wrote {}\n", converted.display()));
    assert!(converted.join("maskwise.json").is_file());
    let [one, other] = [&tiny_read(), &converted].map(|model| {
        let mut command = maskwise();
        command.arg("segment").arg(picture("shapes-a.png"));
        let records =
            run(command.args([BLUE_CIRCLE, BOTH, "--no-files", "--json", "-m"]).arg(model)).records();
        records.iter().map(|record| record["masks"].clone()).collect::<Vec<_>>()
    });
    assert_eq!((one.len(), &one), (2, &other));
    // Once more into the same place: refused, and what is there stays.
    let before = files_below(&converted);
    let ran = run(maskwise().arg("convert").arg(tiny_read()).arg("-o").arg(&converted));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("exists already"), "{ran:?}");
    assert_eq!(files_below(&converted), before);
}

#[test]
fn photographs_are_answered_without_a_complaint() {
    let Some(photos) = common::photos() else { return };
    let is_photo = |name: &String| {
        ["jpg", "jpeg"].iter().any(|extension| name.ends_with(extension)) && !name.contains('/')
    };
    let names: Vec<String> = files_below(&photos).into_iter().filter(is_photo).collect();
    assert!(!names.is_empty(), "no photograph in {}", photos.display());
    for name in names {
        let folder = tempfile::tempdir().unwrap();
        let ran = run(segment(&photos.join(&name), &["Segment the horse."], folder.path())
            .args(["--json", "--save-all"]));
        assert!([0, 1].contains(&ran.code) && ran.stderr.is_empty(), "{name}: {ran:?}");
        let record = &ran.records()[0];
        for entry in record["masks"].as_array().unwrap() {
            assert_eq!(open_mask(Path::new(entry["files"][0].as_str().unwrap())), rle_mask(entry), "{name}");
        }
    }
}
