use crate::error::{ModelError, Result};
use candle_core::Tensor;
use maskwise_nn::layers::{LayerNorm, Linear};
use maskwise_nn::ops::{self, KeyRanges};
use maskwise_nn::weights::Weights;

type TensorResult = candle_core::Result<Tensor>;

const EPSILON: f64 = 1e-5;
/// Layers of every published SAM: fewer means that some are missing.
const PUBLISHED_DEPTH: usize = 2;

/// The transformer of SAM's mask decoder: prompt tokens and image cells attend to each other in turn.
#[derive(Debug, Clone)]
pub struct TwoWayTransformer {
    layers: Vec<TwoWayBlock>,
    final_attn_token_to_image: Attention,
    norm_final_attn: LayerNorm,
}

impl TwoWayTransformer {
    /// Loads the transformer of width `dim`; the depth follows from the tensors.
    ///
    /// # Errors
    /// When a tensor that decides the sizes is missing, or reading fails.
    pub fn load(dim: usize, heads: usize, weights: &Weights) -> Result<Self> {
        let layers = weights.pp("layers");
        let depth = layers.count_children().max(PUBLISHED_DEPTH);
        let layers = (0..depth).map(|index| TwoWayBlock::load(index, dim, heads, &layers.pp(index)));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            final_attn_token_to_image: Attention::load(heads, &weights.pp("final_attn_token_to_image"))?,
            norm_final_attn: LayerNorm::load(dim, EPSILON, &weights.pp("norm_final_attn"))?,
        })
    }

    /// `image` and `image_positions` `[batch, cells, dim]`, `tokens` `[batch, tokens, dim]`; returns the tokens and the image
    /// cells after the last layer, in the same shapes.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(
        &self,
        image: &Tensor,
        image_positions: &Tensor,
        tokens: &Tensor,
    ) -> candle_core::Result<(Tensor, Tensor)> {
        let (mut queries, mut keys) = (tokens.clone(), image.clone());
        for layer in &self.layers {
            (queries, keys) = layer.forward(&queries, &keys, tokens, image_positions)?;
        }
        let (query, key) = ((&queries + tokens)?, keys.broadcast_add(image_positions)?);
        let attended = self.final_attn_token_to_image.forward(&query, &key, &keys)?;
        Ok((self.norm_final_attn.forward(&(queries + attended)?)?, keys))
    }
}

#[derive(Debug, Clone)]
struct TwoWayBlock {
    self_attn: Attention,
    norm1: LayerNorm,
    cross_attn_token_to_image: Attention,
    norm2: LayerNorm,
    lin1: Linear,
    lin2: Linear,
    norm3: LayerNorm,
    norm4: LayerNorm,
    cross_attn_image_to_token: Attention,
    /// The first layer attends without positions, and its result replaces the queries.
    is_first: bool,
}

impl TwoWayBlock {
    fn load(index: usize, dim: usize, heads: usize, weights: &Weights) -> Result<Self> {
        let attention = |name: &str| Attention::load(heads, &weights.pp(name));
        let norm = |name: &str| LayerNorm::load(dim, EPSILON, &weights.pp(name));
        Ok(Self {
            self_attn: attention("self_attn")?,
            norm1: norm("norm1")?,
            cross_attn_token_to_image: attention("cross_attn_token_to_image")?,
            norm2: norm("norm2")?,
            lin1: Linear::load_any(&weights.pp("mlp.lin1"))?,
            lin2: Linear::load_any(&weights.pp("mlp.lin2"))?,
            norm3: norm("norm3")?,
            norm4: norm("norm4")?,
            cross_attn_image_to_token: attention("cross_attn_image_to_token")?,
            is_first: index == 0,
        })
    }

    fn forward(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        query_positions: &Tensor,
        key_positions: &Tensor,
    ) -> candle_core::Result<(Tensor, Tensor)> {
        let queries = if self.is_first {
            self.self_attn.forward(queries, queries, queries)?
        } else {
            let query = (queries + query_positions)?;
            (queries + self.self_attn.forward(&query, &query, queries)?)?
        };
        let queries = self.norm1.forward(&queries)?;

        let (query, key) = ((&queries + query_positions)?, keys.broadcast_add(key_positions)?);
        let view = |x: &Tensor| if self.is_first { x.unsqueeze(0) } else { Ok(x.clone()) };
        let attended = self.cross_attn_token_to_image.forward(&query, &view(&key)?, &view(keys)?)?;
        let queries = (&queries + attended)?;
        let queries = self.norm2.forward(&queries)?;

        let inner = ops::relu(&self.lin1.forward(&queries)?)?;
        let queries = self.norm3.forward(&(&queries + self.lin2.forward(&inner)?)?)?;

        let query = (&queries + query_positions)?;
        let keys = (keys + self.cross_attn_image_to_token.forward(&view(&key)?, &query, &queries)?)?;
        Ok((queries, self.norm4.forward(&keys)?))
    }
}

#[derive(Debug, Clone)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

impl Attention {
    fn load(heads: usize, weights: &Weights) -> Result<Self> {
        let [inner, _] = weights.pp("q_proj").dims("weight")?;
        if heads == 0 || !inner.is_multiple_of(heads) {
            let reason = format!(
                "{} is {inner} wide, which does not split into {heads} heads (sam_decoder_heads in maskwise.json)",
                weights.prefix()
            );
            return Err(ModelError::Sizes(reason));
        }
        let load = |name: &str| Linear::load_any(&weights.pp(name));
        Ok(Self {
            q_proj: load("q_proj")?,
            k_proj: load("k_proj")?,
            v_proj: load("v_proj")?,
            out_proj: load("out_proj")?,
            heads,
        })
    }

    fn forward(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> TensorResult {
        let head_dim = self.q_proj.output() / self.heads;
        let scale = (head_dim as f64).sqrt();
        // The image cells of the first layer are a permuted view in the reference, whose layers then add the bias to a rounded product;
        // they are given as `[1, batch, cells, dim]` here.
        let project = |layer: &Linear, x: &Tensor| {
            let x = layer.forward(x)?;
            if x.rank() == 4 { x.squeeze(0) } else { Ok(x) }
        };
        let query = project(&self.q_proj, query)?;
        let (key, value) = (project(&self.k_proj, key)?, project(&self.v_proj, value)?);
        if ops::on_cpu_in_f32(&query) {
            let full = KeyRanges::full(query.dim(1)?, key.dim(1)?);
            let mixed = ops::ranged_attention(&query, &key, &value, self.heads, 1.0 / scale, &full)?;
            return self.out_proj.forward(&mixed);
        }
        let split = |x: &Tensor| {
            let (batch, tokens, _) = x.dims3()?;
            x.reshape((batch, tokens, self.heads, head_dim))?.transpose(1, 2)
        };
        let (query, key, value) = (split(&query)?, split(&key)?, split(&value)?);
        let mixed = ops::attention(&query, &key, &value, &|scores, _| ops::divide(&scores, scale))?;
        self.out_proj.forward(&mixed.transpose(1, 2)?.flatten_from(2)?)
    }
}
