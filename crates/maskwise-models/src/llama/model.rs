use super::{KeyValueCache, LlamaConfig};
use candle_core::{DType, Result, Tensor};
use maskwise_nn::layers::{Embedding, Linear, RmsNorm};
use maskwise_nn::ops::{self, RotaryTables};
use maskwise_nn::weights::{Loaded, Weights};

/// The decoder of LLaMA with its embedding table and output head.
#[derive(Debug, Clone)]
pub struct LlamaModel {
    embed_tokens: Embedding,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    lm_head: Linear,
    rotary: RotaryTables,
    config: LlamaConfig,
}

impl LlamaModel {
    /// Loads `model.embed_tokens`, `model.layers`, `model.norm` and `lm_head` from `weights` standing at the root of the state
    /// dict. The stored rotary frequencies (`rotary_emb.inv_freq`) are known and recomputed.
    ///
    /// # Errors
    /// When reading fails; missing and mis-shaped tensors are reported by [`Weights::finish`].
    pub fn load(config: &LlamaConfig, weights: &Weights) -> Loaded<Self> {
        let model = weights.pp("model");
        let layers = (0..config.num_hidden_layers)
            .map(|index| DecoderLayer::load(config, &model.pp("layers").pp(index)))
            .collect::<std::result::Result<_, _>>()?;
        weights.ignore(|name| name.ends_with(".rotary_emb.inv_freq"));
        let (positions, head_dim) = (config.max_position_embeddings, config.head_dim());
        Ok(Self {
            embed_tokens: Embedding::load(config.vocab_size, config.hidden_size, &model.pp("embed_tokens"))?,
            layers,
            norm: RmsNorm::load(config.hidden_size, config.rms_norm_eps, &model.pp("norm"))?,
            lm_head: Linear::load_without_bias(
                config.hidden_size,
                config.vocab_size,
                &weights.pp("lm_head"),
            )?,
            rotary: RotaryTables::new(
                positions,
                head_dim,
                config.rope_theta,
                weights.dtype(),
                weights.device(),
            )?,
            config: config.clone(),
        })
    }

    /// The linear layers of attention and MLP by their names in the state dict, without `.weight`: where LoRA is put.
    pub fn projections_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        self.layers.iter_mut().enumerate().flat_map(|(index, layer)| {
            let attention = &mut layer.self_attn;
            let named = [
                ("self_attn.q_proj", &mut attention.q_proj),
                ("self_attn.k_proj", &mut attention.k_proj),
                ("self_attn.v_proj", &mut attention.v_proj),
                ("self_attn.o_proj", &mut attention.o_proj),
                ("mlp.gate_proj", &mut layer.gate_proj),
                ("mlp.up_proj", &mut layer.up_proj),
                ("mlp.down_proj", &mut layer.down_proj),
            ];
            named.into_iter().map(move |(name, linear)| (format!("model.layers.{index}.{name}"), linear))
        })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// The embeddings of `ids` (any shape, u32), `[.., hidden_size]`.
    ///
    /// # Errors
    /// When an id is not below the vocabulary size.
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        self.embed_tokens.forward(ids)
    }

    /// The hidden states after the final normalisation: `embeddings` `[batch, tokens, hidden_size]` to the same shape.
    ///
    /// With a cache the tokens follow those it holds, and are added to it. `attention_mask` `[batch, tokens]` (u8, 0 = padding)
    /// hides padded keys; positions always count from 0, whatever the mask (spec 1.10).
    ///
    /// # Errors
    /// When there are more positions than `max_position_embeddings`, or shapes do not fit.
    pub fn forward(
        &self,
        embeddings: &Tensor,
        cache: Option<&mut KeyValueCache>,
        attention_mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.forward_observed(embeddings, cache, attention_mask, &mut |_, _| ())
    }

    /// As [`LlamaModel::forward`], calling `observe(index, hidden_state)` after each layer, before the final normalisation.
    ///
    /// # Errors
    /// As [`LlamaModel::forward`].
    pub fn forward_observed(
        &self,
        embeddings: &Tensor,
        mut cache: Option<&mut KeyValueCache>,
        attention_mask: Option<&Tensor>,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor> {
        let tokens = embeddings.dim(1)?;
        let start = cache.as_ref().map_or(0, |cache| cache.positions());
        if start + tokens > self.config.max_position_embeddings {
            candle_core::bail!(
                "{} positions are more than the model's {} (max_position_embeddings)",
                start + tokens,
                self.config.max_position_embeddings
            );
        }
        let mask = self.mask(embeddings, start, attention_mask)?;
        let mut hidden = embeddings.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            let cached = cache.as_deref_mut().map(|cache| (cache, index));
            hidden = layer.forward(&hidden, &self.rotary, start, mask.as_ref(), cached)?;
            observe(index, &hidden);
        }
        if let Some(cache) = cache {
            cache.advance(tokens);
        }
        self.norm.forward(&hidden)
    }

    /// The logits `[.., vocab_size]` of normalised hidden states `[.., hidden_size]`.
    ///
    /// # Errors
    /// When the width differs.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.lm_head.forward(hidden)
    }

    /// The additive mask `[batch or 1, 1, tokens, start + tokens]`; none for a single new token, which sees everything.
    fn mask(
        &self,
        embeddings: &Tensor,
        start: usize,
        attention_mask: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let (_, tokens, _) = embeddings.dims3()?;
        if tokens == 1 && attention_mask.is_none() {
            return Ok(None);
        }
        let (dtype, device) = (embeddings.dtype(), embeddings.device());
        let causal = ops::causal_mask(tokens, start + tokens, dtype, device)?.reshape((
            1,
            1,
            tokens,
            start + tokens,
        ))?;
        let Some(attention_mask) = attention_mask else { return Ok(Some(causal)) };
        // The lowest of the two masks rather than their sum, which would overflow to -inf and give NaN rows.
        let hidden_keys = attention_mask.to_dtype(DType::F32)?.affine(-1.0, 1.0)?;
        let lowest =
            if dtype == DType::F32 { f64::from(f32::MIN) } else { f64::from(f32::from_bits(0xff7f_0000)) };
        let padding = (hidden_keys * lowest)?.to_dtype(dtype)?.unsqueeze(1)?.unsqueeze(1)?;
        Ok(Some(causal.broadcast_minimum(&padding)?))
    }
}

#[derive(Debug, Clone)]
struct DecoderLayer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl DecoderLayer {
    fn load(config: &LlamaConfig, weights: &Weights) -> Loaded<Self> {
        let (width, inner, epsilon) = (config.hidden_size, config.intermediate_size, config.rms_norm_eps);
        let mlp = weights.pp("mlp");
        Ok(Self {
            input_layernorm: RmsNorm::load(width, epsilon, &weights.pp("input_layernorm"))?,
            self_attn: Attention::load(config, &weights.pp("self_attn"))?,
            post_attention_layernorm: RmsNorm::load(width, epsilon, &weights.pp("post_attention_layernorm"))?,
            gate_proj: Linear::load_without_bias(width, inner, &mlp.pp("gate_proj"))?,
            up_proj: Linear::load_without_bias(width, inner, &mlp.pp("up_proj"))?,
            down_proj: Linear::load_without_bias(inner, width, &mlp.pp("down_proj"))?,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        rotary: &RotaryTables,
        start: usize,
        mask: Option<&Tensor>,
        cache: Option<(&mut KeyValueCache, usize)>,
    ) -> Result<Tensor> {
        let attended =
            self.self_attn.forward(&self.input_layernorm.forward(x)?, rotary, start, mask, cache)?;
        let x = (x + attended)?;
        let normalized = self.post_attention_layernorm.forward(&x)?;
        let gate = ops::silu(&self.gate_proj.forward(&normalized)?)?;
        let inner = (gate * self.up_proj.forward(&normalized)?)?;
        &x + self.down_proj.forward(&inner)?
    }
}

#[derive(Debug, Clone)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    heads: usize,
    key_value_heads: usize,
    head_dim: usize,
}

impl Attention {
    fn load(config: &LlamaConfig, weights: &Weights) -> Loaded<Self> {
        let (width, head_dim) = (config.hidden_size, config.head_dim());
        let (query, key_value) = (config.num_attention_heads * head_dim, config.key_value_heads() * head_dim);
        let load = |input, output, name: &str| Linear::load_without_bias(input, output, &weights.pp(name));
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

    fn forward(
        &self,
        x: &Tensor,
        rotary: &RotaryTables,
        start: usize,
        mask: Option<&Tensor>,
        cache: Option<(&mut KeyValueCache, usize)>,
    ) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        let split = |x: Tensor, heads| {
            x.reshape((batch, tokens, heads, self.head_dim))?.transpose(1, 2)?.contiguous()
        };
        let query = ops::apply_rotary(&split(self.q_proj.forward(x)?, self.heads)?, rotary, start)?;
        let key = ops::apply_rotary(&split(self.k_proj.forward(x)?, self.key_value_heads)?, rotary, start)?;
        let value = split(self.v_proj.forward(x)?, self.key_value_heads)?;
        let (key, value) = match cache {
            Some((cache, layer)) => cache.append(layer, key, value)?,
            None => (key, value),
        };
        let groups = self.heads / self.key_value_heads;
        let (key, value) = (ops::repeat_key_value(&key, groups)?, ops::repeat_key_value(&value, groups)?);
        // The scores are divided after the product, where half precision has rounded them, as in the reference's eager attention.
        let mixed = ops::attention(&query, &key, &value, &|scores, _| {
            let scores = ops::divide(&scores, (self.head_dim as f64).sqrt())?;
            mask.map_or(Ok(scores.clone()), |mask| scores.broadcast_add(mask))
        })?;
        self.o_proj.forward(&mixed.transpose(1, 2)?.reshape((batch, tokens, self.heads * self.head_dim))?)
    }
}
