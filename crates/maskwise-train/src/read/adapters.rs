use crate::TrainError;
use candle_core::{DType, Device, Tensor, Var};
use maskwise_models::llama::LlamaModel;
use maskwise_nn::layers::{Dropout, LowRank};
use maskwise_nn::weights::{TensorInfo, TensorSource};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// LoRA on the language model's linear layers (spec 5.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of the added product, at least 1.
    pub rank: usize,
    /// The product is scaled by alpha / rank.
    #[serde(default = "default_alpha")]
    pub alpha: f64,
    /// Dropout of the adapters' input, 0 ≤ p < 1.
    #[serde(default = "default_dropout")]
    pub dropout: f32,
    /// The layers: names among `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`.
    #[serde(default = "default_targets")]
    pub targets: Vec<String>,
}

fn default_alpha() -> f64 {
    16.0
}

fn default_dropout() -> f32 {
    0.05
}

fn default_targets() -> Vec<String> {
    vec!["q_proj".to_owned(), "v_proj".to_owned()]
}

const PROJECTIONS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

impl LoraConfig {
    /// Checks ranges and names.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn check(&self) -> Result<(), String> {
        if self.rank == 0 {
            return Err(
                "rank is 0; it must be at least 1 (leave [lora] out to train without adapters)".to_owned()
            );
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(format!("alpha must be above 0, found {}", self.alpha));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(format!("dropout must lie in 0..1, found {}", self.dropout));
        }
        if self.targets.is_empty() {
            return Err("targets is empty; name at least one layer, as q_proj".to_owned());
        }
        match self.targets.iter().find(|target| !PROJECTIONS.contains(&target.as_str())) {
            Some(target) => Err(format!("targets has `{target}`; known are {}", PROJECTIONS.join(", "))),
            None => Ok(()),
        }
    }

    /// alpha / rank.
    pub fn scaling(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    fn wants(&self, layer: &str) -> bool {
        self.targets.iter().any(|target| layer.ends_with(&format!(".{target}")))
    }

    /// The adapted layers among the tensors of a checkpoint, with their widths of input and output.
    fn layers<'a>(
        &'a self,
        tensors: &'a BTreeMap<String, TensorInfo>,
    ) -> impl Iterator<Item = (&'a str, usize, usize)> {
        tensors.iter().filter_map(|(name, info)| {
            let layer = name.strip_suffix(".weight").filter(|layer| layer.starts_with("model.layers."))?;
            match info.shape.as_slice() {
                &[output, input] if self.wants(layer) => Some((layer, input, output)),
                _ => None,
            }
        })
    }

    /// How many numbers the adapters of a checkpoint with these tensors have.
    pub(crate) fn count(&self, tensors: &BTreeMap<String, TensorInfo>) -> u64 {
        self.layers(tensors).map(|(_, input, output)| (self.rank * (input + output)) as u64).sum()
    }

    /// New adapters for the layers of a checkpoint, by the names of PEFT without its prefix
    /// (`model.layers.0.self_attn.q_proj.lora_A.default.weight`): A uniform in ±1/√in (Kaiming with a = √5), B zero.
    pub(super) fn new_variables(
        &self,
        checkpoint: &dyn TensorSource,
        device: &Device,
        seed: u64,
    ) -> Result<BTreeMap<String, Var>, TrainError> {
        let mut variables = BTreeMap::new();
        let mut generator = Pcg64Mcg::seed_from_u64(seed);
        for (layer, input, output) in self.layers(checkpoint.tensors()) {
            let bound = 1.0 / (input as f32).sqrt();
            let a: Vec<f32> = (0..self.rank * input).map(|_| generator.random_range(-bound..bound)).collect();
            let a = Tensor::from_vec(a, (self.rank, input), device)?;
            let b = Tensor::zeros((output, self.rank), DType::F32, device)?;
            variables.insert(a_name(layer), Var::from_tensor(&a)?);
            variables.insert(b_name(layer), Var::from_tensor(&b)?);
        }
        Ok(variables)
    }

    /// Puts the adapters of `variables` on the model's layers; `seed` decides the dropout of this pass, none switches it off.
    pub(super) fn attach(
        &self,
        model: &mut LlamaModel,
        variables: &BTreeMap<String, Var>,
        dtype: DType,
        seed: Option<u64>,
    ) -> Result<(), TrainError> {
        for (index, (layer, linear)) in model.projections_mut().enumerate() {
            let (Some(a), Some(b)) = (variables.get(&a_name(&layer)), variables.get(&b_name(&layer))) else {
                continue;
            };
            let dropout = seed
                .filter(|_| self.dropout > 0.0)
                .map(|seed| Dropout { probability: self.dropout, seed: seed.wrapping_add(index as u64) });
            let (a, b) = (a.to_dtype(dtype)?, b.to_dtype(dtype)?);
            linear.adapt(LowRank { a, b, scaling: self.scaling(), dropout });
        }
        Ok(())
    }

    /// Whether `variables` hold an adapter of the layer whose weight is called `weight_name`.
    pub(crate) fn adapts(&self, weight_name: &str, variables: &BTreeMap<String, Tensor>) -> bool {
        weight_name.strip_suffix(".weight").is_some_and(|layer| variables.contains_key(&a_name(layer)))
    }

    /// `W + (B·A)·alpha/rank` in f32, `W` being the weight called `weight_name`, whose adapter is among `variables`.
    ///
    /// # Errors
    /// When half of the adapter is not there, or the shapes do not fit.
    pub fn merged(
        &self,
        weight_name: &str,
        weight: &Tensor,
        variables: &BTreeMap<String, Tensor>,
    ) -> candle_core::Result<Tensor> {
        let layer = weight_name.strip_suffix(".weight").unwrap_or(weight_name);
        let (Some(a), Some(b)) = (variables.get(&a_name(layer)), variables.get(&b_name(layer))) else {
            candle_core::bail!("{layer} has not both halves of an adapter");
        };
        weight.to_dtype(DType::F32)? + (b.matmul(a)? * self.scaling())?
    }
}

fn a_name(layer: &str) -> String {
    format!("{layer}.lora_A.default.weight")
}

fn b_name(layer: &str) -> String {
    format!("{layer}.lora_B.default.weight")
}
