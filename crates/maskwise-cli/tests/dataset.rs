//! `dataset`: what a person sees of sound and of damaged datasets.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{maskwise, refused, run, text};
use std::path::Path;

fn dataset(arguments: &[&str]) -> assert_cmd::Command {
    let mut command = maskwise();
    command.arg("dataset").args(arguments);
    command
}

/// Five Tabletop pictures in a layout.
fn synth(folder: &Path, layout: &str) {
    let made = run(maskwise()
        .args([
            "synth", "--quiet", "--split", "test", "--seed", "3", "--size", "96", "--count", "5", "--layout",
            layout, "-o",
        ])
        .arg(folder));
    assert_eq!(made.code, 0, "{made:?}");
}

#[test]
fn sound_datasets_are_checked_described_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (layout, name) in
        [("jsonl", "jsonl"), ("reasonseg", "reasonseg"), ("fp-refcoco", "fprefcoco"), ("refcoco", "refcoco")]
    {
        let data = at(layout);
        synth(&data, layout);
        let place =
            ["--data", text(&data), "--split", if name.contains("refcoco") { "testA" } else { "test" }];
        let checked = run(dataset(&["check", name]).args(place));
        assert!(checked.code == 0 && checked.stdout.contains("questions are sound"), "{checked:?}");
        let stats = run(dataset(&["stats", name]).args(place));
        assert!(stats.code == 0 && stats.stdout.contains("of 5 pictures\n"), "{stats:?}");
        let sheet = at(&format!("{layout}.png"));
        let shown = run(dataset(&["show", name, "--count", "4", "-o", text(&sheet)]).args(place));
        assert_eq!(shown.code, 0, "{shown:?}");
        let sheet = image::open(&sheet).unwrap();
        assert_eq!(sheet.width() % 4, 0);
    }
    let stats = run(&mut dataset(&["stats", "jsonl", "--data", text(&at("jsonl")), "--split", "test"]));
    insta::assert_snapshot!("dataset_stats", stats.stdout);
}

#[test]
fn problems_are_counted_and_the_source_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    synth(&data, "reasonseg");
    std::fs::write(data.join("test/000001.json"), "{\"shapes\": [").unwrap();
    std::fs::write(data.join("test/000002.jpg"), "no picture").unwrap();
    let ran =
        run(&mut dataset(&["check", "reasonseg", "--data", text(&data), "--split", "test", "--most", "1"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (2, ""), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("question 1: ") && lines[0].contains("000001.json"), "{ran:?}");
    assert_eq!(lines[1..3], ["… and 1 more", "reasonseg test: 2 problems in 5 questions"]);
    assert_eq!(lines[3..5], ["  1 with an unreadable picture", "  1 with a wrong annotation"]);
    assert!(lines[5].contains("dvlab-research/LISA"), "{ran:?}");
    let missing = ["refs(unc_exclude_unified).p", "lichengunc/refer"];
    refused(&mut dataset(&["check", "refcoco", "--data", text(&data)]), &missing);
    refused(&mut dataset(&["check", "tabletop"]), &["maskwise synth"]);
}

#[test]
fn a_dataset_goes_to_coco_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    synth(&at("ours"), "jsonl");
    let to_coco = run(&mut dataset(&[
        "convert",
        "jsonl",
        "--data",
        text(&at("ours")),
        "--split",
        "test",
        "--to",
        "coco",
        "-o",
        text(&at("coco")),
    ]));
    assert!(to_coco.code == 0 && to_coco.stdout.contains("that this layout cannot hold"), "{to_coco:?}");
    let back = run(&mut dataset(&[
        "convert",
        "coco",
        "--data",
        text(&at("coco/test.json")),
        "--to",
        "jsonl",
        "-o",
        text(&at("back")),
    ]));
    assert_eq!(back.code, 0, "{back:?}");
    let checked = run(&mut dataset(&["check", "jsonl", "--data", text(&at("back"))]));
    assert!(checked.code == 0 && checked.stdout.contains("questions are sound"), "{checked:?}");
    let (ours, back) = (at("ours"), at("back"));
    let again =
        ["convert", "jsonl", "--data", text(&ours), "--split", "test", "--to", "labelme", "-o", text(&back)];
    refused(&mut dataset(&again), &["is not empty"]);
}
