use super::{KeyValueCache, LlamaConfig};
use candle_core::{Result, Tensor};
use maskwise_nn::layers::Linear;
use maskwise_nn::ops::{self, KeyRanges, RotaryTables};
use maskwise_nn::weights::{Loaded, Weights};

/// Where the tokens of one pass stand, and what each of them sees.
pub(super) enum Placement {
    /// A position for each token, and the ranges of its keys.
    Ranges {
        /// One for each token.
        positions: Vec<u32>,
        /// For each token, or for each token of each row of the batch.
        ranges: Vec<KeyRanges>,
        /// The position of a cache that each token takes; none puts the tokens behind what it holds.
        places: Option<Vec<u32>>,
    },
    /// Consecutive positions from `start`, and an additive mask `[batch or 1, 1, tokens, keys]`; none for a token that sees everything.
    Mask {
        /// Position of the first token.
        start: usize,
        /// See above.
        mask: Option<Tensor>,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Attention {
    pub(super) q_proj: Linear,
    pub(super) k_proj: Linear,
    pub(super) v_proj: Linear,
    pub(super) o_proj: Linear,
    heads: usize,
    key_value_heads: usize,
    head_dim: usize,
}

impl Attention {
    pub(super) fn load(config: &LlamaConfig, weights: &Weights) -> Loaded<Self> {
        let (width, head_dim) = (config.hidden_size, config.head_dim());
        let (query, key_value) = (config.num_attention_heads * head_dim, config.key_value_heads() * head_dim);
        let load = |input, output, name: &str| {
            Linear::load_without_bias(input, output, &weights.pp(name))?.quantized(weights.quantization())
        };
        Ok(Self {
            q_proj: load(width, query, "q_proj")?,
            k_proj: load(width, key_value, "k_proj")?,
            v_proj: load(width, key_value, "v_proj")?,
            o_proj: load(query, width, "o_proj")?,
            heads: config.num_attention_heads,
            key_value_heads: config.key_value_heads(),
            head_dim,
        })
    }

    /// `x` `[batch, tokens, hidden_size]`; what the cache holds of this layer comes before the tokens.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        rotary: &RotaryTables,
        placement: &Placement,
        cache: Option<(&mut KeyValueCache, usize)>,
    ) -> Result<Tensor> {
        let [query, key, value] = [&self.q_proj, &self.k_proj, &self.v_proj].map(|layer| layer.forward(x));
        let (query, key, value) = (query?, key?, value?);
        let cached = |key: Tensor, value: Tensor, places: Option<&[u32]>| match (cache, places) {
            (Some((cache, layer)), Some(places)) => cache.write_over(layer, &key, &value, places),
            (Some((cache, layer)), None) => cache.append(layer, &key, &value),
            (None, _) => Ok((key, value)),
        };
        let mixed = match placement {
            Placement::Ranges { positions, ranges, places } => {
                let query = ops::rotate_tokens(&query, rotary, positions)?;
                let key = ops::rotate_tokens(&key, rotary, positions)?;
                let (key, value) = cached(key, value, places.as_deref())?;
                let scale = (self.head_dim as f64).powf(-0.5);
                ops::ranged_attention(&query, &key, &value, self.heads, scale, ranges)?
            }
            Placement::Mask { start, mask } => {
                let query = ops::apply_rotary(&self.split(&query, self.heads)?, rotary, *start)?;
                let key = ops::apply_rotary(&self.split(&key, self.key_value_heads)?, rotary, *start)?;
                let (key, value) = cached(join(&key)?, value, None)?;
                self.attend_with_mask(&query, &key, &value, mask.as_ref())?
            }
        };
        self.o_proj.forward(&mixed)
    }

    fn attend_with_mask(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let groups = self.heads / self.key_value_heads;
        let spread = |x: &Tensor| ops::repeat_key_value(&self.split(x, self.key_value_heads)?, groups);
        // The scores are divided after the product, where half precision has rounded them, as in the reference's eager attention.
        let mixed = ops::attention(query, &spread(key)?, &spread(value)?, &|scores, _| {
            let scores = ops::divide(&scores, (self.head_dim as f64).sqrt())?;
            mask.map_or(Ok(scores.clone()), |mask| scores.broadcast_add(mask))
        })?;
        join(&mixed)
    }

    /// `[batch, tokens, heads·head_dim]` to `[batch, heads, tokens, head_dim]`.
    fn split(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        x.reshape((batch, tokens, heads, self.head_dim))?.transpose(1, 2)?.contiguous()
    }
}

/// Undoes [`Attention::split`].
fn join(x: &Tensor) -> Result<Tensor> {
    let (batch, heads, tokens, dim) = x.dims4()?;
    x.transpose(1, 2)?.reshape((batch, tokens, heads * dim))
}
