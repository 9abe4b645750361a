//! Writes a READ checkpoint of random weights at the published sizes, in the published layout: for trying whether a machine
//! can hold a model, and for timing it. Its answers mean nothing.
//!
//! ```sh
//! cargo run --release -p maskwise-models --example random_checkpoint -- 7b tests/tiny-read/model /tmp/read-7b-random
//! ```
//!
//! The second argument is a model folder whose tokenizer is copied.

use candle_core::{DType, Device, Tensor};
use maskwise_nn::weights::{DEFAULT_SHARD_BYTES, TensorPlan, WeightsError, write_sharded};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Widths and depths of the language model.
struct Language {
    width: usize,
    inner: usize,
    layers: usize,
    heads: usize,
}

const VOCABULARY: usize = 32_003;
const CLIP_WIDTH: usize = 1024;
const CLIP_LAYERS: usize = 24;

/// Names and shapes as they are collected.
struct Plan(Vec<(String, Vec<usize>)>);

impl Plan {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.0.push((name.to_owned(), shape.to_vec()));
    }

    fn linear(&mut self, name: &str, input: usize, output: usize) {
        self.add(&format!("{name}.weight"), &[output, input]);
        self.add(&format!("{name}.bias"), &[output]);
    }

    fn norm(&mut self, name: &str, dim: usize) {
        self.add(&format!("{name}.weight"), &[dim]);
        self.add(&format!("{name}.bias"), &[dim]);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [size, tokenizer, target] = arguments.as_slice() else {
        return Err("usage: random_checkpoint 7b|13b TOKENIZER_FOLDER NEW_FOLDER".into());
    };
    let language = match size.as_str() {
        "7b" => Language { width: 4096, inner: 11_008, layers: 32, heads: 32 },
        "13b" => Language { width: 5120, inner: 13_824, layers: 40, heads: 40 },
        _ => return Err("the size is 7b or 13b".into()),
    };
    let target = Path::new(target);
    std::fs::create_dir_all(target.join("clip"))?;
    for name in ["tokenizer.model", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"] {
        std::fs::copy(Path::new(tokenizer).join(name), target.join(name))?;
    }
    write_configs(&language, target)?;
    write(&read_plan(&language), target)?;
    write(&clip_plan(), &target.join("clip"))
}

fn write_configs(language: &Language, target: &Path) -> std::io::Result<()> {
    let config = json!({
        "architectures": ["READForCausalLM"], "model_type": "llava", "vocab_size": VOCABULARY,
        "hidden_size": language.width, "intermediate_size": language.inner, "num_hidden_layers": language.layers,
        "num_attention_heads": language.heads, "num_key_value_heads": language.heads, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 4096, "hidden_act": "silu", "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch", "mm_use_im_start_end": true,
        "vision_tower": "clip", "train_mask_decoder": true, "out_dim": 256,
    });
    let clip = json!({
        "hidden_size": CLIP_WIDTH, "intermediate_size": 4 * CLIP_WIDTH, "num_hidden_layers": CLIP_LAYERS,
        "num_attention_heads": 16, "image_size": 336, "patch_size": 14, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    });
    std::fs::write(target.join("config.json"), config.to_string())?;
    std::fs::write(target.join("clip/config.json"), clip.to_string())
}

fn read_plan(language: &Language) -> Plan {
    let mut plan = Plan(Vec::new());
    let (width, inner) = (language.width, language.inner);
    plan.add("model.embed_tokens.weight", &[VOCABULARY, width]);
    for layer in 0..language.layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            plan.add(&name(&format!("self_attn.{part}")), &[width, width]);
        }
        plan.add(&name("mlp.gate_proj"), &[inner, width]);
        plan.add(&name("mlp.up_proj"), &[inner, width]);
        plan.add(&name("mlp.down_proj"), &[width, inner]);
        plan.add(&name("input_layernorm"), &[width]);
        plan.add(&name("post_attention_layernorm"), &[width]);
    }
    plan.add("model.norm.weight", &[width]);
    plan.add("lm_head.weight", &[VOCABULARY, width]);
    plan.linear("model.mm_projector.0", CLIP_WIDTH, width);
    plan.linear("model.mm_projector.2", width, width);
    plan.linear("model.text_hidden_fcs.0.0", width, width);
    plan.linear("model.text_hidden_fcs.0.2", width, 256);
    sam_vit_h(&mut plan, "model.visual_model");
    plan
}

fn sam_vit_h(plan: &mut Plan, root: &str) {
    const WIDTH: usize = 1280;
    let encoder = format!("{root}.image_encoder");
    plan.add(&format!("{encoder}.pos_embed"), &[1, 64, 64, WIDTH]);
    plan.add(&format!("{encoder}.patch_embed.proj.weight"), &[WIDTH, 3, 16, 16]);
    plan.add(&format!("{encoder}.patch_embed.proj.bias"), &[WIDTH]);
    for block in 0..32 {
        let name = format!("{encoder}.blocks.{block}");
        plan.norm(&format!("{name}.norm1"), WIDTH);
        plan.norm(&format!("{name}.norm2"), WIDTH);
        plan.linear(&format!("{name}.attn.qkv"), WIDTH, 3 * WIDTH);
        plan.linear(&format!("{name}.attn.proj"), WIDTH, WIDTH);
        let offsets = if block % 8 == 7 { 127 } else { 27 };
        plan.add(&format!("{name}.attn.rel_pos_h"), &[offsets, 80]);
        plan.add(&format!("{name}.attn.rel_pos_w"), &[offsets, 80]);
        plan.linear(&format!("{name}.mlp.lin1"), WIDTH, 4 * WIDTH);
        plan.linear(&format!("{name}.mlp.lin2"), 4 * WIDTH, WIDTH);
    }
    plan.add(&format!("{encoder}.neck.0.weight"), &[256, WIDTH, 1, 1]);
    plan.norm(&format!("{encoder}.neck.1"), 256);
    plan.add(&format!("{encoder}.neck.2.weight"), &[256, 256, 3, 3]);
    plan.norm(&format!("{encoder}.neck.3"), 256);

    let prompt = format!("{root}.prompt_encoder");
    plan.add(&format!("{prompt}.pe_layer.positional_encoding_gaussian_matrix"), &[2, 128]);
    for part in ["point_embeddings.0", "point_embeddings.1", "point_embeddings.2", "point_embeddings.3"] {
        plan.add(&format!("{prompt}.{part}.weight"), &[1, 256]);
    }
    plan.add(&format!("{prompt}.not_a_point_embed.weight"), &[1, 256]);
    plan.add(&format!("{prompt}.no_mask_embed.weight"), &[1, 256]);
    for (part, shape) in [("0", [4, 1, 2, 2]), ("3", [16, 4, 2, 2]), ("6", [256, 16, 1, 1])] {
        plan.add(&format!("{prompt}.mask_downscaling.{part}.weight"), &shape);
        plan.add(&format!("{prompt}.mask_downscaling.{part}.bias"), &shape[..1]);
    }
    plan.norm(&format!("{prompt}.mask_downscaling.1"), 4);
    plan.norm(&format!("{prompt}.mask_downscaling.4"), 16);
    sam_mask_decoder(plan, &format!("{root}.mask_decoder"));
}

fn sam_mask_decoder(plan: &mut Plan, decoder: &str) {
    plan.add(&format!("{decoder}.iou_token.weight"), &[1, 256]);
    plan.add(&format!("{decoder}.mask_tokens.weight"), &[4, 256]);
    let attention = |plan: &mut Plan, name: &str, inner: usize| {
        for part in ["q_proj", "k_proj", "v_proj"] {
            plan.linear(&format!("{name}.{part}"), 256, inner);
        }
        plan.linear(&format!("{name}.out_proj"), inner, 256);
    };
    let transformer = format!("{decoder}.transformer");
    for layer in 0..2 {
        let name = format!("{transformer}.layers.{layer}");
        attention(plan, &format!("{name}.self_attn"), 256);
        attention(plan, &format!("{name}.cross_attn_token_to_image"), 128);
        attention(plan, &format!("{name}.cross_attn_image_to_token"), 128);
        for norm in 1..=4 {
            plan.norm(&format!("{name}.norm{norm}"), 256);
        }
        plan.linear(&format!("{name}.mlp.lin1"), 256, 2048);
        plan.linear(&format!("{name}.mlp.lin2"), 2048, 256);
    }
    attention(plan, &format!("{transformer}.final_attn_token_to_image"), 128);
    plan.norm(&format!("{transformer}.norm_final_attn"), 256);
    for (part, shape) in [("0", [256, 64, 2, 2]), ("3", [64, 32, 2, 2])] {
        plan.add(&format!("{decoder}.output_upscaling.{part}.weight"), &shape);
        plan.add(&format!("{decoder}.output_upscaling.{part}.bias"), &shape[1..2]);
    }
    plan.norm(&format!("{decoder}.output_upscaling.1"), 64);
    let mlp = |plan: &mut Plan, name: &str, output: usize| {
        plan.linear(&format!("{name}.layers.0"), 256, 256);
        plan.linear(&format!("{name}.layers.1"), 256, 256);
        plan.linear(&format!("{name}.layers.2"), 256, output);
    };
    for mask in 0..4 {
        mlp(plan, &format!("{decoder}.output_hypernetworks_mlps.{mask}"), 32);
    }
    mlp(plan, &format!("{decoder}.iou_prediction_head"), 4);
}

fn clip_plan() -> Plan {
    let mut plan = Plan(Vec::new());
    plan.add("vision_model.embeddings.class_embedding", &[CLIP_WIDTH]);
    plan.add("vision_model.embeddings.patch_embedding.weight", &[CLIP_WIDTH, 3, 14, 14]);
    plan.add("vision_model.embeddings.position_embedding.weight", &[577, CLIP_WIDTH]);
    plan.norm("vision_model.pre_layrnorm", CLIP_WIDTH);
    plan.norm("vision_model.post_layernorm", CLIP_WIDTH);
    for layer in 0..CLIP_LAYERS {
        let name = format!("vision_model.encoder.layers.{layer}");
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            plan.linear(&format!("{name}.self_attn.{part}"), CLIP_WIDTH, CLIP_WIDTH);
        }
        plan.norm(&format!("{name}.layer_norm1"), CLIP_WIDTH);
        plan.norm(&format!("{name}.layer_norm2"), CLIP_WIDTH);
        plan.linear(&format!("{name}.mlp.fc1"), CLIP_WIDTH, 4 * CLIP_WIDTH);
        plan.linear(&format!("{name}.mlp.fc2"), 4 * CLIP_WIDTH, CLIP_WIDTH);
    }
    plan
}

fn write(plan: &Plan, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let dtype = DType::BF16;
    let plans: Vec<TensorPlan> = plan
        .0
        .iter()
        .map(|(name, shape)| TensorPlan { name: name.clone(), shape: shape.clone(), dtype })
        .collect();
    let shapes: BTreeMap<&str, &Vec<usize>> =
        plan.0.iter().map(|(name, shape)| (name.as_str(), shape)).collect();
    let noise = Noise::new();
    let mut seed = 0;
    write_sharded(folder, &plans, &BTreeMap::new(), DEFAULT_SHARD_BYTES, |name| {
        seed += 1;
        noise.tensor(name, shapes[name], seed).map_err(WeightsError::from)
    })?;
    Ok(())
}

/// A block of random values that tensors are cut from, each from another place: quicker than drawing billions of them.
struct Noise(Vec<f32>);

impl Noise {
    const LENGTH: usize = (1 << 20) + 7;

    fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        Self((0..Self::LENGTH).map(|_| draw()).collect())
    }

    /// Norm weights near one, everything else uniform and scaled by the width that a product sums over.
    fn tensor(&self, name: &str, shape: &[usize], seed: usize) -> candle_core::Result<Tensor> {
        let is_norm = shape.len() == 1 && name.ends_with("weight");
        let summed: usize = shape[1..].iter().product();
        let (centre, scale) = if is_norm { (1.0, 0.1) } else { (0.0, 1.0 / (summed.max(1) as f32).sqrt()) };
        let count: usize = shape.iter().product();
        let start = seed * 7919;
        let mut values = Vec::with_capacity(count);
        while values.len() < count {
            let from = (start + values.len()) % Self::LENGTH;
            let take = (Self::LENGTH - from).min(count - values.len());
            values.extend(
                self.0[from..from + take].iter().map(|value| half::bf16::from_f32(centre + scale * value)),
            );
        }
        Tensor::from_vec(values, shape, &Device::Cpu)
    }
}
