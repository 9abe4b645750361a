//! Single networks in f32 against the tensors that the official code recorded on small random weights: SAM with its gradients,
//! CLIP, LLaMA, similarity as points with its gradient. Driven by the manifests of `units/`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::goldens::flat;
use common::losses::{binary_cross_entropy, dice};
use common::points::{UNIT_NAMES, assert_that_dtoc_matters, compare_selection};
use common::{Goldens, INTERMEDIATE, goldens_folder};
use maskwise_models::clip::{ClipVisionConfig, ClipVisionModel};
use maskwise_models::heads::similarity_points::{
    SimilarityPointsConfig, Thresholds, similarity, similarity_points,
};
use maskwise_models::llama::{LlamaConfig, LlamaModel};
use maskwise_models::sam::{PointPrompt, Prompts, Sam, postprocess_masks, relative_positions};
use maskwise_nn::ops::RotaryTables;
use maskwise_nn::weights::{InMemory, Merged, Renamed, Weights, open_file};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn units() -> Option<PathBuf> {
    goldens_folder().map(|folder| folder.join("units"))
}

fn weights_of(folder: &Path, unit: &str) -> Weights {
    let source = open_file(&folder.join(format!("{unit}_weights.safetensors"))).unwrap();
    Weights::new(source, DType::F32, &Device::Cpu)
}

fn labels_of(goldens: &Goldens) -> Vec<Vec<i32>> {
    let labels = goldens.tensor("prompt/labels").to_dtype(DType::I64).unwrap().to_vec2::<i64>().unwrap();
    labels.into_iter().map(|row| row.into_iter().map(|label| label as i32).collect()).collect()
}

/// The decoder's heads stand in a remark: "decoder heads 2, …".
fn decoder_heads(config: &Value) -> usize {
    let note = config["note"].as_str().unwrap();
    let number = note.split("decoder heads ").nth(1).unwrap();
    number.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn every_recorded_tensor_of_sam() {
    let Some(folder) = units() else { return };
    let goldens = Goldens::open(&folder, "sam");
    let config = goldens.value("config");
    let weights = weights_of(&folder, "sam");
    let sam = Sam::load(decoder_heads(config), DType::F32, &weights).unwrap();
    weights.finish().unwrap();
    assert_eq!(sam.image_encoder.grid(), config["grid"]);
    assert_eq!(sam.image_encoder.image_size(), config["img"]);

    let embedding = encoder(&goldens, &sam);
    relative_position_tables(&goldens);
    goldens.compare("pe/dense", &sam.prompt_encoder.dense_positions().unwrap(), INTERMEDIATE);
    let combinations: Vec<&str> = goldens.names().filter_map(|name| name.strip_suffix("/sparse")).collect();
    assert!(!combinations.is_empty());
    for combination in combinations {
        prompts_and_masks(&goldens, &sam, &embedding, combination);
    }
    postprocessing(&goldens, &sam);
    goldens.finish();
}

/// The image encoder block by block; returns its result.
fn encoder(goldens: &Goldens, sam: &Sam) -> Tensor {
    let mut blocks = 0;
    let embedding = sam.image_encoder.forward_observed(&goldens.tensor("enc/input"), &mut |index, state| {
        let name = if index == 0 { "enc/patch_embed".to_owned() } else { format!("enc/block{}", index - 1) };
        goldens.compare(&name, state, INTERMEDIATE);
        blocks += usize::from(index > 0);
    });
    assert_eq!(blocks, goldens.value("config")["depth"], "blocks");
    let embedding = embedding.unwrap();
    goldens.compare("enc/out", &embedding, INTERMEDIATE);
    embedding
}

/// `relpos/get_<queries>_<keys>`: as it is, or interpolated.
fn relative_position_tables(goldens: &Goldens) {
    let table = goldens.tensor("relpos/table");
    for name in goldens.names().filter(|name| name.starts_with("relpos/get_")) {
        let sizes: Vec<usize> =
            name["relpos/get_".len()..].split('_').map(|size| size.parse().unwrap()).collect();
        goldens.compare(name, &relative_positions(&table, sizes[0], sizes[1]).unwrap(), INTERMEDIATE);
    }
}

/// The name of a combination lists what was given, as in `boxes_points`.
fn prompts_and_masks(goldens: &Goldens, sam: &Sam, embedding: &Tensor, combination: &str) {
    let mut prompts = Prompts::default();
    for part in combination.split('_') {
        match part {
            "points" => {
                let coordinates = goldens.tensor("prompt/points");
                prompts.points = Some(PointPrompt { coordinates, labels: labels_of(goldens) });
            }
            "text" => prompts.text = Some(goldens.tensor("prompt/text")),
            "boxes" => prompts.boxes = Some(goldens.tensor("prompt/boxes")),
            "mask" | "masks" => prompts.masks = Some(goldens.tensor("prompt/masks")),
            "only" => (),
            other => panic!("{combination}: what is `{other}`?"),
        }
    }
    let name = |part: &str| format!("{combination}/{part}");
    let embeddings = sam.prompt_encoder.forward(&prompts).unwrap();
    goldens.compare(&name("sparse"), &embeddings.sparse, INTERMEDIATE);
    let batch = embeddings.sparse.dim(0).unwrap();
    let (_, dim, height, width) = embeddings.dense.dims4().unwrap();
    let dense = embeddings.dense.broadcast_as((batch, dim, height, width)).unwrap().contiguous().unwrap();
    goldens.compare(&name("dense"), &dense, INTERMEDIATE);
    for (suffix, multimask) in [("mm0", false), ("mm1", true)] {
        let prediction = sam.decode(embedding, &embeddings, multimask).unwrap();
        goldens.compare(&name(&format!("low_res_{suffix}")), &prediction.logits, INTERMEDIATE);
        goldens.compare(&name(&format!("iou_{suffix}")), &prediction.iou, INTERMEDIATE);
    }
}

fn postprocess_cases(goldens: &Goldens) -> Vec<[(usize, usize); 2]> {
    serde_json::from_value(goldens.value("post_cases").clone()).unwrap()
}

fn postprocessing(goldens: &Goldens, sam: &Sam) {
    let low_resolution = goldens.tensor("points_text/low_res_mm1").narrow(0, 0, 1).unwrap();
    for (index, [input_size, original_size]) in postprocess_cases(goldens).into_iter().enumerate() {
        let logits =
            postprocess_masks(&low_resolution, sam.image_encoder.image_size(), input_size, original_size);
        goldens.compare(&format!("post/{index}"), &logits.unwrap(), INTERMEDIATE);
    }
}

/// 2·BCE + 0.5·DICE at the size of the image, back to the points, the text and every tensor of the decoder.
#[test]
fn every_recorded_gradient_of_sam() {
    let Some(folder) = units() else { return };
    let (goldens, forward) = (Goldens::open(&folder, "sam_grad"), Goldens::open(&folder, "sam"));
    let tensors =
        candle_core::safetensors::load(folder.join("sam_weights.safetensors"), &Device::Cpu).unwrap();
    let variables: HashMap<String, Var> =
        tensors.iter().map(|(name, tensor)| (name.clone(), Var::from_tensor(tensor).unwrap())).collect();
    let values =
        variables.iter().map(|(name, variable)| (name.clone(), variable.as_tensor().clone())).collect();
    let weights = Weights::new(Box::new(InMemory::new(values)), DType::F32, &Device::Cpu);
    let sam = Sam::load(decoder_heads(forward.value("config")), DType::F32, &weights).unwrap();

    let points = Var::from_tensor(&forward.tensor("prompt/points")).unwrap();
    let text = Var::from_tensor(&forward.tensor("prompt/text")).unwrap();
    let target = goldens.tensor("gt");
    let size = (target.dim(1).unwrap(), target.dim(2).unwrap());
    let case = postprocess_cases(&forward).into_iter().find(|[_, original_size]| *original_size == size);
    let [input_size, original_size] = case.expect("a recorded postprocessing to the size of the targets");

    let embedding = sam.image_encoder.forward(&forward.tensor("enc/input")).unwrap().detach();
    let point_prompt = PointPrompt { coordinates: points.as_tensor().clone(), labels: labels_of(&forward) };
    let prompts =
        Prompts { points: Some(point_prompt), text: Some(text.as_tensor().clone()), ..Prompts::default() };
    let prompts = sam.prompt_encoder.forward(&prompts).unwrap();
    let prediction = sam.decode(&embedding, &prompts, false).unwrap();
    let image_size = sam.image_encoder.image_size();
    let logits = postprocess_masks(&prediction.logits, image_size, input_size, original_size).unwrap();
    let logits = logits.squeeze(1).unwrap();
    let bce = (binary_cross_entropy(&logits, &target).unwrap() * 2.0).unwrap();
    let loss = (bce + (dice(&logits, &target).unwrap() * 0.5).unwrap()).unwrap();
    goldens.compare("loss", &loss, INTERMEDIATE);

    let gradients = loss.backward().unwrap();
    // What is zero but for rounding (a bias of keys moves all scores of a softmax alike) has no digits to compare.
    let largest =
        goldens.names().filter(|name| name.starts_with("grad/")).map(|name| largest_of(&goldens, name));
    let noise = largest.fold(0.0, f32::max) * 1e-6;
    goldens.compare("grad/points", gradients.get(&points).unwrap(), INTERMEDIATE);
    goldens.compare("grad/text", gradients.get(&text).unwrap(), INTERMEDIATE);
    let mut missing = Vec::new();
    for name in goldens.names().filter(|name| name.starts_with("grad/mask_decoder.")) {
        let variable = &variables[&name["grad/".len()..]];
        match gradients.get(variable) {
            Some(gradient) if largest_of(&goldens, name) > noise => {
                goldens.compare(name, gradient, INTERMEDIATE)
            }
            Some(gradient) => {
                let ours =
                    flat(gradient).into_iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
                assert!(ours <= noise, "{name}: {ours} where the recorded gradient is zero but for rounding");
            }
            None => {
                assert!(goldens.floats(name).iter().all(|value| *value == 0.0), "{name} has no gradient");
                missing.push(&name["grad/".len()..]);
            }
        }
    }
    for name in missing {
        assert!(takes_no_part(name), "{name} has no gradient");
    }
    goldens.finish();
}

fn largest_of(goldens: &Goldens, name: &str) -> f32 {
    goldens.floats(name).into_iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// With one mask wanted, the IoU head and the networks of the other masks take no part.
fn takes_no_part(name: &str) -> bool {
    const OTHER_MASKS: [&str; 3] = ["1", "2", "3"];
    let hypernetwork = name.strip_prefix("mask_decoder.output_hypernetworks_mlps.");
    let other =
        hypernetwork.and_then(|rest| rest.split('.').next()).is_some_and(|mask| OTHER_MASKS.contains(&mask));
    other || name.starts_with("mask_decoder.iou_prediction_head.")
}

#[test]
fn every_recorded_tensor_of_clip() {
    let Some(folder) = units() else { return };
    let goldens = Goldens::open(&folder, "clip");
    let config = ClipVisionConfig::from_json(&goldens.value("config").to_string()).unwrap();
    let weights = weights_of(&folder, "clip");
    let model = ClipVisionModel::load(&config, config.num_hidden_layers, &weights).unwrap();
    weights.finish().unwrap();
    let pixels = goldens.tensor("input");
    model
        .forward_observed(&pixels, &mut |index, state| {
            goldens.compare(&format!("hidden{index}"), state, INTERMEDIATE);
        })
        .unwrap();
    // LLaVA takes the last but one.
    let weights = weights_of(&folder, "clip");
    let model = ClipVisionModel::load(&config, config.num_hidden_layers - 1, &weights).unwrap();
    weights.finish().unwrap();
    goldens.compare("feature_select", &model.patch_features(&pixels).unwrap(), INTERMEDIATE);
    goldens.finish();
}

#[test]
fn every_recorded_tensor_of_llama() {
    let Some(folder) = units() else { return };
    let goldens = Goldens::open(&folder, "llama");
    let config: LlamaConfig = serde_json::from_value(goldens.value("config").clone()).unwrap();
    config.check().unwrap();
    // The recorded decoder stands alone; it is put where a language model has it, with an output head that is not used.
    let decoder = Renamed::under(open_file(&folder.join("llama_weights.safetensors")).unwrap(), "model");
    let head = Tensor::zeros((config.vocab_size, config.hidden_size), DType::F32, &Device::Cpu).unwrap();
    let head = InMemory::new(HashMap::from([("lm_head.weight".to_owned(), head)]));
    let source = Merged::new(vec![Box::new(decoder), Box::new(head)]).unwrap();
    let weights = Weights::new(Box::new(source), DType::F32, &Device::Cpu);
    let model = LlamaModel::load(&config, &weights).unwrap();
    weights.finish().unwrap();

    let embeddings = goldens.tensor("input");
    goldens.compare("masked/hidden0", &embeddings, 0.0);
    let mask = goldens.tensor("attention_mask").to_dtype(DType::U8).unwrap();
    let last = config.num_hidden_layers - 1;
    let normalized = model.forward_observed(&embeddings, None, Some(&mask), &mut |layer, state| {
        // The state after the last layer is recorded after the final normalisation.
        if layer < last {
            goldens.compare(&format!("masked/hidden{}", layer + 1), state, INTERMEDIATE);
        }
    });
    goldens.compare(&format!("masked/hidden{}", last + 1), &normalized.unwrap(), INTERMEDIATE);
    goldens.compare("unmasked/last", &model.forward(&embeddings, None, None).unwrap(), INTERMEDIATE);
    let positions = goldens.entry("rope/cos").shape[0];
    let tables =
        RotaryTables::new(positions, config.head_dim(), config.rope_theta, DType::F32, &Device::Cpu).unwrap();
    goldens.compare("rope/cos", &tables.cos, INTERMEDIATE);
    goldens.compare("rope/sin", &tables.sin, INTERMEDIATE);
    goldens.finish();
}

#[derive(Deserialize)]
struct PointsCase {
    index: usize,
    shape: (usize, usize),
    settings: PointsSettings,
    dtype: String,
}

#[derive(Deserialize)]
struct PointsSettings {
    num_points: usize,
    t_pos: f32,
    t_neg: f32,
    down_sample: usize,
}

#[test]
fn every_recorded_tensor_of_similarity_points() {
    let Some(folder) = units() else { return };
    let goldens = Goldens::open(&folder, "points");
    let cases: Vec<PointsCase> = serde_json::from_value(goldens.value("cases").clone()).unwrap();
    for case in &cases {
        points_case(&goldens, case);
    }
    assert!(cases.iter().any(|case| case.dtype == "bfloat16"), "no recorded map is bf16");
    assert_that_dtoc_matters(&goldens);
    goldens.finish();
}

fn points_case(goldens: &Goldens, case: &PointsCase) {
    let prefix = format!("{}/", case.index);
    let PointsSettings { num_points, t_pos, t_neg, down_sample } = case.settings;
    let config = SimilarityPointsConfig {
        num_points: Some(num_points),
        thresholds: Thresholds::Fixed { t_pos, t_neg },
        down_sample,
        ..SimilarityPointsConfig::read_7b()
    };
    let half = case.dtype == "bfloat16";
    let recorded = goldens.tensor(&format!("{prefix}sim"));
    let variable =
        Var::from_tensor(&recorded.to_dtype(if half { DType::BF16 } else { DType::F32 }).unwrap()).unwrap();
    let found = similarity_points(variable.as_tensor(), case.shape, &config).unwrap();
    let matched = compare_selection(
        goldens,
        &prefix,
        &UNIT_NAMES,
        variable.as_tensor(),
        case.shape,
        config.map_size,
        &found,
    );

    // Σ w ⊙ points, the weights brought to the order of our points.
    let mut weights = vec![[0.0_f32; 2]; matched.len()];
    let recorded = goldens.floats(&format!("{prefix}w"));
    for (recorded, ours) in recorded.chunks_exact(2).zip(&matched) {
        weights[*ours] = [recorded[0], recorded[1]];
    }
    let weights = Tensor::from_vec(weights.concat(), (matched.len(), 2), &Device::Cpu).unwrap();
    let objective = (found.coordinates * weights).unwrap().sum_all().unwrap();
    let gradient = objective.backward().unwrap().get(&variable).unwrap().to_dtype(DType::F32).unwrap();
    let longest = case.shape.0.max(case.shape.1) as f64;
    let limit = if half { BF16_GRADIENT } else { INTERMEDIATE.max(GRADIENT_PER_PIXEL * longest) };
    goldens.compare(&format!("{prefix}grad"), &gradient, limit);
}

/// The reference sums whole coordinates in f32 where we sum offsets: its recorded gradient differs from the same gradient in f64
/// by up to 1.4e-6 for each pixel of the longest side (7e-4 at 500 pixels, where ours differs by 6e-6).
const GRADIENT_PER_PIXEL: f64 = 3e-6;
/// A bf16 gradient keeps eight bits, and is rounded at each step.
const BF16_GRADIENT: f64 = 0.02;

#[test]
fn every_recorded_tensor_of_similarity() {
    let Some(folder) = units() else { return };
    let goldens = Goldens::open(&folder, "similarity");
    let image = goldens.tensor("image").squeeze(0).unwrap();
    let text = goldens.tensor("text").squeeze(0).unwrap();
    goldens.compare("sim", &similarity(&image, &text).unwrap(), INTERMEDIATE);
    several_texts(&goldens, &image);
    goldens.finish();
}

/// With several texts the original weighs the channels by a softmax over the texts. No system here has more than one text, for
/// which the weight is 1; written out to show that this is what the single product above is a case of.
fn several_texts(goldens: &Goldens, image: &Tensor) {
    let texts = goldens.tensor("text3");
    let count = texts.dim(0).unwrap();
    let first: Vec<f32> = (0..count)
        .map(|text| {
            2.0 * flat(&similarity(&image.narrow(0, 0, 1).unwrap(), &texts.get(text).unwrap()).unwrap())[0]
        })
        .collect();
    let highest = first.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f32> = first.iter().map(|value| (value - highest).exp()).collect();
    let total: f32 = powers.iter().sum();
    let columns: Vec<Tensor> = (0..count)
        .map(|text| {
            let weight = f64::from(powers[text] / total) * count as f64;
            (similarity(image, &texts.get(text).unwrap()).unwrap() * weight).unwrap()
        })
        .collect();
    goldens.compare("sim3", &Tensor::stack(&columns, 1).unwrap(), INTERMEDIATE);
}
