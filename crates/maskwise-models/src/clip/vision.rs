use super::ClipVisionConfig;
use candle_core::{Result, Tensor};
use maskwise_nn::layers::{Conv2d, LayerNorm, Linear};
use maskwise_nn::ops::{self, Activation, KeyRanges};
use maskwise_nn::weights::{Loaded, Weights};

/// CLIP's vision transformer up to a chosen layer.
#[derive(Debug, Clone)]
pub struct ClipVisionModel {
    class_embedding: Tensor,
    patch_embedding: Conv2d,
    position_embedding: Tensor,
    pre_layernorm: LayerNorm,
    layers: Vec<EncoderLayer>,
    config: ClipVisionConfig,
}

impl ClipVisionModel {
    /// Loads the tower's first `depth` layers from `weights` standing at the root of a CLIP state dict; their linear layers in the quantization
    /// of `weights`.
    ///
    /// What the tower does not need of a CLIP (text tower, projections, later layers) is declared as known.
    ///
    /// # Errors
    /// When reading fails; missing and mis-shaped tensors are reported by [`Weights::finish`].
    pub fn load(config: &ClipVisionConfig, depth: usize, weights: &Weights) -> Loaded<Self> {
        let width = config.hidden_size;
        let (tokens, patch) = (config.grid() * config.grid() + 1, config.patch_size);
        let vision = weights.pp("vision_model");
        let embeddings = vision.pp("embeddings");
        // A missing patch embedding is reported with the others, under its published shape.
        let patches = embeddings.pp("patch_embedding");
        patches.get(&[width, 3, patch, patch], "weight")?;
        let layers = (0..depth)
            .map(|index| EncoderLayer::load(config, &vision.pp("encoder.layers").pp(index)))
            .collect::<std::result::Result<_, _>>()?;
        let later = |name: &str| {
            let index =
                name.strip_prefix("vision_model.encoder.layers.").and_then(|rest| rest.split('.').next());
            index.and_then(|index| index.parse::<usize>().ok()).is_some_and(|index| index >= depth)
        };
        const UNUSED: [&str; 6] = [
            "text_model.",
            "logit_scale",
            "text_projection.",
            "visual_projection.",
            "vision_model.post_layernorm.",
            "vision_model.embeddings.position_ids",
        ];
        weights.ignore(|name| UNUSED.iter().any(|prefix| name.starts_with(prefix)) || later(name));
        Ok(Self {
            class_embedding: embeddings.get(&[width], "class_embedding")?,
            patch_embedding: Conv2d::load(0, false, &patches)?,
            position_embedding: embeddings.get(&[tokens, width], "position_embedding.weight")?,
            pre_layernorm: LayerNorm::load(width, config.layer_norm_eps, &vision.pp("pre_layrnorm"))?,
            layers,
            config: config.clone(),
        })
    }

    /// The hidden state after the last loaded layer, class token included: `pixels` `[batch, 3, size, size]` to
    /// `[batch, 1 + grid², hidden_size]`.
    ///
    /// # Errors
    /// When the pixels have another size.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        self.forward_observed(pixels, &mut |_, _| ())
    }

    /// As [`ClipVisionModel::forward`], calling `observe(index, hidden_state)` for the embeddings (index 0) and after each layer.
    ///
    /// # Errors
    /// As [`ClipVisionModel::forward`].
    pub fn forward_observed(
        &self,
        pixels: &Tensor,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor> {
        let batch = pixels.dim(0)?;
        let width = self.config.hidden_size;
        let patches = self.patch_embedding.forward_patches(pixels)?.reshape((batch, (), width))?;
        let class = self.class_embedding.reshape((1, 1, width))?.broadcast_as((batch, 1, width))?;
        let embedded = Tensor::cat(&[&class, &patches], 1)?.broadcast_add(&self.position_embedding)?;
        let hidden = self.pre_layernorm.forward(&embedded)?;
        observe(0, &hidden);
        self.forward_layers(&hidden, observe)
    }

    /// The layers alone, on normalised embeddings `[batch, tokens, hidden_size]`; `observe` as above, from index 1.
    ///
    /// # Errors
    /// When the width differs.
    pub fn forward_layers(
        &self,
        embedded: &Tensor,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor> {
        let mut hidden = embedded.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            hidden = layer.forward(&hidden)?;
            observe(index + 1, &hidden);
        }
        Ok(hidden)
    }

    /// The image features that LLaVA takes (`mm_vision_select_feature = "patch"`): [`ClipVisionModel::forward`] without the
    /// class token, `[batch, grid², hidden_size]`.
    ///
    /// # Errors
    /// As [`ClipVisionModel::forward`].
    pub fn patch_features(&self, pixels: &Tensor) -> Result<Tensor> {
        let hidden = self.forward(pixels)?;
        hidden.narrow(1, 1, hidden.dim(1)? - 1)
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &ClipVisionConfig {
        &self.config
    }
}

#[derive(Debug, Clone)]
struct EncoderLayer {
    layer_norm1: LayerNorm,
    self_attn: Attention,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
}

impl EncoderLayer {
    fn load(config: &ClipVisionConfig, weights: &Weights) -> Loaded<Self> {
        let (width, inner, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let load = |input, output, name: &str| {
            Linear::load(input, output, &weights.pp(name))?.quantized(weights.quantization())
        };
        Ok(Self {
            layer_norm1: LayerNorm::load(width, epsilon, &weights.pp("layer_norm1"))?,
            self_attn: Attention::load(config, &weights.pp("self_attn"))?,
            layer_norm2: LayerNorm::load(width, epsilon, &weights.pp("layer_norm2"))?,
            fc1: load(width, inner, "mlp.fc1")?,
            fc2: load(inner, width, "mlp.fc2")?,
            activation: if config.hidden_act == "gelu" { Activation::GeluErf } else { Activation::QuickGelu },
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = (x + self.self_attn.forward(&self.layer_norm1.forward(x)?)?)?;
        let inner = self.fc1.forward_then(&self.layer_norm2.forward(&x)?, self.activation)?;
        &x + self.fc2.forward(&inner)?
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
    fn load(config: &ClipVisionConfig, weights: &Weights) -> Loaded<Self> {
        let width = config.hidden_size;
        let load =
            |name: &str| Linear::load(width, width, &weights.pp(name))?.quantized(weights.quantization());
        Ok(Self {
            q_proj: load("q_proj")?,
            k_proj: load("k_proj")?,
            v_proj: load("v_proj")?,
            out_proj: load("out_proj")?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let head_dim = width / self.heads;
        let scale = (head_dim as f64).powf(-0.5);
        if ops::on_cpu_in_f32(x) {
            let [query, key, value] =
                [&self.q_proj, &self.k_proj, &self.v_proj].map(|layer| layer.forward(x));
            let full = KeyRanges::full(tokens, tokens);
            let mixed = ops::ranged_attention(&query?, &key?, &value?, self.heads, scale, &full)?;
            return self.out_proj.forward(&mixed);
        }
        let split = |x: Tensor| x.reshape((batch, tokens, self.heads, head_dim))?.transpose(1, 2);
        // The query is scaled right after its projection, in the tower's dtype.
        let query = split(ops::multiply(&self.q_proj.forward(x)?, scale)?)?;
        let (key, value) = (split(self.k_proj.forward(x)?)?, split(self.v_proj.forward(x)?)?);
        let mixed = ops::attention(&query, &key, &value, &|scores, _| Ok(scores))?;
        self.out_proj.forward(&mixed.transpose(1, 2)?.reshape((batch, tokens, width))?)
    }
}
