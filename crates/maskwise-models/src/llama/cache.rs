use candle_core::{Result, Tensor};

/// Keys and values of the positions that a [`super::LlamaModel`] has seen, layer by layer.
#[derive(Debug, Clone)]
pub struct KeyValueCache {
    layers: Vec<Option<(Tensor, Tensor)>>,
    positions: usize,
}

impl KeyValueCache {
    /// An empty cache for `layers` layers.
    pub fn new(layers: usize) -> Self {
        Self { layers: vec![None; layers], positions: 0 }
    }

    /// How many positions are stored.
    pub fn positions(&self) -> usize {
        self.positions
    }

    pub(super) fn advance(&mut self, positions: usize) {
        self.positions += positions;
    }

    /// Appends `key` and `value` `[batch, tokens, heads·head_dim]` and returns all that the layer has.
    pub(super) fn append(&mut self, layer: usize, key: Tensor, value: Tensor) -> Result<(Tensor, Tensor)> {
        let all = match self.layers[layer].take() {
            None => (key, value),
            Some((keys, values)) => (Tensor::cat(&[keys, key], 1)?, Tensor::cat(&[values, value], 1)?),
        };
        self.layers[layer] = Some(all.clone());
        Ok(all)
    }
}
