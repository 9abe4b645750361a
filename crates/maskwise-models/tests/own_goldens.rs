//! Recordings of our own, committed, so that a clone alone proves the maths: the tiny checkpoint as computed by
//! `tests/golden/tiny_read.py`, and single layers at the published sizes as computed by `transformers`
//! (`tests/golden/full_size_blocks.py`). Driven by the manifests.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

mod common;

use candle_core::{DType, Device, Tensor};
use common::goldens::Entry;
use common::recorded::{Case, compare_generation, compare_image, compare_masks, compare_sequence};
use common::system::Seen;
use common::{Goldens, INTERMEDIATE, System};
use maskwise_models::clip::{ClipVisionConfig, ClipVisionModel};
use maskwise_models::heads::similarity_points::{SimilarityPointsConfig, Thresholds};
use maskwise_models::llama::{LlamaConfig, LlamaModel};
use maskwise_models::sam::ImageEncoder;
use maskwise_models::systems::read::{ReadModel, SegmentedMask};
use maskwise_nn::weights::{InMemory, Weights, open_checkpoint};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;

/// The checkpoint that the recordings were made with.
const TINY_READ: &str = "tests/tiny-read/model";

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

// Values from PyTorch and transformers: tests/golden/record_tiny_read.py.
#[test]
fn every_recorded_tensor_of_the_tiny_read() {
    let folder = repository().join("tests/golden/tiny_read");
    let goldens = Goldens::open(&folder, "tiny_read");
    let mut system = System::open(&repository().join(TINY_READ), DType::F32);
    system.model.similarity_points = Some(recorded_points(&goldens));
    let mut text_only = system.model.clone();
    text_only.similarity_points = None;
    let mut compared_masks = 0;
    for case in Case::all(&goldens) {
        let seen = system.look(&folder.join(&case.image));
        compare_image(&goldens, &system, case.image_name(), &seen);
        assert_eq!((seen.sam.input_size, seen.sam.original_size), (case.sam_input_size, case.original_size));

        let prefix = format!("{}/tf/", case.name);
        let (ids, hidden) = compare_sequence(&goldens, &system, &prefix, &case.tf_prompt, &seen);
        assert_eq!(system.model.seg_positions(&ids).unwrap(), case.seg_positions("tf").unwrap(), "{prefix}");
        let masks = system.model.segment(&ids, &hidden, seen.segment_inputs()).unwrap();
        compare_each(&goldens, &system.model, &prefix, &masks, &seen);
        compared_masks += masks.len();
        let masks = text_only.segment(&ids, &hidden, seen.segment_inputs()).unwrap();
        compare_each(&goldens, &text_only, &format!("{}/sesame/", case.name), &masks, &seen);

        let prefix = format!("{}/ev/", case.name);
        let generation = compare_generation(&goldens, &system, &prefix, &case.ev_prompt, &seen);
        assert_eq!(system.text(generation.answer(), true).trim(), case.ev_text.trim(), "{prefix}");
        assert_eq!(
            system.model.seg_positions(&generation.ids).unwrap(),
            case.seg_positions("ev").unwrap(),
            "{prefix}"
        );
        let masks = system.model.segment(&generation.ids, &generation.hidden, seen.segment_inputs()).unwrap();
        compare_each(&goldens, &system.model, &prefix, &masks, &seen);
    }
    assert!(compared_masks > 0, "no mask is recorded");
    goldens.finish();
}

#[derive(Deserialize)]
struct RecordedPoints {
    num_points: usize,
    t_pos: f32,
    t_neg: f32,
    down_sample: usize,
}

fn recorded_points(goldens: &Goldens) -> SimilarityPointsConfig {
    let RecordedPoints { num_points, t_pos, t_neg, down_sample } =
        serde_json::from_value(goldens.value("sasp").clone()).unwrap();
    let thresholds = Thresholds::Fixed { t_pos, t_neg };
    SimilarityPointsConfig {
        num_points: Some(num_points),
        thresholds,
        down_sample,
        ..SimilarityPointsConfig::read_7b()
    }
}

/// The first mask of an answer stands under the prefix itself, the others under `seg<index>/`.
fn compare_each(goldens: &Goldens, model: &ReadModel, prefix: &str, masks: &[SegmentedMask], seen: &Seen) {
    for index in 0..masks.len() {
        let prefix = if index == 0 { prefix.to_owned() } else { format!("{prefix}seg{index}/") };
        compare_masks(goldens, model, &prefix, &masks[index..=index], seen);
        let name = format!("{prefix}decoder_tokens_in");
        if goldens.has(&name) {
            goldens.compare(&name, &decoder_input(&masks[index]), INTERMEDIATE);
        }
    }
}

/// What enters the two-way transformer: IoU token, mask tokens, prompt tokens.
fn decoder_input(mask: &SegmentedMask) -> Tensor {
    let checkpoint = open_checkpoint(&repository().join(TINY_READ)).unwrap();
    let read = |name: &str| {
        let name = format!("model.visual_model.mask_decoder.{name}.weight");
        checkpoint.read(&name, DType::F32, &Device::Cpu).unwrap()
    };
    Tensor::cat(&[read("iou_token"), read("mask_tokens"), mask.sparse.clone()], 0).unwrap()
}

/// A tensor that a formula fills: nothing large is committed.
#[derive(Deserialize)]
struct Formula {
    #[serde(default)]
    name: String,
    shape: Vec<usize>,
    number: u32,
    scale: f32,
    shift: f32,
}

impl Formula {
    fn value(&self, index: usize) -> f32 {
        let mut hash =
            (index as u32).wrapping_mul(0x9E37_79B1).wrapping_add(self.number.wrapping_mul(0x85EB_CA77));
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x7FEB_352D);
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x846C_A68B);
        hash ^= hash >> 16;
        ((hash >> 8) as f32 / (1 << 23) as f32 - 1.0) * self.scale + self.shift
    }

    fn tensor(&self) -> Tensor {
        let count: usize = self.shape.iter().product();
        let values: Vec<f32> = (0..count).map(|index| self.value(index)).collect();
        Tensor::from_vec(values, self.shape.as_slice(), &Device::Cpu).unwrap()
    }
}

/// A layer of a network at its published size.
struct Layer {
    input: Tensor,
    weights: HashMap<String, Tensor>,
    heads: usize,
    norm_eps: f64,
}

impl Layer {
    fn of(entry: &Entry) -> Self {
        let formula =
            |value: &serde_json::Value| -> Formula { serde_json::from_value(value.clone()).unwrap() };
        let weights = entry.more["weights"].as_array().unwrap();
        Self {
            input: formula(&entry.more["input"]).tensor(),
            weights: weights
                .iter()
                .map(formula)
                .map(|weight| (weight.name.clone(), weight.tensor()))
                .collect(),
            heads: entry.more["heads"].as_u64().unwrap() as usize,
            norm_eps: entry.more["norm_eps"].as_f64().unwrap(),
        }
    }

    fn dims(&self, name: &str) -> &[usize] {
        self.weights[name].dims()
    }

    /// The layer's tensors below `prefix`, and zeros for the rest of a network that the layer stands in.
    fn within(self, prefix: &str, rest: &[(&str, &[usize])]) -> Weights {
        let layer = self.weights.into_iter().map(|(name, tensor)| (format!("{prefix}.{name}"), tensor));
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let rest = rest.iter().map(|(name, shape)| ((*name).to_owned(), zeros(shape)));
        Weights::new(Box::new(InMemory::new(layer.chain(rest).collect())), DType::F32, &Device::Cpu)
    }
}

// Values from transformers: tests/golden/full_size_blocks.py.
#[test]
fn layers_at_the_published_sizes() {
    let goldens = Goldens::open(&repository().join("tests/golden/sam_vit_h_block"), "blocks");
    let names: Vec<&str> = goldens.names().collect();
    for name in names {
        let layer = Layer::of(goldens.entry(name));
        let found = if layer.weights.contains_key("attn.rel_pos_h") {
            sam_block(layer)
        } else if layer.weights.contains_key("layer_norm1.weight") {
            clip_layer(layer)
        } else {
            llama_layer(layer)
        };
        goldens.compare(name, &found, INTERMEDIATE);
    }
    goldens.finish();
}

fn sam_block(layer: Layer) -> Tensor {
    let input = layer.input.clone();
    let (_, grid, _, dim) = input.dims4().unwrap();
    assert_eq!(layer.dims("attn.rel_pos_h")[1] * layer.heads, dim);
    let rest: [(&str, &[usize]); 9] = [
        ("pos_embed", &[1, grid, grid, dim]),
        ("patch_embed.proj.weight", &[dim, 3, 1, 1]),
        ("patch_embed.proj.bias", &[dim]),
        ("neck.0.weight", &[1, dim, 1, 1]),
        ("neck.1.weight", &[1]),
        ("neck.1.bias", &[1]),
        ("neck.2.weight", &[1, 1, 3, 3]),
        ("neck.3.weight", &[1]),
        ("neck.3.bias", &[1]),
    ];
    let weights = layer.within("blocks.0", &rest);
    let encoder = ImageEncoder::load(&weights).unwrap();
    weights.finish().unwrap();
    encoder.forward_blocks(&input, &mut |_, _| ()).unwrap()
}

fn clip_layer(layer: Layer) -> Tensor {
    let input = layer.input.clone();
    let (_, tokens, width) = input.dims3().unwrap();
    let config = ClipVisionConfig {
        hidden_size: width,
        intermediate_size: layer.dims("mlp.fc1.weight")[0],
        num_hidden_layers: 1,
        num_attention_heads: layer.heads,
        image_size: (tokens - 1).isqrt(),
        patch_size: 1,
        layer_norm_eps: layer.norm_eps,
        ..ClipVisionConfig::default()
    };
    let rest: [(&str, &[usize]); 5] = [
        ("vision_model.embeddings.class_embedding", &[width]),
        ("vision_model.embeddings.patch_embedding.weight", &[width, 3, 1, 1]),
        ("vision_model.embeddings.position_embedding.weight", &[tokens, width]),
        ("vision_model.pre_layrnorm.weight", &[width]),
        ("vision_model.pre_layrnorm.bias", &[width]),
    ];
    let weights = layer.within("vision_model.encoder.layers.0", &rest);
    let model = ClipVisionModel::load(&config, 1, &weights).unwrap();
    weights.finish().unwrap();
    model.forward_layers(&input, &mut |_, _| ()).unwrap()
}

fn llama_layer(layer: Layer) -> Tensor {
    let input = layer.input.clone();
    let (_, positions, width) = input.dims3().unwrap();
    let config = format!(
        r#"{{"vocab_size": 1, "hidden_size": {width}, "intermediate_size": {}, "num_hidden_layers": 1,
            "num_attention_heads": {}, "rms_norm_eps": {:e}, "max_position_embeddings": {positions}}}"#,
        layer.dims("mlp.gate_proj.weight")[0],
        layer.heads,
        layer.norm_eps
    );
    let config: LlamaConfig = serde_json::from_str(&config).unwrap();
    let rest: [(&str, &[usize]); 3] = [
        ("model.embed_tokens.weight", &[1, width]),
        ("model.norm.weight", &[width]),
        ("lm_head.weight", &[1, width]),
    ];
    let weights = layer.within("model.layers.0", &rest);
    let model = LlamaModel::load(&config, &weights).unwrap();
    weights.finish().unwrap();
    let mut found = None;
    model.forward_observed(&input, None, None, &mut |_, state| found = Some(state.clone())).unwrap();
    found.unwrap()
}
