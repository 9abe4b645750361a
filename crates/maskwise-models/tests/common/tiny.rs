//! A READ of a few thousand parameters: every tensor of a checkpoint under its published name, filled by a formula.

use candle_core::{DType, Device, Tensor};
use maskwise_data::image::PixelValues;
use maskwise_data::text::SpecialIds;
use maskwise_models::clip::ClipVisionConfig;
use maskwise_models::heads::similarity_points::{SimilarityPointsConfig, Thresholds};
use maskwise_models::systems::read::{LlavaConfig, PartWeights, ReadModel};
use maskwise_nn::weights::{InMemory, Weights};
use std::collections::{BTreeMap, HashMap};

const WIDTH: usize = 16;
const INNER: usize = 24;
const VOCABULARY: usize = 20;
const LAYERS: usize = 2;
const VISION: usize = 8;
const SAM: usize = 8;
const GRID: usize = 4;
const PATCH: usize = 16;
pub(crate) const SAM_SIZE: usize = GRID * PATCH;
pub(crate) const CLIP_SIZE: usize = 56;
pub(crate) const SPECIAL: SpecialIds =
    SpecialIds { seg: 17, im_start: 18, im_end: 19, bos: 1, eos: 2, pad: 0 };

/// A number in [-1, 1) that looks random and is the same on every run.
pub(crate) fn varied(index: usize, seed: u32) -> f32 {
    let mut bits = (index as u32).wrapping_mul(0x9e37_79b9) ^ seed.wrapping_mul(0x85eb_ca6b);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x2c1b_3c6d);
    bits = (bits ^ (bits >> 12)).wrapping_mul(0x297a_2d39);
    bits ^= bits >> 15;
    (bits >> 8) as f32 / (1 << 23) as f32 - 1.0
}

pub(crate) fn varied_pixels(size: usize, seed: u32) -> PixelValues {
    let data = (0..3 * size * size).map(|index| varied(index, seed)).collect();
    PixelValues { data, channels: 3, height: size, width: size }
}

/// The tensors of checkpoint and tower, the tower's under `vision_model.`.
pub(crate) fn tensors() -> BTreeMap<String, Tensor> {
    let mut shapes: Vec<(String, Vec<usize>)> = Vec::new();
    language(&mut shapes);
    vision(&mut shapes);
    sam_encoder(&mut shapes);
    sam_prompts(&mut shapes);
    sam_decoder(&mut shapes);
    let tensor = |(number, (name, shape)): (usize, (String, Vec<usize>))| {
        let count: usize = shape.iter().product();
        let fan_in: usize = shape[1..].iter().product();
        let (shift, scale) = match () {
            () if shape.len() == 1 && name.ends_with("weight") => (1.0, 0.25),
            () if shape.len() == 1 => (0.0, 0.2),
            () if name.contains("embed") || name.contains("token") => (0.0, 0.8),
            () => (0.0, 1.6 / (fan_in as f32).sqrt()),
        };
        let values: Vec<f32> =
            (0..count).map(|index| shift + scale * varied(index, number as u32 + 1)).collect();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    shapes.into_iter().enumerate().map(tensor).collect()
}

/// The model over `values`, through which gradients reach them.
pub(crate) fn build(values: &BTreeMap<String, Tensor>) -> ReadModel {
    let config = format!(
        r#"{{"vocab_size": {VOCABULARY}, "hidden_size": {WIDTH}, "intermediate_size": {INNER}, "num_hidden_layers": {LAYERS},
            "num_attention_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}}"#
    );
    let config = LlavaConfig::from_json(&config).unwrap();
    let vision_config = ClipVisionConfig {
        hidden_size: VISION,
        intermediate_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        image_size: CLIP_SIZE,
        patch_size: 14,
        ..ClipVisionConfig::default()
    };
    let part = |tower: bool| {
        let values: HashMap<String, Tensor> = values
            .iter()
            .filter(|(name, _)| name.starts_with("vision_model.") == tower)
            .map(|(name, tensor)| (name.clone(), tensor.clone()))
            .collect();
        Weights::new(Box::new(InMemory::new(values)), DType::F32, &Device::Cpu)
    };
    let language = part(false);
    let parts = PartWeights { sam: language.clone(), language, vision: part(true) };
    let points = SimilarityPointsConfig {
        num_points: Some(8),
        thresholds: Thresholds::Fixed { t_pos: 0.6, t_neg: 0.3 },
        down_sample: 1,
        ..SimilarityPointsConfig::read_7b()
    };
    let model = ReadModel::load(&config, &vision_config, Some(points), 2, SPECIAL, &parts).unwrap();
    parts.language.finish().unwrap();
    parts.vision.finish().unwrap();
    model
}

type Shapes = Vec<(String, Vec<usize>)>;

fn add(shapes: &mut Shapes, name: String, shape: &[usize]) {
    shapes.push((name, shape.to_vec()));
}

fn linear(shapes: &mut Shapes, name: String, input: usize, output: usize) {
    add(shapes, format!("{name}.weight"), &[output, input]);
    add(shapes, format!("{name}.bias"), &[output]);
}

fn norm(shapes: &mut Shapes, name: String, width: usize) {
    add(shapes, format!("{name}.weight"), &[width]);
    add(shapes, format!("{name}.bias"), &[width]);
}

fn language(shapes: &mut Shapes) {
    for layer in 0..LAYERS {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(shapes, name(&format!("self_attn.{part}")), &[WIDTH, WIDTH]);
        }
        add(shapes, name("mlp.gate_proj"), &[INNER, WIDTH]);
        add(shapes, name("mlp.up_proj"), &[INNER, WIDTH]);
        add(shapes, name("mlp.down_proj"), &[WIDTH, INNER]);
        add(shapes, name("input_layernorm"), &[WIDTH]);
        add(shapes, name("post_attention_layernorm"), &[WIDTH]);
    }
    add(shapes, "model.norm.weight".to_owned(), &[WIDTH]);
    add(shapes, "model.embed_tokens.weight".to_owned(), &[VOCABULARY, WIDTH]);
    add(shapes, "lm_head.weight".to_owned(), &[VOCABULARY, WIDTH]);
    linear(shapes, "model.mm_projector.0".to_owned(), VISION, WIDTH);
    linear(shapes, "model.mm_projector.2".to_owned(), WIDTH, WIDTH);
    linear(shapes, "model.text_hidden_fcs.0.0".to_owned(), WIDTH, WIDTH);
    linear(shapes, "model.text_hidden_fcs.0.2".to_owned(), WIDTH, SAM);
}

fn vision(shapes: &mut Shapes) {
    let tokens = (CLIP_SIZE / 14).pow(2) + 1;
    add(shapes, "vision_model.embeddings.class_embedding".to_owned(), &[VISION]);
    add(shapes, "vision_model.embeddings.patch_embedding.weight".to_owned(), &[VISION, 3, 14, 14]);
    add(shapes, "vision_model.embeddings.position_embedding.weight".to_owned(), &[tokens, VISION]);
    norm(shapes, "vision_model.pre_layrnorm".to_owned(), VISION);
    let layer = |part: &str| format!("vision_model.encoder.layers.0.{part}");
    for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
        linear(shapes, layer(&format!("self_attn.{part}")), VISION, VISION);
    }
    norm(shapes, layer("layer_norm1"), VISION);
    norm(shapes, layer("layer_norm2"), VISION);
    linear(shapes, layer("mlp.fc1"), VISION, 12);
    linear(shapes, layer("mlp.fc2"), 12, VISION);
}

fn sam(part: &str) -> String {
    format!("model.visual_model.{part}")
}

fn sam_encoder(shapes: &mut Shapes) {
    let encoder = |part: &str| sam(&format!("image_encoder.{part}"));
    add(shapes, encoder("pos_embed"), &[1, GRID, GRID, SAM]);
    add(shapes, encoder("patch_embed.proj.weight"), &[SAM, 3, PATCH, PATCH]);
    add(shapes, encoder("patch_embed.proj.bias"), &[SAM]);
    // A window of 3 and a global block.
    for (block, side) in [3, GRID].into_iter().enumerate() {
        let block = |part: &str| encoder(&format!("blocks.{block}.{part}"));
        norm(shapes, block("norm1"), SAM);
        norm(shapes, block("norm2"), SAM);
        linear(shapes, block("attn.qkv"), SAM, 3 * SAM);
        linear(shapes, block("attn.proj"), SAM, SAM);
        add(shapes, block("attn.rel_pos_h"), &[2 * side - 1, SAM / 2]);
        add(shapes, block("attn.rel_pos_w"), &[2 * side - 1, SAM / 2]);
        linear(shapes, block("mlp.lin1"), SAM, 12);
        linear(shapes, block("mlp.lin2"), 12, SAM);
    }
    add(shapes, encoder("neck.0.weight"), &[SAM, SAM, 1, 1]);
    norm(shapes, encoder("neck.1"), SAM);
    add(shapes, encoder("neck.2.weight"), &[SAM, SAM, 3, 3]);
    norm(shapes, encoder("neck.3"), SAM);
}

fn sam_prompts(shapes: &mut Shapes) {
    let prompts = |part: &str| sam(&format!("prompt_encoder.{part}"));
    add(shapes, prompts("pe_layer.positional_encoding_gaussian_matrix"), &[2, SAM / 2]);
    for kind in 0..4 {
        add(shapes, prompts(&format!("point_embeddings.{kind}.weight")), &[1, SAM]);
    }
    add(shapes, prompts("not_a_point_embed.weight"), &[1, SAM]);
    add(shapes, prompts("no_mask_embed.weight"), &[1, SAM]);
    for (index, shape) in [("0", [2, 1, 2, 2]), ("3", [4, 2, 2, 2]), ("6", [SAM, 4, 1, 1])] {
        add(shapes, prompts(&format!("mask_downscaling.{index}.weight")), &shape);
        add(shapes, prompts(&format!("mask_downscaling.{index}.bias")), &shape[..1]);
    }
    norm(shapes, prompts("mask_downscaling.1"), 2);
    norm(shapes, prompts("mask_downscaling.4"), 4);
}

fn sam_decoder(shapes: &mut Shapes) {
    let decoder = |part: &str| sam(&format!("mask_decoder.{part}"));
    let attention = |shapes: &mut Shapes, name: &str, inner: usize| {
        for part in ["q_proj", "k_proj", "v_proj"] {
            linear(shapes, decoder(&format!("transformer.{name}.{part}")), SAM, inner);
        }
        linear(shapes, decoder(&format!("transformer.{name}.out_proj")), inner, SAM);
    };
    add(shapes, decoder("iou_token.weight"), &[1, SAM]);
    add(shapes, decoder("mask_tokens.weight"), &[4, SAM]);
    for layer in 0..2 {
        attention(shapes, &format!("layers.{layer}.self_attn"), SAM);
        attention(shapes, &format!("layers.{layer}.cross_attn_token_to_image"), SAM / 2);
        attention(shapes, &format!("layers.{layer}.cross_attn_image_to_token"), SAM / 2);
        for index in 1..5 {
            norm(shapes, decoder(&format!("transformer.layers.{layer}.norm{index}")), SAM);
        }
        linear(shapes, decoder(&format!("transformer.layers.{layer}.mlp.lin1")), SAM, 12);
        linear(shapes, decoder(&format!("transformer.layers.{layer}.mlp.lin2")), 12, SAM);
    }
    attention(shapes, "final_attn_token_to_image", SAM / 2);
    norm(shapes, decoder("transformer.norm_final_attn"), SAM);
    add(shapes, decoder("output_upscaling.0.weight"), &[SAM, 4, 2, 2]);
    add(shapes, decoder("output_upscaling.0.bias"), &[4]);
    norm(shapes, decoder("output_upscaling.1"), 4);
    add(shapes, decoder("output_upscaling.3.weight"), &[4, 2, 2, 2]);
    add(shapes, decoder("output_upscaling.3.bias"), &[2]);
    let heads = (0..4).map(|mask| (format!("output_hypernetworks_mlps.{mask}"), 2));
    for (name, output) in heads.chain([("iou_prediction_head".to_owned(), 4)]) {
        for (index, output) in [SAM, SAM, output].into_iter().enumerate() {
            linear(shapes, decoder(&format!("{name}.layers.{index}")), SAM, output);
        }
    }
}
