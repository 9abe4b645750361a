//! `maskwise synth`: datasets, contact sheets, and what it refuses.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{files_below, maskwise, run, text};

#[test]
fn a_dataset_is_written_and_never_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let command = || {
        let mut command = maskwise();
        command.args(["synth", "--layout", "reasonseg", "--split", "test", "--count", "2", "--size", "64"]);
        run(command.args(["--output", text(&data)]))
    };
    let ran = command();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let files = files_below(&data);
    assert_eq!(files.len(), 4);
    assert!(files.iter().all(|file| file.starts_with("test/")), "{files:?}");
    let again = command();
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("is not empty") && again.stderr.lines().count() == 1, "{}", again.stderr);
}

#[test]
fn a_contact_sheet_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sheet.png");
    let ran = run(maskwise().args(["synth", "--count", "3", "--size", "64", "--show", text(&file)]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(image::open(&file).unwrap().width() > 3 * 64);
}

#[test]
fn what_cannot_be_drawn_is_refused_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sheet.png");
    for (arguments, message) in [
        (["--size", "8"], "64 to 2048"),
        (["--split", "val"], "there is no split `val`"),
        (["--count", "0"], "1 to 400"),
        (["--count", "100000"], "1 to 400"),
    ] {
        let ran = run(maskwise().arg("synth").args(arguments).args(["--show", text(&file)]));
        assert_eq!(ran.code, 2, "{arguments:?}");
        assert!(ran.stderr.contains(message) && ran.stderr.lines().count() == 1, "{}", ran.stderr);
        assert!(!file.exists());
    }
}
