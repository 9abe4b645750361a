//! Activation checkpointing: the language model's layers keep nothing but their input; the backward pass runs each of them again.

use crate::{Gradients, Parameters};
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Storage, Tensor, Var,
};
use maskwise_models::llama::LlamaModel;
use maskwise_nn::ops::KeyRanges;
use std::sync::{Arc, Mutex, PoisonError};

/// The layers of a language model for one pass, and the gradients that their backward leaves.
pub(super) struct Recomputed {
    shared: Arc<Shared>,
}

struct Shared {
    model: LlamaModel,
    variables: Vec<Var>,
    /// Of `variables`, through the layers.
    gradients: Mutex<Gradients>,
}

impl Recomputed {
    pub(super) fn new(model: &LlamaModel, parameters: &Parameters) -> Self {
        let variables: Vec<Var> = parameters.iter().map(|(_, variable)| variable.clone()).collect();
        let gradients = Mutex::new(vec![None; variables.len()]);
        Self { shared: Arc::new(Shared { model: model.clone(), variables, gradients }) }
    }

    /// As [`LlamaModel::forward_packed`].
    pub(super) fn forward_packed(
        &self,
        embeddings: &Tensor,
        positions: Vec<u32>,
        ranges: Vec<KeyRanges>,
    ) -> Result<Tensor> {
        let places = Arc::new((positions, ranges));
        // The layers' parameters hide inside of the operations, so that the input must ask for the gradient.
        let mut hidden = match embeddings.track_op() {
            true => embeddings.clone(),
            false => Var::from_tensor(embeddings)?.into_inner(),
        };
        for index in 0..self.shared.model.config().num_hidden_layers {
            let layer = Layer {
                shared: self.shared.clone(),
                index,
                places: places.clone(),
                output: Mutex::new(None),
            };
            // Its graph is dropped with it.
            let output = layer.run(&hidden.detach())?.contiguous()?.detach();
            *layer.output.lock().unwrap_or_else(PoisonError::into_inner) = Some(output);
            hidden = hidden.apply_op1(layer)?;
        }
        self.shared.model.normalize(&hidden)
    }

    /// `gradients`, of the same parameters, with what came through the layers added.
    pub(super) fn add_to(self, mut gradients: Gradients) -> Result<Gradients> {
        let mut of_layers = self.shared.gradients.lock().unwrap_or_else(PoisonError::into_inner);
        for (sum, gradient) in gradients.iter_mut().zip(of_layers.iter_mut()) {
            add(sum, gradient.take())?;
        }
        Ok(gradients)
    }
}

fn add(sum: &mut Option<Tensor>, gradient: Option<Tensor>) -> Result<()> {
    *sum = match (sum.take(), gradient) {
        (Some(sum), Some(gradient)) => Some((sum + gradient)?),
        (sum, gradient) => sum.or(gradient),
    };
    Ok(())
}

/// One layer as an operation of which nothing but the input is kept.
struct Layer {
    shared: Arc<Shared>,
    index: usize,
    places: Arc<(Vec<u32>, Vec<KeyRanges>)>,
    /// What it computes, until the operation takes it.
    output: Mutex<Option<Tensor>>,
}

impl Layer {
    fn run(&self, hidden: &Tensor) -> Result<Tensor> {
        let (positions, ranges) = &*self.places;
        self.shared.model.forward_layer_packed(self.index, hidden, positions, ranges)
    }

    fn with_output<T>(&self, of: impl FnOnce(&Storage, &Layout) -> Result<T>) -> Result<(T, Shape)> {
        let Some(output) = self.output.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            candle_core::bail!("the layer has not been run");
        };
        let (storage, layout) = output.storage_and_layout();
        Ok((of(&storage, layout)?, output.shape().clone()))
    }
}

impl CustomOp1 for Layer {
    fn name(&self) -> &'static str {
        "recomputed_layer"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.with_output(|storage, layout| match storage {
            Storage::Cpu(storage) => storage.try_clone(layout),
            _ => candle_core::bail!("the states left the CPU"),
        })
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.with_output(|storage, layout| match storage {
            Storage::Cuda(storage) => storage.try_clone(layout),
            _ => candle_core::bail!("the states left the device"),
        })
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.with_output(|storage, layout| match storage {
            Storage::Metal(storage) => storage.try_clone(layout),
            _ => candle_core::bail!("the states left the device"),
        })
    }

    fn bwd(&self, hidden: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let hidden = Var::from_tensor(&hidden.detach())?;
        let output = self.run(&hidden)?;
        let gradients = (output * gradient.detach())?.sum_all()?.backward()?;
        let mut sums = self.shared.gradients.lock().unwrap_or_else(PoisonError::into_inner);
        for (variable, sum) in self.shared.variables.iter().zip(sums.iter_mut()) {
            add(sum, gradients.get(variable).map(Tensor::detach))?;
        }
        Ok(gradients.get(&hidden).cloned())
    }
}
