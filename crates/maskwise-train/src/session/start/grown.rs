//! A checkpoint with more rows in its vocabulary and a new `text_hidden_fcs`.

use crate::scratch::Init;
use candle_core::{DType, Device, Tensor};
use maskwise_nn::weights::{TensorInfo, TensorSource, WeightsError};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Deviation of new rows (spec 5.2).
const NEW_ROW: f32 = 0.02;

/// A checkpoint and what is made for it. Its own tensors are read when they are asked for, one at a time.
pub(super) struct Grown {
    source: Box<dyn TensorSource>,
    tensors: BTreeMap<String, TensorInfo>,
    /// Rows of a table from its first new one on.
    rows: BTreeMap<String, (usize, Tensor)>,
    /// Tensors that the checkpoint lacks.
    new: BTreeMap<String, Tensor>,
}

impl Grown {
    /// Takes everything of `source` as it is.
    pub(super) fn new(source: Box<dyn TensorSource>) -> Self {
        let tensors = source.tensors().clone();
        Self { source, tensors, rows: BTreeMap::new(), new: BTreeMap::new() }
    }

    /// Gives the tables of the vocabulary `rows` rows, those from `first` on normal with deviation 0.02. A table without such rows stays.
    pub(super) fn grow_vocabulary(
        &mut self,
        first: usize,
        rows: usize,
        seed: u64,
    ) -> candle_core::Result<()> {
        for (stream, name) in ["model.embed_tokens.weight", "lm_head.weight"].into_iter().enumerate() {
            let Some(&[_, width]) = self.tensors.get(name).map(|info| info.shape.as_slice()) else {
                continue;
            };
            let new = random(Init::Normal(NEW_ROW), &[rows - first, width], seed, stream)?;
            self.rows.insert(name.to_owned(), (first, new));
            if let Some(info) = self.tensors.get_mut(name) {
                info.shape = vec![rows, width];
            }
        }
        Ok(())
    }

    /// Adds a `text_hidden_fcs` from states of `width` to prompts of `dim`, in f32, with PyTorch's values of a new linear layer: weight and
    /// bias uniform in ±1/√in.
    pub(super) fn add_text_hidden_fcs(
        &mut self,
        width: usize,
        dim: usize,
        seed: u64,
    ) -> candle_core::Result<()> {
        let init = Init::Uniform(1.0 / (width as f32).sqrt());
        let layers = [("0", vec![width, width], vec![width]), ("2", vec![dim, width], vec![dim])];
        for (index, (layer, weight, bias)) in layers.into_iter().enumerate() {
            for (part, shape, stream) in [("weight", weight, 2 * index), ("bias", bias, 2 * index + 1)] {
                let tensor = random(init, &shape, seed, 16 + stream)?;
                let name = format!("model.text_hidden_fcs.0.{layer}.{part}");
                self.tensors
                    .insert(name.clone(), TensorInfo { shape, dtype: DType::F32, file: PathBuf::new() });
                self.new.insert(name, tensor);
            }
        }
        Ok(())
    }
}

fn random(init: Init, shape: &[usize], seed: u64, stream: usize) -> candle_core::Result<Tensor> {
    // A generator for each tensor: what one of them takes does not shift the others.
    let mut generator =
        Pcg64Mcg::seed_from_u64(seed ^ (stream as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Tensor::from_vec(init.values(shape.iter().product(), &mut generator), shape, &Device::Cpu)
}

impl TensorSource for Grown {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        let failed =
            |error: candle_core::Error| WeightsError::Tensor { name: name.to_owned(), source: error };
        let converted = |tensor: &Tensor| tensor.to_dtype(dtype)?.to_device(device);
        if let Some(tensor) = self.new.get(name) {
            return converted(tensor).map_err(failed);
        }
        let table = self.source.read(name, dtype, device)?;
        let Some((first, rows)) = self.rows.get(name) else { return Ok(table) };
        let grown = || Tensor::cat(&[&table.narrow(0, 0, *first)?, &converted(rows)?], 0);
        grown().map_err(failed)
    }
}
