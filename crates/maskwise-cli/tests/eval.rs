//! `eval` with the committed checkpoints: tables, folders, shards, and what it refuses.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{files_below, maskwise, refused, root, run, text, tiny_read};
use std::path::Path;

fn eval(arguments: &[&str]) -> assert_cmd::Command {
    let mut command = maskwise();
    command.arg("eval").args(arguments);
    command
}

/// Three Tabletop pictures in the layout of a published dataset.
fn dataset(folder: &Path, layout: &str) {
    let made = run(maskwise()
        .args(["synth", "--quiet", "--split", "test", "--count", "3", "--layout", layout, "-o"])
        .arg(folder));
    assert_eq!(made.code, 0, "{made:?}");
}

#[test]
fn a_folder_holds_what_was_asked_and_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let ran = run(&mut eval(&["tabletop", "--count", "4", "--accept-random", "-o", text(&output)]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(
        ran.stdout.starts_with("embedded:maskwise-mini, tabletop test, answers generated\n\n| questions |"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("| all | 4 |"), "{ran:?}");
    let files = files_below(&output);
    for file in ["report.html", "run.json", "samples.jsonl", "summary.json", "summary.md", "timings.jsonl"] {
        assert!(files.iter().any(|found| found == file), "{files:?}");
    }
    assert!(files.iter().any(|file| file.starts_with("pictures/")), "{files:?}");
    assert_eq!(std::fs::read_to_string(output.join("summary.md")).unwrap(), ran.stdout);
    let report = std::fs::read_to_string(output.join("report.html")).unwrap();
    assert!(report.contains("<figure") && !report.contains("{{"), "{report}");

    let ran = run(&mut eval(&["compare", text(&output), text(&output)]));
    assert!(ran.code == 0 && ran.stdout.contains("0 answers differ."), "{ran:?}");
}

#[test]
fn published_layouts_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (reason, refer) = (folder.path().join("reason"), folder.path().join("refer"));
    dataset(&reason, "reasonseg");
    dataset(&refer, "fp-refcoco");
    let run_on =
        |arguments: &[&str]| run(eval(arguments).args(["--accept-random", "--answers", "teacher-forced"]));
    let ran = run_on(&["reasonseg", "--data", text(&reason), "--split", "test"]);
    assert!(ran.code == 0 && ran.stdout.contains("reasonseg test, answers teacher-forced"), "{ran:?}");
    assert!(ran.stdout.contains("| all | 3 |"), "{ran:?}");
    let ran = run_on(&["fprefcoco", "--data", text(&refer), "--split", "test"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for row in ["| true | ", "| false | ", "There: "] {
        assert!(ran.stdout.contains(row), "{ran:?}");
    }
}

#[test]
fn shards_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for shard in ["1/2", "2/2"] {
        let output = at(&shard.replace('/', "-"));
        let ran = run(&mut eval(&["tabletop", "--count", "4", "--shard", shard, "-o", text(&output)]));
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "2 items of 4 done; merge the parts\n"), "{ran:?}");
    }
    let merged = at("merged");
    let ran = run(&mut eval(&[
        "merge",
        text(&at("2-2")),
        text(&at("1-2")),
        "-o",
        text(&merged),
        "--accept-random",
    ]));
    assert!(ran.code == 0 && ran.stdout.contains("| all | 4 |"), "{ran:?}");
    refused(&mut eval(&["merge", text(&at("1-2")), "-o", text(&at("again"))]), &["2 of 4 items"]);
}

#[test]
fn figures_of_random_weights_are_no_figures() {
    // It knows shapes, and nothing of the Tabletop world.
    let model = tiny_read();
    let arguments = ["tabletop", "--count", "40", "-m", text(&model)];
    refused(&mut eval(&arguments), &["no better than masks of the whole picture", "--accept-random"]);
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = text(folder.path()).to_owned();
    refused(&mut eval(&[]), &["name a benchmark"]);
    refused(&mut eval(&["reasonseg"]), &["--data"]);
    refused(&mut eval(&["reasonseg", "--data", "/nonexistent/data"]), &["/nonexistent/data/val"]);
    refused(&mut eval(&["refcoco", "--data", &empty]), &["refs(unc_exclude_unified).p"]);
    refused(&mut eval(&["refcoco", "--data", &empty, "--split-by", "unc"]), &["refs(unc).p"]);
    refused(&mut eval(&["tabletop", "--split", "later"]), &["later", "unseen"]);
    refused(&mut eval(&["reasonseg", "--data", &empty, "--count", "3"]), &["--count", "tabletop"]);
    refused(&mut eval(&["tabletop", "--data", &empty]), &["--data does not belong"]);
    refused(&mut eval(&["labelme", "--data", &empty, "--split", "val"]), &["--split does not belong"]);
    refused(&mut eval(&["tabletop", "--count", "0"]), &["at least 1"]);
    refused(&mut eval(&["cityscapes"]), &["cityscapes", "reasonseg"]);
    refused(&mut eval(&["tabletop", "--shard", "3/2", "-o", &empty]), &["3/2", "I/N"]);
    refused(&mut eval(&["compare", &empty, &empty]), &["run.json"]);
    refused(&mut eval(&["tabletop", "--count", "2", "--resume", "-o", &empty]), &["run.json"]);
}

#[test]
fn words_are_drawn_by_seed_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let pools = folder.path().join("pools.json");
    let content = serde_json::json!({
        "SHORT_QUESTION": ["Where is {class_name}?", "Segment {class_name}.", "Show {class_name}."], "LONG_QUESTION": ["{sent}"],
        "SHORT_ANSWER": ["[SEG].", "Here: [SEG]."], "LONG_ANSWER": ["[SEG]."]});
    std::fs::write(&pools, content.to_string()).unwrap();
    let data = root().join("tests/datasets/lisa/refer_seg");
    let lines = |name: &str, seed: &str| {
        let output = folder.path().join(name);
        let ran =
            run(eval(&["fprefcoco", "--data", text(&data), "--accept-random", "--templates", text(&pools)])
                .args(["--answers", "teacher-forced", "--template-seed", seed, "-o", text(&output)]));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        let record = std::fs::read_to_string(output.join("run.json")).unwrap();
        assert!(
            record.contains("\"drawn_words\"") && record.contains(&format!("\"seed\": {seed}")),
            "{record}"
        );
        std::fs::read_to_string(output.join("samples.jsonl")).unwrap()
    };
    let first = lines("a", "1");
    assert_eq!(lines("b", "1"), first);
    assert_ne!(lines("c", "2"), first);
    assert!(
        first.contains("\"question\":\"Where is the ") || first.contains("\"question\":\"Segment the "),
        "{first}"
    );
    assert!(!first.contains("Please output segmentation mask"), "{first}");
    // A run with other words is another run.
    let other = folder.path().join("a");
    refused(
        eval(&[
            "fprefcoco",
            "--data",
            text(&data),
            "--answers",
            "teacher-forced",
            "--resume",
            "-o",
            text(&other),
        ])
        .arg("--accept-random"),
        &["drawn_words"],
    );
}
