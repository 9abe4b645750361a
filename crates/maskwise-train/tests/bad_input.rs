//! Bad input stops a run with one line that says what is wrong and where, and leaves the run's folder as it was.

#![allow(clippy::unwrap_used)]

mod tiny;

use candle_core::{DType, Device};
use maskwise_data::dataset::{TrainingConversation, TrainingItem};
use maskwise_data::image::RgbImage;
use maskwise_data::mask::Mask;
use maskwise_models::systems::read::{ModelFiles, ModelPlaces, PartTypes};
use maskwise_train::read::{
    FeatureSettings, LossWeights, Part, ReadLearner, ReadSettings, TrainedWeightsConfig,
};
use maskwise_train::session::{Begin, Recipe, Watcher};
use maskwise_train::{StepReport, TrainError};
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tiny::{recipe, slashed, write_read};

struct Quiet;

impl Watcher for Quiet {
    fn step(&mut self, _: &StepReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn validated(&mut self, _: u64, _: &[(String, f64)]) {}

    fn notice(&mut self, _: &str) {}
}

fn train(folder: &Path, text: &str, begin: Begin) -> Result<(), TrainError> {
    let path = folder.join("recipe.toml");
    fs::write(&path, text).unwrap();
    Recipe::read(&path)?.train(begin, &mut Quiet).map(|_| ())
}

/// Every file below `folder` with its content.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(content(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn bad_input_is_one_line_and_leaves_the_run_intact() {
    let folder = tempfile::tempdir().unwrap();
    let read = write_read(folder.path());
    let good = recipe(folder.path(), &format!("init_from = \"{}\"", slashed(&read)), "");
    train(folder.path(), &good, Begin::New).unwrap();
    let run = folder.path().join("run");
    let before = content(&run);
    assert!(before.keys().any(|path| path.ends_with("step-000002/parameters.safetensors")));
    let refused = |text: &str| {
        let error = train(folder.path(), text, Begin::Resume).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(content(&run) == before, "the run's folder changed: {error}");
        error
    };
    let replaced = |old: &str, new: &str| {
        assert!(good.contains(old));
        refused(&good.replace(old, new))
    };
    let error = replaced("steps = 2", "steps = 2\nbatchsize = 3");
    assert!(error.contains("recipe.toml: line ") && error.contains("unknown field `batchsize`"), "{error}");
    let error = replaced("[run]", "[lora]\nrank = 0\n[run]");
    assert!(error.contains("lora: rank is 0"), "{error}");

    let pictures = folder.path().join("pictures");
    let own = format!("kind = \"reason_seg\"\nfolder = \"{}\"", slashed(&pictures));
    let with_pictures = || replaced("kind = \"tabletop\"\nsize = 64", &own);
    let error = with_pictures();
    assert!(error.starts_with("data.datasets[0].folder: ") && error.contains("is not there"), "{error}");
    fs::create_dir(&pictures).unwrap();
    let error = with_pictures();
    assert!(error.contains("pictures") && error.contains("has no pictures"), "{error}");
    RgbImage::new(8, 8).save(pictures.join("mug.png")).unwrap();
    let error = with_pictures();
    assert!(error.contains("mug.png") && error.contains("put mug.json beside it"), "{error}");

    // The same folder, but the weights are another model's.
    let weights = read.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let error = refused(&good);
    assert!(error.starts_with("cannot resume from") && error.contains("another model"), "{error}");
}

#[test]
fn every_seg_needs_its_mask() {
    let folder = tempfile::tempdir().unwrap();
    let files = ModelFiles::open(&write_read(folder.path()), &ModelPlaces::default()).unwrap();
    let weights = TrainedWeightsConfig {
        parts: vec![Part::TextHiddenFcs],
        lora: None,
        first_trained_row: None,
        types: PartTypes::uniform(DType::F32),
        seed: 0,
    };
    let settings = ReadSettings {
        weights,
        loss: LossWeights::default(),
        features: FeatureSettings::default(),
        activation_checkpointing: false,
    };
    let learner = ReadLearner::new(files, &settings, &Device::Cpu).unwrap();
    let prepare = |answer: &str, masks: Vec<Mask>| {
        let rounds = vec![("Where is the mug?".to_owned(), answer.to_owned())];
        let conversations = vec![TrainingConversation { rounds, masks }];
        let item = TrainingItem { id: "mug.png".to_owned(), image: RgbImage::new(8, 8), conversations };
        learner.prepare(item)
    };
    let mask = || Mask::from_values(&[1; 64], 8, 8).unwrap();
    assert_eq!(prepare("Here: [SEG].", vec![mask()]).unwrap().rows[0].masks.len(), 1);
    let error = prepare("[SEG] and [SEG].", vec![mask()]).unwrap_err().to_string();
    assert!(error.starts_with("mug.png: ") && error.contains("2 [SEG] and 1 masks"), "{error}");
    let error = prepare("There is none.", vec![mask()]).unwrap_err().to_string();
    assert!(error.contains("0 [SEG] and 1 masks"), "{error}");
}
