//! One training step of READ beside the recorded one of the official implementation: losses and every gradient.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

#[path = "../../maskwise-models/tests/common/goldens.rs"]
#[allow(dead_code)] // Shared with the parity tests of the models.
mod goldens;

use candle_core::{DType, Device, Tensor};
use goldens::{Goldens, flat, goldens_folder};
use maskwise_data::dataset::{TrainingConversation, TrainingItem};
use maskwise_data::image::decode_path;
use maskwise_data::mask::Mask;
use maskwise_models::systems::read::{ModelFiles, ModelPlaces, PartTypes};
use maskwise_train::read::{
    LoraConfig, LossWeights, Part, PreparedItem, ReadLearner, ReadSettings, TrainedWeightsConfig,
};
use maskwise_train::{Gradients, Learner, LossTerms, MicroBatch};
use std::collections::BTreeMap;
use std::path::Path;

/// PEFT's names begin with this.
const PEFT: &str = "base_model.model.";

fn learner(folder: &Path, goldens: &Goldens) -> ReadLearner {
    let files = ModelFiles::open(&folder.join("checkpoint"), &ModelPlaces::default()).unwrap();
    let config = goldens.value("config");
    let lora = LoraConfig {
        rank: config["lora_r"].as_u64().unwrap() as usize,
        alpha: config["lora_alpha"].as_f64().unwrap(),
        dropout: config["lora_dropout"].as_f64().unwrap() as f32,
        targets: vec!["q_proj".to_owned(), "v_proj".to_owned()],
    };
    assert_eq!(lora.scaling(), goldens.value("lora_scaling").as_f64().unwrap());
    let weights = TrainedWeightsConfig {
        parts: Part::PUBLISHED.to_vec(),
        lora: Some(lora),
        first_trained_row: None,
        types: PartTypes::uniform(DType::F32),
        seed: 0,
    };
    let weight = |name: &str| config[name].as_f64().unwrap();
    let loss = LossWeights {
        ce: weight("ce_loss_weight"),
        bce: weight("bce_loss_weight"),
        dice: weight("dice_loss_weight"),
    };
    let learner = ReadLearner::new(files, &ReadSettings { weights, loss }, &Device::Cpu).unwrap();
    let parameters = learner.parameters();
    assert_eq!(parameters.iter().len() as u64, config["n_trainable"].as_u64().unwrap());
    assert_eq!(parameters.count() as u64, config["n_trainable_params"].as_u64().unwrap());
    let adapters: Vec<&str> = goldens.names().filter(|name| name.starts_with("init/")).collect();
    for name in &adapters {
        parameters.get(own_name(name)).unwrap().set(&goldens.tensor(name)).unwrap();
    }
    assert_eq!(adapters.len(), parameters.iter().filter(|(name, _)| name.contains(".lora_")).count());
    learner
}

/// `grad/base_model.model.X` is `X` here.
fn own_name(recorded: &str) -> &str {
    recorded.split_once(PEFT).unwrap().1
}

/// The recorded batch through the trainer's own preparation.
fn items(folder: &Path, goldens: &Goldens, learner: &ReadLearner) -> Vec<PreparedItem> {
    let batch = goldens.value("batch");
    let offsets = goldens.integers("batch/offset");
    let texts = batch["conversations"].as_array().unwrap();
    let images = batch["images"].as_array().unwrap();
    let item = |index: usize| {
        let image = decode_path(&folder.join(images[index].as_str().unwrap()), &Default::default()).unwrap();
        let mut masks = (0..).map_while(|mask| recorded_mask(goldens, &format!("train_gt_{index}_{mask}")));
        let rows = &texts[offsets[index] as usize..offsets[index + 1] as usize];
        let conversation = |text: &serde_json::Value| {
            let (_, round) = text.as_str().unwrap().split_once("<im_end>\n").unwrap();
            let (question, answer) = round.split_once(" ASSISTANT: ").unwrap();
            let answer = answer.strip_suffix("</s>").unwrap();
            let masks = masks.by_ref().take(answer.matches("[SEG]").count()).collect();
            TrainingConversation { rounds: vec![(question.to_owned(), answer.to_owned())], masks }
        };
        let conversations = rows.iter().map(conversation).collect();
        learner.prepare(TrainingItem { id: format!("item {index}"), image, conversations }).unwrap()
    };
    (0..images.len()).map(item).collect()
}

fn recorded_mask(goldens: &Goldens, name: &str) -> Option<Mask> {
    if !goldens.has(name) {
        return None;
    }
    let shape = goldens.entry(name).shape.clone();
    let values: Vec<u8> = goldens.mask(name).into_iter().map(u8::from).collect();
    Some(Mask::from_values(&values, shape[0], shape[1]).unwrap())
}

/// Ids and labels of the padded batch, as the official collation made them.
fn check_tokens(goldens: &Goldens, items: &[PreparedItem]) {
    let rows: Vec<_> = items.iter().flat_map(|item| &item.rows).collect();
    for (name, pad) in [("batch/input_ids", 0), ("batch/labels", -100), ("batch/attention_masks", 0)] {
        let recorded = goldens.integers(name);
        let length = recorded.len() / rows.len();
        for (row, recorded) in rows.iter().zip(recorded.chunks(length)) {
            let mut found = match name {
                "batch/input_ids" => row.ids.clone(),
                "batch/labels" => row.labels.clone(),
                _ => vec![1; row.ids.len()],
            };
            found.resize(length, pad);
            assert_eq!(found, recorded, "{name}");
        }
    }
}

fn check_losses(goldens: &Goldens, step: usize, terms: &LossTerms) {
    let recorded = &goldens.value("steps")[step];
    for (name, value) in &terms.0 {
        let recorded = recorded[*name].as_f64().unwrap();
        let error = (value - recorded).abs() / recorded.abs();
        goldens.note(&format!("loss {name}"), error);
        assert!(error < 1e-5, "{name}: {value} instead of {recorded} ({error:.1e})");
    }
    assert_eq!(terms.0.len(), 5);
}

/// Recorded are some rows of a table; the manifest's words say which: "grad, rows [600, 601]".
fn recorded_part(goldens: &Goldens, name: &str, tensor: &Tensor) -> Tensor {
    if !name.ends_with("[rows]") {
        return tensor.clone();
    }
    let meaning = goldens.entry(name).more["meaning"].as_str().unwrap();
    let (_, rows) = meaning.split_once('[').unwrap();
    let rows: Vec<u32> = rows.trim_end_matches(']').split(", ").map(|row| row.parse().unwrap()).collect();
    tensor.index_select(&Tensor::from_slice(&rows, rows.len(), &Device::Cpu).unwrap(), 0).unwrap()
}

/// The relative difference (Frobenius) of each recorded gradient.
fn gradient_errors(goldens: &Goldens, learner: &ReadLearner, gradients: &Gradients) -> Vec<(String, f64)> {
    let named: BTreeMap<&str, &Option<Tensor>> =
        learner.parameters().iter().map(|(name, _)| name).zip(gradients).collect();
    let recorded = goldens.names().filter(|name| name.starts_with("grad/"));
    let error = |name: &str| {
        let own = own_name(name).trim_end_matches("[rows]");
        let Some(gradient) = named[own].as_ref() else {
            // The reference computes all four masks and drops three: their gradient is zero there.
            assert!(flat(&goldens.tensor(name)).iter().all(|value| *value == 0.0), "{own} has no gradient");
            return (own.to_owned(), 0.0);
        };
        (own.to_owned(), goldens.frobenius(name, &recorded_part(goldens, name, gradient)))
    };
    recorded.map(error).collect()
}

#[test]
fn losses_and_gradients_equal_the_recorded_step() {
    let Some(folder) = goldens_folder() else { return };
    let goldens = Goldens::open(&folder, "train");
    let learner = learner(&folder, &goldens);
    let items = items(&folder, &goldens, &learner);
    check_tokens(&goldens, &items);
    let (terms, gradients) = learner.micro_batch(&MicroBatch { items: &items, seed: 1 }).unwrap();
    check_losses(&goldens, 0, &terms);
    let squares = gradients.iter().flatten().flat_map(flat).map(|value| f64::from(value).powi(2));
    let norm = squares.sum::<f64>().sqrt();
    let recorded = goldens.value("steps")[0]["grad_norm"].as_f64().unwrap();
    assert!((norm - recorded).abs() < 2e-5 * recorded, "gradient norm {norm} instead of {recorded}");
    for (name, error) in gradient_errors(&goldens, &learner, &gradients) {
        println!("{error:.1e} {name}");
        assert!(error < 2e-5, "{name}: gradient off by {error:.1e}");
    }
    let head = "model.visual_model.mask_decoder.iou_prediction_head.layers.2.bias";
    let index = learner.parameters().iter().position(|(name, _)| name == head).unwrap();
    assert!(gradients[index].is_none(), "the IoU head has no part in the loss");
}
