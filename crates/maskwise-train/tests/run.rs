//! The loop: independence of threads, validation, errors that stop a run.

#![allow(clippy::unwrap_used)]

mod toy;

use maskwise_data::dataset::{
    DatasetError, Mixture, SampleRng, TrainingConversation, TrainingDataset, TrainingItem,
};
use maskwise_data::image::RgbImage;
use maskwise_train::{Progress, RunSettings, TrainError, prepared_items};
use rand::RngExt;
use std::fs;
use std::sync::Arc;
use toy::{Toy, Watcher, run, settings, start};

#[test]
fn the_number_of_threads_does_not_alter_the_result() {
    let trained = |threads| {
        let folder = tempfile::tempdir().unwrap();
        let toy = Toy::with_width(100);
        let settings = RunSettings {
            threads,
            grad_accumulation_steps: 5,
            checkpoint_interval: 0,
            ..settings(folder.path())
        };
        let mut watcher = Watcher::default();
        run(&toy, start(&toy, &settings).unwrap(), &mut watcher).unwrap();
        let losses: Vec<f64> = watcher.reports.iter().map(|report| report.terms.0[0].1).collect();
        (toy.weight(), losses)
    };
    let one = trained(1);
    assert!(one.0 != Toy::with_width(100).weight() && one.1.len() == 6);
    for threads in [2, 3, 8] {
        assert_eq!(trained(threads), one);
    }
}

#[test]
fn accumulating_equals_a_larger_batch() {
    let trained = |batch_size, grad_accumulation_steps| {
        let folder = tempfile::tempdir().unwrap();
        let mut toy = Toy::with_width(20);
        toy.dropout = false; // It differs by micro-batch.
        let settings = RunSettings {
            steps: 3,
            batch_size,
            grad_accumulation_steps,
            checkpoint_interval: 0,
            ..settings(folder.path())
        };
        let mut watcher = Watcher::default();
        run(&toy, start(&toy, &settings).unwrap(), &mut watcher).unwrap();
        watcher.reports[0].gradient_norm
    };
    let (whole, parts) = (trained(4, 1), trained(1, 4));
    assert!((whole - parts).abs() < 1e-5 * whole, "{whole} {parts}");
}

#[test]
fn the_best_checkpoint_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::with_width(10);
    let settings = RunSettings { validation_interval: 1, checkpoint_interval: 0, ..settings(folder.path()) };
    let scores = vec![0.1, 0.5, f64::NAN, 0.4, 0.5, 0.3];
    run(&toy, start(&toy, &settings).unwrap(), &mut Watcher { scores, ..Watcher::default() }).unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join("checkpoints").join(name)).unwrap();
    assert_eq!((read("best").as_str(), read("last").as_str()), ("step-000002\n", "step-000006\n"));
    assert!(!folder.path().join("checkpoints/step-000001").exists());
    let state: serde_json::Value = serde_json::from_str(&read("step-000006/state.json")).unwrap();
    assert_eq!(state["progress"]["best"]["value"], 0.5);
    assert_eq!(state["optimizer_steps"], serde_json::json!({ "bias": 6, "unused": 0, "weight": 6 }));
    assert_eq!(state["progress"]["next_position"], 24);
    let picture = maskwise_data::image::decode_path(
        &folder.path().join("pictures/step-000003/mug.png"),
        &maskwise_data::image::DecodeOptions::default(),
    );
    assert_eq!(picture.unwrap().get_pixel(2, 1).0, [3, 0, 0]);
    let log = fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
    assert_eq!(log.lines().nth(3).unwrap(), r#"{"step":2,"validation":{"giou":0.0,"ciou":0.5}}"#);

    let again = tempfile::tempdir().unwrap();
    let wrong = RunSettings { best_score: "dice".to_owned(), folder: again.path().to_path_buf(), ..settings };
    let mut watcher = Watcher { scores: vec![0.1; 6], ..Watcher::default() };
    let error = run(&toy, start(&toy, &wrong).unwrap(), &mut watcher).unwrap_err().to_string();
    assert!(error.contains("`dice`") && error.contains("giou, ciou"), "{error}");
}

#[test]
fn what_is_not_finite_stops_the_run_with_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut toy = Toy::with_width(10);
    toy.poisoned = Some(10);
    let settings = RunSettings { threads: 2, ..settings(folder.path()) };
    let error = run(&toy, start(&toy, &settings).unwrap(), &mut Watcher::default()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, TrainError::NotFinite { step: 3, .. }), "{text}");
    assert!(text.contains("the gradient of `bias`") && text.contains("toy/10, toy/11"), "{text}");
    assert_eq!(fs::read_to_string(folder.path().join("checkpoints/last")).unwrap(), "step-000002\n");
    let log = fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 2);
}

#[test]
fn items_that_end_or_fail_stop_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::with_width(10);
    let settings = settings(folder.path());
    let mut trainer = start(&toy, &settings).unwrap();
    let error = trainer.run(toy.items(0).take(9), &mut Watcher::default()).unwrap_err();
    assert!(matches!(error, TrainError::OutOfItems { position: 9, wanted: 15 }), "{error}");
    drop(trainer);

    let trainer = toy::resume(&toy, &settings).unwrap();
    assert_eq!((trainer.progress().step, trainer.progress().next_position), (2, 8));
    let mut trainer = trainer;
    let broken =
        || Err(TrainError::Setting { field: "cats.json".to_owned(), reason: "no such file".to_owned() });
    let items = toy.items(8).take(1).chain([broken()]);
    assert_eq!(
        trainer.run(items, &mut Watcher::default()).unwrap_err().to_string(),
        "cats.json: no such file"
    );
}

#[test]
fn a_folder_has_one_run_and_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::with_width(10);
    let settings = settings(folder.path());
    let trainer = start(&toy, &settings).unwrap();
    let error = start(&toy, &settings).err().unwrap().to_string();
    assert!(error.contains("another process"), "{error}");
    run(&toy, trainer, &mut Watcher::default()).unwrap();
    let error = start(&toy, &settings).err().unwrap().to_string();
    assert!(error.contains("holds a run already") && error.contains("step-000006"), "{error}");
}

#[test]
fn wrong_counts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::with_width(10);
    for (settings, field) in [
        (RunSettings { steps: 0, ..settings(folder.path()) }, "run.steps"),
        (RunSettings { batch_size: 0, ..settings(folder.path()) }, "run.batch_size"),
        (
            RunSettings { grad_accumulation_steps: 0, ..settings(folder.path()) },
            "run.grad_accumulation_steps",
        ),
        (RunSettings { steps: 2, ..settings(folder.path()) }, "schedule.warmup_steps"),
    ] {
        let error = start(&toy, &settings).err().unwrap().to_string();
        assert!(error.starts_with(field), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Items called by random numbers, one in eight by a word.
struct Numbers;

impl TrainingDataset for Numbers {
    fn name(&self) -> &str {
        "numbers"
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let number = rng.random_range(0..800_u32);
        let id = if number < 100 { "word".to_owned() } else { number.to_string() };
        let rounds = vec![("What?".to_owned(), "Nothing.".to_owned())];
        let conversations = vec![TrainingConversation { rounds, masks: Vec::new() }];
        Ok(TrainingItem { id, image: RgbImage::new(1, 1), conversations })
    }
}

#[test]
fn loaded_items_depend_on_their_position_only() {
    let mixture = Arc::new(Mixture::new("all", vec![(Box::new(Numbers), 1.0)]).unwrap());
    let settings = settings(std::path::Path::new("unused"));
    let take = |next_position, workers, count| -> Vec<String> {
        let progress = Progress { next_position, ..Progress::default() };
        let items = prepared_items(&settings, &progress, workers, {
            let mixture = mixture.clone();
            move |seed, position| {
                let id = mixture.item(seed, position)?.id;
                let number: u64 = id
                    .parse()
                    .map_err(|_| TrainError::Item { id: id.clone(), reason: "is no number".to_owned() })?;
                Ok((id, number))
            }
        })
        .unwrap();
        let text = |item: Result<(String, u64), TrainError>| match item {
            Ok((id, prepared)) => format!("{id}={prepared}"),
            Err(error) => error.to_string(),
        };
        items.take(count).map(text).collect()
    };
    let whole = take(0, 1, 40);
    assert!(whole.iter().any(|item| item == "word: is no number") && whole[0] != whole[1], "{whole:?}");
    assert_eq!(take(0, 3, 40), whole);
    assert_eq!(take(25, 2, 15), whole[25..]);
}
