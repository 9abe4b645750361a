//! Made-up checkpoints: a READ from random weights, and what of it is left of a LLaVA.

#![allow(clippy::unwrap_used, dead_code)] // Each test file uses some of it.

use candle_core::{DType, Device};
use maskwise_nn::weights::{TensorPlan, TensorSource, open_checkpoint, write_safetensors};
use maskwise_train::scratch::{
    ClipSizes, DecoderSizes, LanguageSizes, ModelSizes, SamSizes, TokenizerFiles, write_model,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Pieces of the tokenizer.
pub(crate) const PIECES: usize = 480;

/// A complete READ in `folder/read`.
pub(crate) fn write_read(folder: &Path) -> PathBuf {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tiny-read/model/tokenizer.model");
    let tokenizer = TokenizerFiles { sentencepiece: fs::read(tokenizer).unwrap(), pieces: PIECES };
    let sizes = ModelSizes {
        vocab_size: tokenizer.vocab_size(),
        language: LanguageSizes {
            hidden_size: 32,
            intermediate_size: 48,
            layers: 2,
            heads: 4,
            max_position_embeddings: 1024,
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
        decoder: DecoderSizes { dim: 32, heads: 8, intermediate_size: 32, num_points: 6 },
    };
    let read = folder.join("read");
    fs::create_dir_all(&read).unwrap();
    write_model(&read, &sizes, &tokenizer, DType::F32, 7).unwrap();
    read
}

/// A LLaVA in `folder/llava` in half precision with its tower in `folder/tower` and SAM in `folder/sam.safetensors`.
pub(crate) fn write_llava(folder: &Path) -> PathBuf {
    let read = write_read(folder);
    let llava = folder.join("llava");
    fs::create_dir_all(&llava).unwrap();
    fs::rename(read.join("clip"), folder.join("tower")).unwrap();
    fs::copy(read.join("tokenizer.model"), llava.join("tokenizer.model")).unwrap();
    edit(&read.join("config.json"), &llava.join("config.json"), |config| {
        config["architectures"] = json!(["LlavaLlamaForCausalLM"]);
        config["vocab_size"] = json!(PIECES);
        config["mm_use_im_start_end"] = json!(false);
        config["mm_vision_tower"] = json!("someone/tower-of-the-hub");
        for key in ["vision_tower", "train_mask_decoder", "out_dim"] {
            config.as_object_mut().unwrap().remove(key);
        }
    });
    edit(&read.join("tokenizer_config.json"), &llava.join("tokenizer_config.json"), |config| {
        config["legacy"] = json!(false);
    });
    let source = open_checkpoint(&read).unwrap();
    let sam = "model.visual_model.";
    write(&folder.join("sam.safetensors"), source.as_ref(), DType::F32, |name| {
        name.strip_prefix(sam).map(str::to_owned)
    });
    write(&llava.join("model.safetensors"), source.as_ref(), DType::F16, |name| {
        let own = !name.starts_with(sam) && !name.starts_with("model.text_hidden_fcs.");
        own.then(|| name.to_owned())
    });
    fs::remove_dir_all(read).unwrap();
    llava
}

pub(crate) fn edit(from: &Path, to: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(from).unwrap()).unwrap();
    change(&mut value);
    fs::write(to, value.to_string()).unwrap();
}

/// Those tensors that `name` names, tables of the vocabulary without the added tokens.
fn write(path: &Path, source: &dyn TensorSource, dtype: DType, name: impl Fn(&str) -> Option<String>) {
    let mut plans = Vec::new();
    let mut originals = BTreeMap::new();
    for (original, info) in source.tensors() {
        let Some(name) = name(original) else { continue };
        let mut shape = info.shape.clone();
        if original == "model.embed_tokens.weight" || original == "lm_head.weight" {
            shape[0] = PIECES;
        }
        plans.push(TensorPlan { name: name.clone(), shape, dtype });
        originals.insert(name, original.clone());
    }
    write_safetensors(path, &plans, &BTreeMap::new(), |name| {
        let tensor = source.read(&originals[name], dtype, &Device::Cpu)?;
        let rows = plans.iter().find(|plan| plan.name == name).unwrap().shape[0];
        Ok(tensor.narrow(0, 0, rows)?)
    })
    .unwrap();
}

/// A recipe on Tabletop: `model` are lines of its section, `more` other sections.
pub(crate) fn recipe(folder: &Path, model: &str, more: &str) -> String {
    let folder = slashed(folder);
    format!(
        "[model]\n{model}\n{more}\n[[data.datasets]]\nkind = \"tabletop\"\nsize = 64\n[schedule]\nlearning_rate = 1e-2\nwarmup_steps = 0\n\
         [run]\nfolder = \"{folder}/run\"\nsteps = 2\nbatch_size = 1\ncheckpoint_interval = 1\n"
    )
}

/// A path as TOML takes it on every system.
pub(crate) fn slashed(path: &Path) -> String {
    path.display().to_string().replace('\\', "/")
}
