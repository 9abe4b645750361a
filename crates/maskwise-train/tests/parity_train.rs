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
    FeatureSettings, LoraConfig, LossWeights, Part, PreparedItem, ReadLearner, ReadSettings,
    TrainedWeightsConfig,
};
use maskwise_train::{
    AdamW, AdamWConfig, Decay, Gradients, Learner, LossTerms, MicroBatch, Schedule, clip_coefficient,
    global_norm,
};
use std::collections::BTreeMap;
use std::path::Path;

/// PEFT's names begin with this.
const PEFT: &str = "base_model.model.";

fn learner(folder: &Path, goldens: &Goldens, activation_checkpointing: bool) -> ReadLearner {
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
        ..LossWeights::default()
    };
    let features = FeatureSettings::default();
    let settings = ReadSettings { weights, loss, features, activation_checkpointing };
    let learner = ReadLearner::new(files, &settings, &Device::Cpu).unwrap();
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
    for activation_checkpointing in [false, true] {
        compare_one_step(&folder, &goldens, activation_checkpointing);
    }
}

fn compare_one_step(folder: &Path, goldens: &Goldens, activation_checkpointing: bool) {
    let learner = learner(folder, goldens, activation_checkpointing);
    let items = items(folder, goldens, &learner);
    check_tokens(goldens, &items);
    let (terms, gradients) = learner.micro_batch(&MicroBatch { items: &items, seed: 1 }).unwrap();
    check_losses(goldens, 0, &terms);
    let squares = gradients.iter().flatten().flat_map(flat).map(|value| f64::from(value).powi(2));
    let norm = squares.sum::<f64>().sqrt();
    let recorded = goldens.value("steps")[0]["grad_norm"].as_f64().unwrap();
    assert!((norm - recorded).abs() < 2e-5 * recorded, "gradient norm {norm} instead of {recorded}");
    for (name, error) in gradient_errors(goldens, &learner, &gradients) {
        println!("{error:.1e} {name}");
        assert!(error < 2e-5, "{name}: gradient off by {error:.1e}");
    }
    let head = "model.visual_model.mask_decoder.iou_prediction_head.layers.2.bias";
    let index = learner.parameters().iter().position(|(name, _)| name == head).unwrap();
    assert!(gradients[index].is_none(), "the IoU head has no part in the loss");
}

/// The recorded schedule with the learning rates of DeepSpeed, or without decay.
fn schedule(goldens: &Goldens, run: &str) -> (Schedule, u64) {
    let recorded = goldens.value("deepspeed_lr");
    let learning_rate = recorded["lr"].as_f64().unwrap();
    let total = recorded["total_num_steps"].as_u64().unwrap();
    let deepspeed_first_step = run == "deepspeed_lr";
    let warmup_steps = if deepspeed_first_step { recorded["warmup"].as_u64().unwrap() } else { 0 };
    let decay = if deepspeed_first_step { Decay::Linear } else { Decay::Constant };
    (Schedule { learning_rate, warmup_steps, decay, deepspeed_first_step }, total)
}

/// The recorded parameters after `step` steps of `run`. Where a gradient is below 1e-7 the first steps of Adam, which are of the rate's
/// size whatever the gradient's, turn its noise into a whole step; `smallest` says where.
fn check_parameters(
    goldens: &Goldens,
    learner: &ReadLearner,
    smallest: &[Option<Tensor>],
    run: &str,
    step: u64,
) {
    let prefix = format!("{run}/after_step{step}/");
    let (mut compared, mut left_out, mut worst) = (0, 0, 0.0_f64);
    for name in goldens.names().filter(|name| name.starts_with(&prefix)) {
        let own = own_name(name).trim_end_matches("[rows]");
        let index = learner.parameters().iter().position(|(known, _)| known == own).unwrap();
        let parameter = learner.parameters().get(own).unwrap().as_detached_tensor();
        let pairs = goldens.pairs(name, &recorded_part(goldens, name, &parameter));
        let gradients = match &smallest[index] {
            Some(smallest) => goldens.pairs(name, &recorded_part(goldens, name, smallest)),
            // Without gradient it must stay exactly as it was, which the comparison shows.
            None => vec![(1.0, 0.0); pairs.len()],
        };
        for ((found, recorded), (gradient, _)) in pairs.into_iter().zip(gradients) {
            compared += 1;
            if gradient < 1e-7 && gradient > 0.0 {
                left_out += 1;
                continue;
            }
            let error = (found - recorded).abs();
            worst = worst.max(error);
            assert!(error < 3e-5, "{name}: {found} instead of {recorded}");
        }
    }
    println!("{run}, {step} steps: {compared} elements compared, {left_out} left out, worst {worst:.1e}");
    assert!(compared > 10_000 && left_out * 50 < compared, "{left_out} of {compared} elements left out");
}

fn train_as_recorded(folder: &Path, goldens: &Goldens, run: &str) {
    let learner = learner(folder, goldens, false);
    let items = items(folder, goldens, &learner);
    let (schedule, total) = schedule(goldens, run);
    let mut optimizer = AdamW::new(AdamWConfig::default(), learner.parameters()).unwrap();
    let mut smallest: Vec<Option<Tensor>> = vec![None; learner.parameters().iter().len()];
    let recorded_steps: Vec<usize> = (0..goldens.value("steps").as_array().unwrap().len())
        .filter(|index| goldens.value("steps")[*index]["run"] == run)
        .collect();
    for (step, index) in recorded_steps.into_iter().enumerate() {
        let (terms, gradients) = learner.micro_batch(&MicroBatch { items: &items, seed: 1 }).unwrap();
        check_losses(goldens, index, &terms);
        let recorded = &goldens.value("steps")[index];
        let norm = global_norm(&gradients).unwrap();
        let recorded_norm = recorded["grad_norm"].as_f64().unwrap();
        assert!(
            (norm - recorded_norm).abs() < 2e-5 * recorded_norm,
            "norm {norm} instead of {recorded_norm}"
        );
        let rate = schedule.rate(step as u64, total);
        assert!((rate - recorded["lr"].as_f64().unwrap()).abs() < 1e-15);
        let coefficient = clip_coefficient(norm, 1.0);
        for (smallest, gradient) in smallest.iter_mut().zip(&gradients) {
            let Some(gradient) = gradient else { continue };
            let clipped = (gradient.abs().unwrap() * coefficient).unwrap();
            *smallest =
                Some(smallest.as_ref().map_or(clipped.clone(), |least| least.minimum(&clipped).unwrap()));
        }
        optimizer.step(learner.parameters(), &gradients, rate, coefficient).unwrap();
        if step != 1 {
            check_parameters(goldens, &learner, &smallest, run, step as u64 + 1);
        }
    }
}

#[test]
fn parameters_equal_the_recorded_ones_after_one_and_three_steps() {
    let Some(folder) = goldens_folder() else { return };
    let goldens = Goldens::open(&folder, "train");
    train_as_recorded(&folder, &goldens, "const_lr");
    train_as_recorded(&folder, &goldens, "deepspeed_lr");
}
