//! Writes a READ checkpoint of random weights at the published sizes, in the published layout: for trying whether a machine
//! can hold a model, and for timing it. Its answers mean nothing.
//!
//! ```sh
//! cargo run --release -p maskwise-models --example random_checkpoint -- 7b tests/tiny-read/model /tmp/read-7b-random
//! ```
//!
//! The second argument is a model folder whose tokenizer is copied.

use candle_core::{DType, Device};
use maskwise_models::llama::LlamaConfig;
use maskwise_models::published::{
    RandomWeights, SamSize, Shapes, clip_shapes, clip_vit_l, llama_7b, llama_13b, read_shapes,
};
use maskwise_nn::weights::{DEFAULT_SHARD_BYTES, TensorPlan, TensorSource, write_sharded};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [size, tokenizer, target] = arguments.as_slice() else {
        return Err("usage: random_checkpoint 7b|13b TOKENIZER_FOLDER NEW_FOLDER".into());
    };
    let language = match size.as_str() {
        "7b" => llama_7b(),
        "13b" => llama_13b(),
        _ => return Err("the size is 7b or 13b".into()),
    };
    let target = Path::new(target);
    std::fs::create_dir_all(target.join("clip"))?;
    for name in ["tokenizer.model", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"] {
        std::fs::copy(Path::new(tokenizer).join(name), target.join(name))?;
    }
    write_configs(&language, target)?;
    write(&read_shapes(&language, SamSize::VIT_H), target)?;
    write(&clip_shapes(&clip_vit_l()), &target.join("clip"))
}

fn write_configs(language: &LlamaConfig, target: &Path) -> std::io::Result<()> {
    let config = json!({
        "architectures": ["READForCausalLM"], "model_type": "llava", "vocab_size": language.vocab_size,
        "hidden_size": language.hidden_size, "intermediate_size": language.intermediate_size,
        "num_hidden_layers": language.num_hidden_layers, "num_attention_heads": language.num_attention_heads,
        "num_key_value_heads": language.key_value_heads(), "rms_norm_eps": language.rms_norm_eps,
        "max_position_embeddings": language.max_position_embeddings, "hidden_act": "silu",
        "mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": true, "vision_tower": "clip", "train_mask_decoder": true, "out_dim": 256,
    });
    std::fs::write(target.join("config.json"), config.to_string())?;
    std::fs::write(target.join("clip/config.json"), serde_json::to_string(&clip_vit_l())?)
}

fn write(shapes: &Shapes, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let dtype = DType::BF16;
    let plans: Vec<TensorPlan> = shapes
        .0
        .iter()
        .map(|(name, shape)| TensorPlan { name: name.clone(), shape: shape.clone(), dtype })
        .collect();
    let weights = RandomWeights::new(shapes);
    write_sharded(folder, &plans, &BTreeMap::new(), DEFAULT_SHARD_BYTES, |name| {
        weights.read(name, dtype, &Device::Cpu)
    })?;
    Ok(())
}
