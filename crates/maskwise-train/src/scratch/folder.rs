use super::ModelSizes;
use super::plan::{Planned, checkpoint, vision_tower};
use crate::TrainError;
use candle_core::{DType, Device, Tensor};
use maskwise_data::atomic::write_atomic;
use maskwise_nn::weights::{DEFAULT_SHARD_BYTES, TensorPlan, WeightsError, write_sharded};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The vision tower's folder inside of the model's.
const TOWER: &str = "clip";

/// A tokenizer as a model folder holds it: a sentencepiece model, and tokens behind its last piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// The content of `tokenizer.model`.
    pub sentencepiece: Vec<u8>,
    /// Ids of the first added token: the number of pieces.
    pub pieces: usize,
}

/// The tokens that the systems add, in the order of their ids (spec 1.5).
const ADDED: [&str; 3] = ["[SEG]", "<im_start>", "<im_end>"];

impl TokenizerFiles {
    /// Rows that the embedding table needs.
    pub fn vocab_size(&self) -> usize {
        self.pieces + ADDED.len()
    }

    fn write(&self, folder: &Path, max_length: usize) -> Result<(), TrainError> {
        let added: BTreeMap<&str, usize> =
            ADDED.iter().enumerate().map(|(index, token)| (*token, self.pieces + index)).collect();
        let token = |content: &str| json!({"content": content, "lstrip": false, "normalized": true, "rstrip": false, "single_word": false});
        let map = json!({"bos_token": token("<s>"), "eos_token": token("</s>"), "unk_token": token("<unk>"),
            "pad_token": "<unk>"});
        let mut config = json!({"add_bos_token": true, "add_eos_token": false, "clean_up_tokenization_spaces": false,
            "legacy": true, "model_max_length": max_length, "pad_token": null, "padding_side": "right",
            "sp_model_kwargs": {}, "tokenizer_class": "LlamaTokenizer"});
        for (name, content) in [("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")] {
            config[name] = token(content);
            config[name]["__type"] = json!("AddedToken");
        }
        write_atomic(&folder.join("tokenizer.model"), |writer| writer.write_all(&self.sentencepiece))?;
        write_json(&folder.join("added_tokens.json"), &json!(added))?;
        write_json(&folder.join("special_tokens_map.json"), &map)?;
        write_json(&folder.join("tokenizer_config.json"), &config)
    }
}

/// Writes a READ of `sizes` with random weights of `dtype` into the folder `target`, which must exist: configurations, tokenizer,
/// checkpoint, and the vision tower in `clip/`, all in the published layout. The same `seed`, the same weights.
///
/// # Errors
/// When the sizes do not fit, or a file cannot be written.
pub fn write_model(
    target: &Path,
    sizes: &ModelSizes,
    tokenizer: &TokenizerFiles,
    dtype: DType,
    seed: u64,
) -> Result<(), TrainError> {
    sizes.check().map_err(|reason| TrainError::setting("sizes", reason))?;
    if sizes.vocab_size < tokenizer.vocab_size() {
        let reason =
            format!("{} rows do not hold the tokenizer's {}", sizes.vocab_size, tokenizer.vocab_size());
        return Err(TrainError::setting("sizes.vocab_size", reason));
    }
    let tower = target.join(TOWER);
    std::fs::create_dir_all(&tower).map_err(|source| TrainError::Io {
        action: "create",
        path: tower.clone(),
        source,
    })?;
    tokenizer.write(target, sizes.language.max_position_embeddings)?;
    write_configs(target, sizes, dtype)?;
    write_weights(target, &checkpoint(sizes), dtype, seed)?;
    write_weights(&tower, &vision_tower(&sizes.clip), dtype, seed)
}

fn write_configs(target: &Path, sizes: &ModelSizes, dtype: DType) -> Result<(), TrainError> {
    let ModelSizes { language, clip, decoder, .. } = sizes;
    let torch_dtype = if dtype == DType::BF16 { "bfloat16" } else { "float32" };
    let config = json!({
        "architectures": ["READForCausalLM"], "model_type": "llava", "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 0, "hidden_size": language.hidden_size, "intermediate_size": language.intermediate_size,
        "num_hidden_layers": language.layers, "num_attention_heads": language.heads,
        "num_key_value_heads": language.heads, "vocab_size": sizes.vocab_size, "rms_norm_eps": 1e-5,
        "max_position_embeddings": language.max_position_embeddings, "hidden_act": "silu",
        "tie_word_embeddings": false, "rope_scaling": null, "pretraining_tp": 1, "use_cache": false,
        "torch_dtype": torch_dtype, "image_aspect_ratio": "square", "mm_hidden_size": clip.hidden_size,
        "mm_projector_type": "mlp2x_gelu", "mm_use_im_patch_token": false, "mm_use_im_start_end": true,
        "mm_vision_select_feature": "patch", "mm_vision_select_layer": clip.select_layer,
        "mm_vision_tower": TOWER, "vision_tower": TOWER, "out_dim": decoder.dim, "train_mask_decoder": true,
        "tune_mm_mlp_adapter": false, "use_mm_proj": true,
    });
    let vision = json!({
        "architectures": ["CLIPVisionModel"], "model_type": "clip_vision_model", "torch_dtype": torch_dtype,
        "hidden_size": clip.hidden_size, "intermediate_size": 4 * clip.hidden_size, "num_hidden_layers": clip.layers,
        "num_attention_heads": clip.heads, "image_size": clip.image_size, "patch_size": clip.patch_size,
        "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_channels": 3, "projection_dim": clip.hidden_size,
    });
    let size = clip.image_size;
    let preprocessor = json!({
        "crop_size": {"height": size, "width": size}, "do_center_crop": true, "do_convert_rgb": true,
        "do_normalize": true, "do_rescale": true, "do_resize": true,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "CLIPImageProcessor", "resample": 3, "rescale_factor": 1.0 / 255.0,
        "size": {"shortest_edge": size},
    });
    let system = json!({
        "system": "read",
        "similarity_points": {
            "num_points": decoder.num_points, "thresholds": {"fixed": {"t_pos": 0.8, "t_neg": 0.2}}, "down_sample": 1,
        },
        "conversation": {"generate": "vicuna_v1", "teacher_forced": "vicuna_v1"},
        "sam_decoder_heads": decoder.heads,
    });
    write_json(&target.join("config.json"), &config)?;
    write_json(&target.join("maskwise.json"), &system)?;
    write_json(&target.join(TOWER).join("config.json"), &vision)?;
    write_json(&target.join(TOWER).join("preprocessor_config.json"), &preprocessor)
}

fn write_json(path: &Path, value: &Value) -> Result<(), TrainError> {
    Ok(write_atomic(path, |writer| writeln!(writer, "{value:#}"))?)
}

fn write_weights(folder: &Path, planned: &[Planned], dtype: DType, seed: u64) -> Result<(), TrainError> {
    let plans = planned.iter().map(|tensor| TensorPlan {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        dtype,
    });
    let by_name: BTreeMap<&str, &Planned> =
        planned.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    write_sharded(folder, &plans.collect::<Vec<_>>(), &BTreeMap::new(), DEFAULT_SHARD_BYTES, |name| {
        let tensor =
            by_name.get(name).ok_or_else(|| WeightsError::UnknownTensor { name: name.to_owned() })?;
        let values = tensor.values(seed);
        Ok(Tensor::from_vec(values, tensor.shape.as_slice(), &Device::Cpu)?.to_dtype(dtype)?)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{ClipSizes, DecoderSizes, LanguageSizes, SamSizes};
    use super::*;
    use maskwise_models::systems::read::{LoadOptions, ModelFiles, ModelPlaces, PartTypes};

    #[test]
    fn a_new_model_loads_strictly() {
        let repository =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tiny-read/model/tokenizer.model");
        let tokenizer = TokenizerFiles { sentencepiece: std::fs::read(repository).unwrap(), pieces: 480 };
        let sizes = ModelSizes {
            vocab_size: tokenizer.vocab_size(),
            language: LanguageSizes {
                hidden_size: 32,
                intermediate_size: 48,
                layers: 2,
                heads: 4,
                max_position_embeddings: 128,
            },
            clip: ClipSizes {
                image_size: 32,
                patch_size: 8,
                hidden_size: 16,
                layers: 2,
                heads: 2,
                select_layer: -1,
            },
            sam: SamSizes {
                image_size: 48,
                patch_size: 8,
                hidden_size: 16,
                layers: 2,
                heads: 2,
                window: 4,
                global_layers: vec![1],
            },
            decoder: DecoderSizes { dim: 32, heads: 4, intermediate_size: 32, num_points: 6 },
        };
        let folder = tempfile::tempdir().unwrap();
        write_model(folder.path(), &sizes, &tokenizer, DType::F32, 7).unwrap();
        let files = ModelFiles::open(folder.path(), &ModelPlaces::default()).unwrap();
        let options = LoadOptions {
            types: PartTypes::uniform(DType::F32),
            device: Device::Cpu,
            allow_untrained: true,
            on_progress: None,
        };
        let model = files.load(options).unwrap();
        assert_eq!((model.image_tokens(), model.sam.image_encoder.image_size()), (16, 48));
        // Keys begin as queries do, values as themselves.
        let tower = files.open_vision_tower().unwrap();
        let read = |name: &str| {
            let name = format!("vision_model.encoder.layers.1.self_attn.{name}.weight");
            tower.read(&name, DType::F32, &Device::Cpu).unwrap().to_vec2::<f32>().unwrap()
        };
        assert!(read("q_proj") == read("k_proj") && read("q_proj") != read("v_proj"));

        let too_few = ModelSizes { vocab_size: 100, ..sizes.clone() };
        let refused =
            write_model(folder.path(), &too_few, &tokenizer, DType::F32, 7).unwrap_err().to_string();
        assert!(refused.contains("100 rows"), "{refused}");
        let mut uneven = sizes;
        uneven.clip.patch_size = 7;
        let refused = write_model(folder.path(), &uneven, &tokenizer, DType::F32, 7).unwrap_err().to_string();
        assert!(refused.contains("clip.image_size"), "{refused}");
    }
}
