//! Help, completions, man pages and the text of `inspect`, held against committed snapshots.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{files_below, maskwise, mini, root, run, text, tiny_read};

const COMMANDS: [&str; 15] = [
    "segment",
    "chat",
    "train",
    "merge",
    "analyze",
    "dataset",
    "eval",
    "convert",
    "inspect",
    "pull",
    "synth",
    "bench",
    "doctor",
    "completions",
    "man",
];

/// Commands of commands.
const PARTS: [(&str, &[&str]); 3] = [
    ("analyze", &["points", "ablate", "seg-token", "similarity", "compare"]),
    ("dataset", &["check", "stats", "show", "convert"]),
    ("eval", &["merge", "compare"]),
];

#[test]
fn help_of_every_command() {
    let ran = run(maskwise().arg("--help"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("maskwise", ran.stdout);
    for command in COMMANDS {
        let ran = run(maskwise().args([command, "--help"]));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(ran.stdout.ends_with('\n') && !ran.stdout.ends_with("\n\n"), "{command}");
        insta::assert_snapshot!(command, ran.stdout);
    }
}

#[test]
fn a_model_is_inspected() {
    let ran = run(maskwise().arg("inspect").arg(tiny_read()));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("inspect_tiny_read", ran.stdout.replace(text(&root()), "ROOT"));
    let embedded = run(maskwise().arg("inspect"));
    assert_eq!((embedded.code, embedded.stderr.as_str()), (0, ""));
    let of_the_folder = run(maskwise().arg("inspect").arg(mini())).stdout;
    let of_the_folder = of_the_folder.replace(text(&mini()), "embedded model maskwise-mini");
    assert_eq!(embedded.stdout, of_the_folder.replace("mini/vision_tower", "mini: vision_tower"));
    let tensors = run(maskwise().args(["inspect", "--tensors"]).arg(tiny_read())).stdout;
    assert!(tensors.contains("bf16  [483, 96]              lm_head.weight\n"), "{tensors}");
    let json: serde_json::Value =
        serde_json::from_str(&run(maskwise().args(["inspect", "--json"]).arg(tiny_read())).stdout).unwrap();
    assert_eq!(json["special_ids"]["[SEG]"], 480);
    assert_eq!(json["defects"], serde_json::Value::Null);
}

#[test]
fn completions_for_every_shell() {
    for (shell, mark) in [
        ("bash", "complete -F _maskwise"),
        ("zsh", "#compdef maskwise"),
        ("fish", "complete -c maskwise"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let ran = run(maskwise().args(["completions", shell]));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(
            ran.stdout.contains(mark) && ran.stdout.contains("teacher-forced"),
            "{shell}: {}",
            ran.stdout
        );
    }
}

#[test]
fn man_pages_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    let ran = run(maskwise().arg("man").arg(&pages));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let mut expected: Vec<String> = COMMANDS.iter().map(|command| format!("maskwise-{command}.1")).collect();
    for (command, parts) in PARTS {
        expected.extend(parts.iter().map(|part| format!("maskwise-{command}-{part}.1")));
    }
    expected.push("maskwise.1".to_owned());
    expected.sort();
    assert_eq!(files_below(&pages), expected);
    let page = std::fs::read_to_string(pages.join("maskwise-segment.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("teacher") && page.contains("Exit status"), "{page}");
}

#[test]
fn the_machine_is_examined() {
    let ran = run(maskwise().arg("doctor"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    for word in [
        "maskwise      ",
        "cores         ",
        "instructions  ",
        "memory        ",
        "devices       cpu",
        "embedded      maskwise-mini, version 2, 7.",
        "/nonexistent/hub",
    ] {
        assert!(ran.stdout.contains(word), "`{word}` is not in: {}", ran.stdout);
    }
    let json: serde_json::Value =
        serde_json::from_str(&run(maskwise().args(["doctor", "--json"])).stdout).unwrap();
    assert!(json["cores"].as_u64().unwrap() >= 1);
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}
