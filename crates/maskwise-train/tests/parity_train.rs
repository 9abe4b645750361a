//! The training of READ beside the recorded one of the official implementation: what the forward pass makes, losses, every gradient,
//! parameters after 1 and 3 steps, merged adapters.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

#[path = "../../maskwise-models/tests/common/goldens.rs"]
#[allow(dead_code)] // Shared with the parity tests of the models.
mod goldens;

use candle_core::{DType, Device, Tensor};
use goldens::{Goldens, flat, goldens_folder};
use maskwise_data::dataset::{TrainingConversation, TrainingItem};
use maskwise_data::image::decode_path;
use maskwise_data::mask::Mask;
use maskwise_data::text::IMAGE_PLACEHOLDER;
use maskwise_data::text::prompt::IGNORED_LABEL;
use maskwise_models::heads::similarity_points::{similarity, similarity_points};
use maskwise_models::sam::{PointPrompt, Prompts, postprocess_masks};
use maskwise_models::systems::read::{
    ModelFiles, ModelPlaces, PartTypes, ReadModel, SegmentInputs, SegmentedMask,
};
use maskwise_nn::ops;
use maskwise_nn::weights::open_checkpoint;
use maskwise_train::read::{
    FeatureSettings, LoraConfig, LossWeights, Part, PreparedItem, ReadLearner, ReadSettings,
    TrainedWeightsConfig,
};
use maskwise_train::{
    Decay, Gradients, Learner, LossTerms, MicroBatch, Optimizer, OptimizerConfig, Schedule, clip_coefficient,
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

/// The states that the rows of an item have, each row by itself.
fn row_states(model: &ReadModel, item: &PreparedItem) -> Vec<Tensor> {
    let image_tokens = model.encode_for_language(&item.clip_pixels).unwrap();
    item.rows.iter().map(|row| model.hidden_states(&row.ids, &image_tokens).unwrap()).collect()
}

/// Calls `mask` with the image-token states and the predicting state of every `[SEG]`, item by item.
fn for_each_seg<T>(
    model: &ReadModel,
    items: &[PreparedItem],
    mut mask: impl FnMut(&Tensor, &Tensor, SegmentInputs) -> T,
) -> Vec<Vec<T>> {
    let of_item = |item: &PreparedItem| {
        let embedding = model.encode_for_masks(&item.sam.pixels).unwrap();
        let (input_size, original_size) = (item.sam.input_size, item.sam.original_size);
        let inputs = SegmentInputs { embedding: &embedding, input_size, original_size };
        let mut masks = Vec::new();
        for (row, states) in item.rows.iter().zip(row_states(model, item)) {
            let image = row.ids.iter().position(|id| *id == IMAGE_PLACEHOLDER).unwrap();
            let image_states = states.narrow(0, image, model.image_tokens()).unwrap();
            for position in model.seg_positions(&row.ids).unwrap() {
                masks.push(mask(&image_states, &states.get(position).unwrap(), inputs));
            }
        }
        masks
    };
    items.iter().map(of_item).collect()
}

fn segmented(model: &ReadModel, items: &[PreparedItem]) -> Vec<Vec<SegmentedMask>> {
    for_each_seg(model, items, |image_states, state, inputs| {
        model.segment_states(image_states, std::slice::from_ref(state), inputs).unwrap().remove(0)
    })
}

/// Everything recorded of the forward pass.
fn check_forward(goldens: &Goldens, model: &ReadModel, items: &[PreparedItem]) {
    let masks = segmented(model, items);
    for (index, masks) in masks.iter().enumerate().filter(|(_, masks)| !masks.is_empty()) {
        let logits: Vec<&Tensor> = masks.iter().map(|mask| &mask.logits).collect();
        let name = format!("fwd/pred_masks_{index}");
        goldens.compare(&name, &Tensor::stack(&logits, 0).unwrap(), 1e-4);
    }
    for (index, mask) in masks.iter().flatten().enumerate() {
        let name = |part: &str| format!("fwd/{part}_{index}");
        goldens.compare(&name("sim_raw"), &mask.similarity, 1e-5);
        let points = mask.points.as_ref().unwrap();
        let pixels: Vec<i64> =
            points.cells.iter().flat_map(|cell| [cell.pixel.0 as i64, cell.pixel.1 as i64]).collect();
        goldens.compare_integers(&name("points_discrete"), &pixels);
        let labels: Vec<i64> = points.labels().into_iter().map(i64::from).collect();
        goldens.compare_integers(&name("point_labels"), &labels);
        for (found, recorded) in goldens.pairs(&name("points_continuous"), &points.coordinates) {
            goldens.note("points_continuous in pixels", (found - recorded).abs());
            // A point without DtoC is up to 0.02 px away.
            assert!((found - recorded).abs() < 2e-3, "{found} instead of {recorded}");
        }
    }
}

/// The cells that the points of each mask were selected from at a step of a run.
fn check_cells(goldens: &Goldens, model: &ReadModel, items: &[PreparedItem], run: &str, step: usize) {
    for (index, mask) in segmented(model, items).iter().flatten().enumerate() {
        let mut found: Vec<i64> =
            mask.points.as_ref().unwrap().cells.iter().map(|cell| cell.index as i64).collect();
        let mut recorded = goldens.integers(&format!("{run}/step{step}/cell_index_{index}"));
        // Equal values may come in either order.
        found.sort_unstable();
        recorded.sort_unstable();
        assert_eq!(found, recorded, "{run}, step {step}, mask {index}");
    }
}

/// The gradients of the whole loss put together from public parts, row by row, with or without the gradient through the points.
fn gradients_by_parts(learner: &ReadLearner, items: &[PreparedItem], detach_points: bool) -> Gradients {
    let model = learner.model().unwrap();
    let (mut states, mut targets) = (Vec::new(), Vec::new());
    for item in items {
        for (row, hidden) in item.rows.iter().zip(row_states(&model, item)) {
            let image = row.ids.iter().position(|id| *id == IMAGE_PLACEHOLDER).unwrap();
            for (index, label) in row.labels.iter().enumerate().filter(|(_, label)| **label != IGNORED_LABEL)
            {
                assert!(index > image);
                states.push(hidden.get(index + model.image_tokens() - 2).unwrap());
                targets.push(Some(*label as u32));
            }
        }
    }
    let logits = model.language_model.logits(&Tensor::stack(&states, 0).unwrap()).unwrap();
    let ce = ops::cross_entropy(&logits, &targets).unwrap();
    let logits = for_each_seg(&model, items, |image_states, state, inputs| {
        mask_by_parts(&model, image_states, state, inputs, detach_points)
    });
    let terms: Vec<Tensor> = items
        .iter()
        .zip(&logits)
        .filter(|(_, logits)| !logits.is_empty())
        .map(|(item, logits)| {
            let (height, width) = item.sam.original_size;
            let masks: Vec<u8> =
                item.rows.iter().flat_map(|row| &row.masks).flat_map(|mask| mask.data.clone()).collect();
            let masks = Tensor::from_vec(masks, (logits.len(), height, width), &Device::Cpu).unwrap();
            ops::mask_losses(&Tensor::stack(logits, 0).unwrap(), &masks).unwrap()
        })
        .collect();
    let terms = Tensor::cat(&terms, 0).unwrap().mean(0).unwrap();
    let weights = Tensor::new(&[2.0_f32, 0.5], &Device::Cpu).unwrap();
    let loss = (ce + (terms * weights).unwrap().sum_all().unwrap()).unwrap();
    let gradients = loss.backward().unwrap();
    learner.parameters().iter().map(|(_, variable)| gradients.get(variable).cloned()).collect()
}

/// Mask logits `[height, width]` of one state.
fn mask_by_parts(
    model: &ReadModel,
    image_states: &Tensor,
    state: &Tensor,
    inputs: SegmentInputs,
    detach_points: bool,
) -> Tensor {
    let map = similarity(image_states, state).unwrap();
    let config = model.similarity_points.as_ref().unwrap();
    let points = similarity_points(&map, inputs.original_size, config).unwrap();
    let coordinates = if detach_points { points.coordinates.detach() } else { points.coordinates.clone() };
    let along = |input: usize, original: usize| (input as f64 / original as f64) as f32;
    let ((height, width), (rows, columns)) = (inputs.input_size, inputs.original_size);
    let scale = Tensor::new(&[[along(width, columns), along(height, rows)]], &Device::Cpu).unwrap();
    let coordinates = coordinates.broadcast_mul(&scale).unwrap().unsqueeze(0).unwrap();
    let text = model.text_hidden_fcs.forward(&state.unsqueeze(0).unwrap()).unwrap().unsqueeze(1).unwrap();
    let prompt = PointPrompt { coordinates, labels: vec![points.labels()] };
    let prompts = Prompts { points: Some(prompt), text: Some(text), ..Prompts::default() };
    let prompts = model.sam.prompt_encoder.forward(&prompts).unwrap();
    let logits = model.sam.decode(inputs.embedding, &prompts, false).unwrap().logits;
    let size = model.sam.image_encoder.image_size();
    let masks = postprocess_masks(&logits, size, inputs.input_size, inputs.original_size).unwrap();
    masks.get(0).unwrap().get(0).unwrap()
}

/// Without the gradient through the points, the adapters' gradients are off by the recorded shares, far beyond the bar that they are held
/// to; everything after the prompts is not.
#[test]
fn detached_points_fail_the_bar_of_the_gradients() {
    let Some(folder) = goldens_folder() else { return };
    let goldens = Goldens::open(&folder, "train");
    let learner = learner(&folder, &goldens, false);
    let items = items(&folder, &goldens, &learner);
    for (name, error) in gradient_errors(&goldens, &learner, &gradients_by_parts(&learner, &items, false)) {
        assert!(error < GRADIENT, "{name}: the parts do not add up to the loss ({error:.1e})");
    }
    let shares = goldens.value("points_gradient_share");
    let mut adapters = 0;
    for (name, error) in gradient_errors(&goldens, &learner, &gradients_by_parts(&learner, &items, true)) {
        let Some(share) = shares[format!("{PEFT}{name}")].as_f64() else { continue };
        println!("{error:.2e} instead of {share:.2e} {name}");
        assert!(
            (error - share).abs() < GRADIENT,
            "{name}: the points' share is {error:.2e}, recorded {share:.2e}"
        );
        if name.contains(".lora_") {
            adapters += 1;
            assert!(error > 3.0 * GRADIENT, "{name}: the bar of {GRADIENT:.0e} lets a missing gradient pass");
        }
    }
    assert_eq!(adapters, 8);
}

/// The largest relative difference of a gradient.
const GRADIENT: f64 = 2e-5;

#[test]
fn training_equals_the_recorded_one() {
    let Some(folder) = goldens_folder() else { return };
    let goldens = Goldens::open(&folder, "train");
    for activation_checkpointing in [false, true] {
        check_first_step(&folder, &goldens, activation_checkpointing);
    }
    let learner = train_as_recorded(&folder, &goldens, "const_lr");
    check_merged(&folder, &goldens, &learner);
    train_as_recorded(&folder, &goldens, "deepspeed_lr");
    goldens.finish();
}

/// `W + BA·alpha/r` after three steps, where it was recorded.
fn check_merged(folder: &Path, goldens: &Goldens, learner: &ReadLearner) {
    let lora = learner.weights().lora().unwrap();
    let parameters = learner.parameters().iter();
    let trained: BTreeMap<String, Tensor> =
        parameters.map(|(name, variable)| (name.to_owned(), variable.as_detached_tensor())).collect();
    let checkpoint = open_checkpoint(&folder.join("checkpoint")).unwrap();
    let merged: Vec<&str> = goldens.names().filter(|name| name.starts_with("const_lr/merged/")).collect();
    for name in &merged {
        let own = own_name(name);
        let weight = checkpoint.read(own, DType::F32, &Device::Cpu).unwrap();
        for (found, recorded) in goldens.pairs(name, &lora.merged(own, &weight, &trained).unwrap()) {
            goldens.note("merged", (found - recorded).abs());
            assert!((found - recorded).abs() < 3e-5, "{name}: {found} instead of {recorded}");
        }
    }
    assert_eq!(merged.len(), 1);
}

fn check_first_step(folder: &Path, goldens: &Goldens, activation_checkpointing: bool) {
    let learner = learner(folder, goldens, activation_checkpointing);
    let items = items(folder, goldens, &learner);
    check_tokens(goldens, &items);
    check_forward(goldens, &learner.model().unwrap(), &items);
    let (terms, gradients) = learner.micro_batch(&MicroBatch { items: &items, seed: 1 }).unwrap();
    check_losses(goldens, 0, &terms);
    let squares = gradients.iter().flatten().flat_map(flat).map(|value| f64::from(value).powi(2));
    let norm = squares.sum::<f64>().sqrt();
    let recorded = goldens.value("steps")[0]["grad_norm"].as_f64().unwrap();
    assert!((norm - recorded).abs() < 2e-5 * recorded, "gradient norm {norm} instead of {recorded}");
    for (name, error) in gradient_errors(goldens, &learner, &gradients) {
        println!("{error:.1e} {name}");
        assert!(error < GRADIENT, "{name}: gradient off by {error:.1e}");
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

fn train_as_recorded(folder: &Path, goldens: &Goldens, run: &str) -> ReadLearner {
    let learner = learner(folder, goldens, false);
    let items = items(folder, goldens, &learner);
    let (schedule, total) = schedule(goldens, run);
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), learner.parameters()).unwrap();
    let mut smallest: Vec<Option<Tensor>> = vec![None; learner.parameters().iter().len()];
    let recorded_steps: Vec<usize> = (0..goldens.value("steps").as_array().unwrap().len())
        .filter(|index| goldens.value("steps")[*index]["run"] == run)
        .collect();
    for (step, index) in recorded_steps.into_iter().enumerate() {
        check_cells(goldens, &learner.model().unwrap(), &items, run, step + 1);
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
    learner
}
