//! `bench`, and the instructions that a person may ask for.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{maskwise, run};

#[test]
fn stages_are_timed() {
    let mut command = maskwise();
    command.args(["bench", "--stage", "image", "--stage", "sam-decoder", "--sam", "vit-b", "--repeats", "1"]);
    let ran = run(command.args(["--threads", "2", "--json"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["limits"]["threads"], 2);
    assert!(report["limits"]["f32_operations"].as_f64().unwrap() > 1e8, "{report}");
    let stages = report["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["image", "sam-decoder"]);
    for stage in stages {
        assert!(stage["first"].as_f64().unwrap() > 0.0 && stage["later"].as_f64().unwrap() > 0.0, "{stage}");
    }
}

#[test]
fn unknown_names_are_refused() {
    let ran = run(maskwise().args(["bench", "--stage", "swim"]));
    assert!(ran.code == 2 && ran.stderr.contains("known are image, clip"), "{ran:?}");
    let ran = run(maskwise().arg("doctor").env("MASKWISE_ISA", "sse"));
    assert!(ran.code == 2 && ran.stderr.contains("known are amx, avx512, avx2 and portable"), "{ran:?}");
}
