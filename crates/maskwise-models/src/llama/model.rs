use super::attention::{Attention, Placement};
use super::{KeyValueCache, LlamaConfig};
use candle_core::{DType, Result, Tensor};
use maskwise_nn::layers::{Embedding, Linear, RmsNorm};
use maskwise_nn::ops::{self, KeyRanges, RotaryTables};
use maskwise_nn::weights::{Loaded, Quantization, Weights};

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
    /// dict; attention and MLP in the quantization of `weights`. The stored rotary frequencies (`rotary_emb.inv_freq`) are known and recomputed.
    ///
    /// # Errors
    /// When reading fails; missing and mis-shaped tensors are reported by [`Weights::finish`].
    pub fn load(config: &LlamaConfig, weights: &Weights) -> Loaded<Self> {
        let model = weights.pp("model");
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for index in 0..config.num_hidden_layers {
            layers.push(DecoderLayer::load(config, &model.pp("layers").pp(index))?);
        }
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

    /// Keeps the weight of the output head otherwise.
    ///
    /// # Errors
    /// As [`Linear::quantized`].
    pub fn keep_head_as(&mut self, quantization: Quantization) -> Loaded<()> {
        self.lm_head = self.lm_head.clone().quantized(quantization)?;
        Ok(())
    }

    /// The linear layers of attention and MLP by their names in the state dict, without `.weight`: where LoRA is put.
    pub fn projections_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        self.layers.iter_mut().enumerate().flat_map(|(index, layer)| {
            let named = layer.projections_mut().into_iter();
            named.map(move |(name, linear)| (format!("model.layers.{index}.{name}"), linear))
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
        self.check_positions(start + tokens)?;
        let placement = self.place(embeddings, start, attention_mask)?;
        let states = self.run(embeddings, &placement, cache.as_deref_mut(), observe)?;
        if let Some(cache) = cache {
            cache.advance(tokens);
        }
        Ok(states)
    }

    /// An error where the context holds fewer than so many positions.
    pub(crate) fn check_positions(&self, positions: usize) -> Result<()> {
        let most = self.config.max_position_embeddings;
        if positions > most {
            candle_core::bail!(
                "{positions} positions are more than the model's {most} (max_position_embeddings)"
            );
        }
        Ok(())
    }

    /// The hidden states after the final normalisation of tokens packed into one row, as when several continuations share a prefix:
    /// `embeddings` `[batch, tokens, hidden_size]` to the same shape.
    ///
    /// Token `t` stands at `positions[t]`, whatever its place in the row, and sees the keys of `ranges`, one for each token or for
    /// each token of each row of the batch; the keys are the tokens themselves.
    ///
    /// # Errors
    /// When a position is not below `max_position_embeddings`, a range ends beyond the tokens, or counts do not fit.
    pub fn forward_packed(
        &self,
        embeddings: &Tensor,
        positions: &[u32],
        ranges: &[KeyRanges],
    ) -> Result<Tensor> {
        self.forward_packed_observed(embeddings, positions, ranges, &mut |_, _| ())
    }

    /// As [`LlamaModel::forward_packed`], calling `observe(index, hidden_state)` after each layer, before the final normalisation.
    ///
    /// # Errors
    /// As [`LlamaModel::forward_packed`].
    pub fn forward_packed_observed(
        &self,
        embeddings: &Tensor,
        positions: &[u32],
        ranges: &[KeyRanges],
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor> {
        self.run(embeddings, &packed(positions, ranges), None, observe)
    }

    /// As [`LlamaModel::forward_packed`], with the keys of a cache that was [arranged](KeyValueCache::arrange) with room for the tokens: token
    /// `t` takes position `places[t]` of the cache, and ranges count the cache's positions, those of these tokens among them.
    ///
    /// # Errors
    /// When a place is not stored in the cache, or as [`LlamaModel::forward_packed`].
    pub fn forward_packed_into(
        &self,
        embeddings: &Tensor,
        positions: &[u32],
        ranges: &[KeyRanges],
        cache: &mut KeyValueCache,
        places: &[u32],
    ) -> Result<Tensor> {
        let (positions, ranges) = (positions.to_vec(), ranges.to_vec());
        let placement = Placement::Ranges { positions, ranges, places: Some(places.to_vec()) };
        self.run(embeddings, &placement, Some(cache), &mut |_, _| ())
    }

    /// Layer `index` alone on `hidden` `[batch, tokens, hidden_size]`, placed as in [`LlamaModel::forward_packed`], which is all layers
    /// one after the other and then [`LlamaModel::normalize`].
    ///
    /// # Errors
    /// When there is no such layer, or as [`LlamaModel::forward_packed`].
    pub fn forward_layer_packed(
        &self,
        index: usize,
        hidden: &Tensor,
        positions: &[u32],
        ranges: &[KeyRanges],
    ) -> Result<Tensor> {
        let Some(layer) = self.layers.get(index) else {
            candle_core::bail!("there is no layer {index} among {}", self.layers.len());
        };
        layer.forward(hidden, &self.rotary, &packed(positions, ranges), None)
    }

    /// The final normalisation of what the last layer gives.
    ///
    /// # Errors
    /// When the width differs.
    pub fn normalize(&self, hidden: &Tensor) -> Result<Tensor> {
        self.norm.forward(hidden)
    }

    fn run(
        &self,
        embeddings: &Tensor,
        placement: &Placement,
        mut cache: Option<&mut KeyValueCache>,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor> {
        let mut hidden = embeddings.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            let cached = cache.as_deref_mut().map(|cache| (cache, index));
            hidden = layer.forward(&hidden, &self.rotary, placement, cached)?;
            observe(index, &hidden);
        }
        self.normalize(&hidden)
    }

    /// The logits `[.., vocab_size]` of normalised hidden states `[.., hidden_size]`.
    ///
    /// # Errors
    /// When the width differs.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.lm_head.forward(hidden)
    }

    /// Consecutive positions from `start` on and causal attention; by ranges of keys where the kernels take them.
    fn place(&self, embeddings: &Tensor, start: usize, attention_mask: Option<&Tensor>) -> Result<Placement> {
        let (batch, tokens, _) = embeddings.dims3()?;
        if ops::on_cpu_in_f32(embeddings)
            && let Some(ranges) = causal_ranges(batch, tokens, start, attention_mask)?
        {
            let positions = (start as u32..(start + tokens) as u32).collect();
            return Ok(Placement::Ranges { positions, ranges, places: None });
        }
        Ok(Placement::Mask { start, mask: self.mask(embeddings, start, attention_mask)? })
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

fn packed(positions: &[u32], ranges: &[KeyRanges]) -> Placement {
    Placement::Ranges { positions: positions.to_vec(), ranges: ranges.to_vec(), places: None }
}

/// What each token sees, if the tokens that are not padding come first in every row of `attention_mask` `[batch, keys]`.
fn causal_ranges(
    batch: usize,
    tokens: usize,
    start: usize,
    attention_mask: Option<&Tensor>,
) -> Result<Option<Vec<KeyRanges>>> {
    let keys = start + tokens;
    let causal = KeyRanges::causal(tokens, keys);
    let Some(attention_mask) = attention_mask else { return Ok(Some(causal)) };
    if attention_mask.dims() != [batch, keys] {
        return Ok(None);
    }
    let mut ranges = Vec::with_capacity(batch * tokens);
    for row in attention_mask.to_dtype(DType::U8)?.to_vec2::<u8>()? {
        let kept = row.iter().take_while(|kept| **kept == 1).count();
        if kept == 0 || row[kept..].iter().any(|hidden| *hidden != 0) {
            return Ok(None);
        }
        ranges.extend(causal.iter().map(|range| KeyRanges::up_to(kept.min(range.end as usize))));
    }
    Ok(Some(ranges))
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
        let load = |input, output, name: &str| {
            Linear::load_without_bias(input, output, &weights.pp("mlp").pp(name))?
                .quantized(weights.quantization())
        };
        Ok(Self {
            input_layernorm: RmsNorm::load(width, epsilon, &weights.pp("input_layernorm"))?,
            self_attn: Attention::load(config, &weights.pp("self_attn"))?,
            post_attention_layernorm: RmsNorm::load(width, epsilon, &weights.pp("post_attention_layernorm"))?,
            gate_proj: load(width, inner, "gate_proj")?,
            up_proj: load(width, inner, "up_proj")?,
            down_proj: load(inner, width, "down_proj")?,
        })
    }

    fn projections_mut(&mut self) -> [(&'static str, &mut Linear); 7] {
        let attention = &mut self.self_attn;
        [
            ("self_attn.q_proj", &mut attention.q_proj),
            ("self_attn.k_proj", &mut attention.k_proj),
            ("self_attn.v_proj", &mut attention.v_proj),
            ("self_attn.o_proj", &mut attention.o_proj),
            ("mlp.gate_proj", &mut self.gate_proj),
            ("mlp.up_proj", &mut self.up_proj),
            ("mlp.down_proj", &mut self.down_proj),
        ]
    }

    fn forward(
        &self,
        x: &Tensor,
        rotary: &RotaryTables,
        placement: &Placement,
        cache: Option<(&mut KeyValueCache, usize)>,
    ) -> Result<Tensor> {
        let attended = self.self_attn.forward(&self.input_layernorm.forward(x)?, rotary, placement, cache)?;
        let x = (x + attended)?;
        let normalized = self.post_attention_layernorm.forward(&x)?;
        let (gate, up) = (self.gate_proj.forward(&normalized)?, self.up_proj.forward(&normalized)?);
        let inner = ops::silu_times(&gate, &up)?;
        &x + self.down_proj.forward(&inner)?
    }
}
