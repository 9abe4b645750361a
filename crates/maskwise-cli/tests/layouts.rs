//! Each published layout, as the tiny datasets of `tests/datasets` have it, through check, stats, show, convert and eval.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{maskwise, root, run, text};
use serde_json::Value;
use std::path::Path;

/// Name, place below `tests/datasets`, whether it has splits, questions.
const LAYOUTS: [(&str, &str, bool, usize); 15] = [
    ("reasonseg", "reasonseg", true, 9),
    ("jsonl", "jsonl", true, 12),
    ("coco", "coco/val.json", false, 9),
    ("labelme", "labelme/val", false, 3),
    ("refclef", "lisa/refer_seg", true, 4),
    ("refcoco", "lisa/refer_seg", true, 4),
    ("fprefcoco", "lisa/refer_seg", true, 8),
    ("R-refcoco", "lisa/refer_seg", true, 7),
    ("muse", "lisa", true, 6),
    ("ade20k", "lisa", false, 6),
    ("cocostuff", "lisa", false, 6),
    ("mapillary", "lisa", false, 6),
    ("paco_lvis", "lisa", false, 17),
    ("pascal_part", "lisa", false, 17),
    ("llava-instruct", "lisa", false, 3),
];

fn summary(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("summary.json")).unwrap()).unwrap()
}

#[test]
fn every_layout_is_checked_described_shown_converted_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    for (layout, place, has_splits, questions) in LAYOUTS {
        let at = |name: &str| folder.path().join(format!("{layout}-{name}"));
        let data = root().join("tests/datasets").join(place);
        let ran = |arguments: &[&str], options: &[&str]| {
            let mut command = maskwise();
            command.env("XDG_CACHE_HOME", &cache).args(arguments).arg(layout);
            command.args(["--data", text(&data)]).args(options);
            let ran = run(&mut command);
            assert_eq!(ran.code, 0, "{layout}: {ran:?}");
            ran.stdout
        };
        let checked = ran(&["dataset", "check"], &[]);
        assert!(checked.contains(&format!("all {questions} questions are sound")), "{checked}");
        let stats: Value = serde_json::from_str(&ran(&["dataset", "stats"], &["--json"])).unwrap();
        assert_eq!(stats["questions"], questions);
        let sheet = at("sheet.png");
        ran(&["dataset", "show"], &["-o", text(&sheet), "--count", "3"]);
        assert!(image::open(&sheet).unwrap().width() > 3 * 256);

        // Into our own layout, which holds everything, and back from there the questions are as many.
        let ours = at("ours");
        ran(&["dataset", "convert"], &["--to", "jsonl", "-o", text(&ours)]);
        let again = run(maskwise().env("XDG_CACHE_HOME", &cache).args([
            "dataset",
            "stats",
            "jsonl",
            "--json",
            "--data",
            text(&ours),
        ]));
        let again: Value = serde_json::from_str(&again.stdout).unwrap();
        for figure in ["questions", "pictures", "absent", "words", "covered", "with_ignored"] {
            assert_eq!(again[figure], stats[figure], "{layout}: {figure}");
        }

        let evaluated = at("evaluated");
        ran(&["eval"], &["--accept-random", "-o", text(&evaluated)]);
        let all = summary(&evaluated);
        let rows = all["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == "all").unwrap();
        assert_eq!(row["count"], questions, "{layout}");
        assert_eq!(all["matching"].is_object(), ["muse", "jsonl"].contains(&layout), "{layout}");
        assert!(evaluated.join("report.html").exists());
        let split =
            run(maskwise().args(["dataset", "check", layout, "--data", text(&data), "--split", "none"]));
        assert_eq!(split.code, 2, "{layout}: {split:?}");
        let expected = if has_splits { "none" } else { "--split does not belong to this dataset" };
        assert!(split.stderr.contains(expected), "{layout}: {split:?}");
    }
    let kept = std::fs::read_dir(cache.join("maskwise/datasets")).unwrap().count();
    // One for each dataset and each of the conversions, but for folders of single files.
    assert_eq!(kept, 13 + 15);
}
