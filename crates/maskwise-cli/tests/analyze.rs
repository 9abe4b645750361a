//! `analyze` with the embedded model: tables and pictures.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{files_below, maskwise, mini, refused, run, text, tiny_read};
use serde_json::Value;
use std::path::Path;

fn analyze(arguments: &[&str]) -> assert_cmd::Command {
    let mut command = maskwise();
    command.arg("analyze").args(arguments);
    command
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_grid_of_points() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let grid =
        ["--thresholds", "0.8,0.2", "--thresholds", "0.6,0.4", "--num-points", "4", "--num-points", "12"];
    let ran = run(analyze(&["points", "tabletop", "--count", "8", "-o", text(&output)]).args(grid));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.starts_with("embedded:maskwise-mini, tabletop test\n\n| t_pos | t_neg |"), "{ran:?}");
    assert_eq!(
        files_below(&output),
        [
            "points.csv",
            "points.json",
            "points.md",
            "points.png",
            "points.svg",
            "points.tex",
            "positives.png",
            "positives.svg"
        ]
    );
    let cells = json(&output.join("points.json"));
    let cells = cells.as_array().unwrap();
    assert_eq!(cells.len(), 4);
    for cell in cells {
        // Points know something: positive ones fall into the truth more often than chance would have it.
        assert!(cell["positives_inside"].as_f64().unwrap() > 0.2, "{cell}");
        assert!(cell["giou"]["mean"].as_f64().unwrap() > 0.1, "{cell}");
    }
    assert_ne!(cells[0]["giou"], cells[3]["giou"]);
    refused(&mut analyze(&["points", "tabletop", "--thresholds", "0.8"]), &["T_POS,T_NEG"]);
    refused(&mut analyze(&["points", "tabletop", "--thresholds", "0.2,0.8"]), &["t_pos"]);
    refused(&mut analyze(&["points", "tabletop", "--no-points"]), &["without points"]);
}

#[test]
fn prompts_and_similarity_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let ablate = ["ablate", "tabletop", "--count", "8", "--mode", "exact", "-o", text(&output)];
    let ran = run(&mut analyze(&ablate));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let rows = json(&output.join("ablation.json"));
    let names: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["mask_from"].as_str().unwrap()).collect();
    assert_eq!(names, ["[SEG] alone", "points alone", "both, discrete points", "both, DtoC"]);

    assert!(std::fs::read_to_string(output.join("ablation.svg")).unwrap().contains(">both, DtoC<"));

    let exact = ["--mode", "exact"];
    let ran = run(analyze(&["seg-token", "tabletop", "--count", "8", "-o", text(&output)]).args(exact));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let table = json(&output.join("seg-token.json"));
    assert_eq!(image::open(output.join("seg-token.png")).unwrap().width(), 640);
    // With the same SAM as the other one its row is the row of its own.
    let other = folder.path().join("other");
    let sam = mini();
    let with_other = ["seg-token", "tabletop", "--count", "8", "--other-sam", text(&sam), "-o", text(&other)];
    let ran = run(analyze(&with_other).args(exact));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let with_other = json(&other.join("seg-token.json"));
    assert_eq!(with_other.as_array().unwrap().len(), 5);
    assert_eq!(with_other[0]["giou"], table[0]["giou"]);
    assert_eq!(with_other[1], table[0]);
    let giou = |index: usize| table[index]["giou"]["mean"].as_f64().unwrap();
    // The model's own mask is that of its own prompt, and the similarity alone knows where to look.
    assert_eq!(table[3]["giou"], rows[3]["giou"]);
    assert!(giou(2) > 0.1, "{table}");
}

#[test]
fn pictures_of_similarity_and_of_several_models() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("maps");
    let ran = run(&mut analyze(&["similarity", "tabletop", "--limit", "2", "-o", text(&output)]));
    assert_eq!((ran.code, ran.stderr.as_str(), ran.stdout.lines().count()), (0, "", 2), "{ran:?}");
    assert_eq!(files_below(&output), ["000000.png", "000001.png"]);
    let sheet = image::open(output.join("000000.png")).unwrap();
    // Truth, four maps and the mask, each 256 pixels wide and a margin.
    assert_eq!(sheet.width(), 6 * (256 + 12));

    let both = folder.path().join("both");
    let model = tiny_read();
    let ran = run(&mut analyze(&[
        "compare",
        "tabletop",
        "--limit",
        "1",
        "--with",
        text(&model),
        "-o",
        text(&both),
    ]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(files_below(&both), ["000000.png"]);
    refused(&mut analyze(&["similarity", "tabletop"]), &["--output"]);
}
