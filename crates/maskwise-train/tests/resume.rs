//! Exact resume, after a `kill -9` in the middle of a save among others.

#![allow(clippy::unwrap_used)]

mod toy;

use maskwise_train::{OptimizerConfig, RunIdentity, RunSettings, Trainer};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use toy::{Toy, Watcher, identity, resume, run, schedule, settings, start};

const FOLDER: &str = "MASKWISE_TEST_RUN_FOLDER";
const STALL_AT: &str = "MASKWISE_TEST_STALL_AT";

/// What the last checkpoint of a run holds, file by file.
fn last_checkpoint(run_folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let checkpoints = run_folder.join("checkpoints");
    let last = fs::read_to_string(checkpoints.join("last")).unwrap();
    fs::read_dir(checkpoints.join(last.trim()))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// (step, loss, rate, norm) of each line of the log.
fn logged(run_folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(run_folder.join("log.jsonl")).unwrap();
    let parse = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{} {} {} {}", line["step"], line["loss"], line["lr"], line["gradient_norm"])
    };
    text.lines().map(parse).collect()
}

fn names(run_folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(run_folder.join("checkpoints")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Six steps without interruption.
fn uninterrupted() -> (BTreeMap<String, Vec<u8>>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::new();
    run(&toy, start(&toy, &settings(folder.path())).unwrap(), &mut Watcher::default()).unwrap();
    (last_checkpoint(folder.path()), logged(folder.path()))
}

fn assert_continues_exactly(run_folder: &Path, from_step: u64) {
    let toy = Toy::new();
    let trainer = resume(&toy, &settings(run_folder)).unwrap();
    assert_eq!(trainer.progress().step, from_step);
    run(&toy, trainer, &mut Watcher::default()).unwrap();
    let (checkpoint, log) = uninterrupted();
    let found = last_checkpoint(run_folder);
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        ["optimizer.safetensors", "parameters.safetensors", "state.json"]
    );
    for (name, bytes) in checkpoint {
        assert!(found[&name] == bytes, "{name} differs");
    }
    assert_eq!(logged(run_folder), log);
    assert_eq!(names(run_folder), ["last", "lock", "step-000006"]);
}

/// The process that the tests below start: trains, or continues, and can stall in the save of step 4.
#[test]
#[ignore = "started by other tests, which kill it"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let stall_at: Option<usize> = std::env::var(STALL_AT).ok().map(|text| text.parse().unwrap());
    let toy = Toy::new();
    let saving = move |step: u64, written: usize| {
        if step == 4 && Some(written) == stall_at {
            println!("\nstalled");
            std::thread::sleep(Duration::from_secs(60));
        }
    };
    let mut watcher = Watcher { saving: Some(Box::new(saving)), ..Watcher::default() };
    let settings = settings(Path::new(&folder));
    let ended = resume(&toy, &settings).and_then(|trainer| run(&toy, trainer, &mut watcher));
    println!("\nended: {}", ended.map_or_else(|error| error.to_string(), |()| "well".to_owned()));
}

const CHILD: [&str; 4] = ["--exact", "child", "--ignored", "--nocapture"];

fn kill_in_the_save_of_step_4(run_folder: &Path, stall_at: usize) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(CHILD)
        .env(FOLDER, run_folder)
        .env(STALL_AT, stall_at.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    assert!(lines.any(|line| line == "stalled"), "the child ended before it was killed");
    child.kill().unwrap(); // SIGKILL on Unix
    child.wait().unwrap();
}

#[test]
fn a_kill_during_a_save_loses_nothing() {
    // Before the first of the nine tensors, between the two files, before the last tensor.
    for stall_at in [0, 3, 8] {
        let folder = tempfile::tempdir().unwrap();
        kill_in_the_save_of_step_4(folder.path(), stall_at);
        assert_eq!(names(folder.path()), ["last", "lock", "step-000003", "step-000004.partial"]);
        assert_eq!(logged(folder.path()).len(), 4);
        assert_continues_exactly(folder.path(), 3);
    }
}

#[test]
fn a_kill_before_the_pointers_are_swapped_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::new();
    let keep_two = RunSettings { keep_checkpoints: 2, ..settings(folder.path()) };
    let mut watcher = Watcher { stop_after: Some(4), ..Watcher::default() };
    run(&toy, start(&toy, &keep_two).unwrap(), &mut watcher).unwrap();
    // The state on the disk between the rename and the swap.
    fs::write(folder.path().join("checkpoints/last"), "step-000003\n").unwrap();
    assert_continues_exactly(folder.path(), 3);

    // The same at the very first save: there is no pointer yet.
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::new();
    let mut watcher = Watcher { stop_after: Some(1), ..Watcher::default() };
    run(&toy, start(&toy, &settings(folder.path())).unwrap(), &mut watcher).unwrap();
    fs::remove_file(folder.path().join("checkpoints/last")).unwrap();
    assert_continues_exactly(folder.path(), 1);
}

#[test]
fn a_run_stopped_before_its_first_checkpoint_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    assert_continues_exactly(folder.path(), 0);
}

/// A limit on the size of files makes writes fail as a full disk does.
#[cfg(unix)]
#[test]
fn a_failed_save_stops_the_run_and_leaves_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::new();
    let mut watcher = Watcher { stop_after: Some(3), ..Watcher::default() };
    run(&toy, start(&toy, &settings(folder.path())).unwrap(), &mut watcher).unwrap();
    let before = last_checkpoint(folder.path());
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 20; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(CHILD)
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let ended = text.lines().find(|line| line.starts_with("ended: ")).unwrap_or_else(|| panic!("{text}"));
    assert!(
        ended.contains("step-000004.partial/parameters.safetensors") && ended.contains("large"),
        "{ended}"
    );
    assert_eq!(names(folder.path()), ["last", "lock", "step-000003"]);
    assert_eq!(last_checkpoint(folder.path()), before);
    assert_continues_exactly(folder.path(), 3);
}

#[test]
fn another_run_is_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::with_width(10);
    let settings = settings(folder.path());
    run(&toy, start(&toy, &settings).unwrap(), &mut Watcher::default()).unwrap();
    let refused = |toy: &Toy, identity: RunIdentity| {
        let before = toy.weight();
        let resumed =
            Trainer::resume(toy, settings.clone(), schedule(), OptimizerConfig::default(), identity);
        let error = resumed.err().unwrap().to_string();
        assert!(error.starts_with("cannot resume from") && error.lines().count() == 1, "{error}");
        assert_eq!(toy.weight(), before);
        error
    };
    let fresh = Toy::with_width(10);
    let error = refused(&fresh, RunIdentity { model: "model-2".to_owned(), ..identity() });
    assert!(error.contains("another model (model-1, this is model-2)"), "{error}");
    let error = refused(&fresh, RunIdentity { data: "data-2".to_owned(), ..identity() });
    assert!(error.contains("the data changed"), "{error}");
    let mut changed = identity();
    changed.settings["lora"]["rank"] = 16.into();
    let error = refused(&fresh, changed);
    assert!(error.contains("`lora.rank` = 8, the configuration now says 16"), "{error}");
    let error = refused(&Toy::with_width(11), identity());
    assert!(error.contains("`weight`") && error.contains("[10]") && error.contains("[11]"), "{error}");

    let state = folder.path().join("checkpoints/step-000006/state.json");
    fs::write(&state, &fs::read(&state).unwrap()[..40]).unwrap();
    assert!(refused(&fresh, identity()).contains("damaged"));
    fs::write(folder.path().join("checkpoints/last"), "../elsewhere").unwrap();
    assert!(refused(&fresh, identity()).contains("no checkpoint here"));
}
