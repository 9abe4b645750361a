//! What the tests of the command line share.

// Each test file takes what it needs.
#![allow(dead_code)]

use assert_cmd::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The committed checkpoint that knows coloured shapes.
pub(crate) fn tiny_read() -> PathBuf {
    root().join("tests/tiny-read/model")
}

/// The folder whose files are embedded: `maskwise-mini`.
pub(crate) fn mini() -> PathBuf {
    root().join("crates/maskwise-mini/model")
}

/// A picture for [`tiny_read`]: `shapes-a.png` or `shapes-b.png`.
pub(crate) fn picture(name: &str) -> PathBuf {
    root().join("tests/tiny-read").join(name)
}

/// A picture of the Tabletop world for [`mini`].
pub(crate) fn demo(name: &str) -> PathBuf {
    root().join("assets/demo").join(name)
}

/// Text of a path.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The program, free of the caller's settings, stopped after a minute.
pub(crate) fn maskwise() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_maskwise"));
    for (name, value) in settings() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.timeout(Duration::from_secs(60));
    command
}

/// Variables that the program reads, as the tests want them: unset, and a hub cache that is not there.
pub(crate) fn settings() -> Vec<(&'static str, Option<&'static str>)> {
    let unset = [
        "MASKWISE_MODEL",
        "MASKWISE_DEVICE",
        "MASKWISE_DTYPE",
        "HF_HOME",
        "HF_TOKEN",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
        "RUST_BACKTRACE",
        "COLUMNS",
    ];
    let mut settings: Vec<_> = unset.into_iter().map(|name| (name, None)).collect();
    settings.push(("HF_HUB_CACHE", Some("/nonexistent/hub")));
    settings.push(("XDG_CACHE_HOME", Some("/nonexistent/cache")));
    settings
}

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The lines of standard output as JSON.
    pub(crate) fn records(&self) -> Vec<Value> {
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}\n{self:?}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let code = output.status.code().unwrap_or_else(|| panic!("ended by {}: {stderr}", output.status));
    Ran { code, stdout, stderr }
}

/// `segment INPUT QUESTIONS -m tiny-read -o OUTPUT`.
pub(crate) fn segment(input: &Path, questions: &[&str], output: &Path) -> Command {
    let mut command = maskwise();
    command.arg("segment").arg(input).args(questions).arg("-m").arg(tiny_read()).arg("-o").arg(output);
    command
}

/// The names of all files below a folder, in order, `/` between the parts; none if there is no folder.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Copies a folder with what is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in files_below(from) {
        let target = to.join(&name);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, std::fs::read(from.join(&name)).unwrap()).unwrap();
    }
}

/// Where the photographs are, or nothing, which is said.
pub(crate) fn photos() -> Option<PathBuf> {
    let folder = std::env::var_os("MASKWISE_PHOTOS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: MASKWISE_PHOTOS is not set");
    }
    folder
}

/// Polls until the child ends, for a minute at most.
pub(crate) fn wait(child: &mut std::process::Child) -> std::process::ExitStatus {
    for _ in 0..600 {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill().unwrap();
    panic!("the program did not end");
}

/// Asserts that the command fails with one line that holds all `words`.
#[track_caller]
pub(crate) fn refused(command: &mut Command, words: &[&str]) -> Ran {
    let ran = run(command);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.ends_with('\n'), "{ran:?}");
    assert!(!ran.stderr.contains("panicked") && !ran.stderr.contains("internal error"), "{ran:?}");
    assert!(ran.stderr.len() < 1500, "a long line: {}", ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is not in: {}", ran.stderr);
    }
    ran
}
