use serde::Deserialize;

/// The fields of a LLaMA or LLaVA `config.json` that the language model needs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LlamaConfig {
    /// Rows of the embedding table and of the output head.
    pub vocab_size: usize,
    /// Width of the hidden states (4096 for 7B, 5120 for 13B).
    pub hidden_size: usize,
    /// Width inside the gated MLP (11008 for 7B, 13824 for 13B).
    pub intermediate_size: usize,
    /// Number of decoder layers (32 for 7B, 40 for 13B).
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; equal to the query heads if absent.
    #[serde(default)]
    pub num_key_value_heads: Option<usize>,
    /// Epsilon of the RMS normalisations (1e-6 for LLaMA-1, 1e-5 for LLaVA-1.5).
    #[serde(default = "default_rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// Longest sequence, image tokens included.
    #[serde(default = "default_max_position_embeddings")]
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
    /// Scaling of the rotary positions; must be absent or null.
    #[serde(default)]
    pub rope_scaling: Option<serde_json::Value>,
    /// Activation of the MLP; must be `silu`.
    #[serde(default = "default_hidden_act")]
    pub hidden_act: String,
}

fn default_rms_norm_eps() -> f64 {
    1e-6
}

fn default_max_position_embeddings() -> usize {
    2048
}

fn default_rope_theta() -> f64 {
    10_000.0
}

fn default_hidden_act() -> String {
    "silu".to_owned()
}

impl LlamaConfig {
    /// Key and value heads.
    pub fn key_value_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.key_value_heads()),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(format!("{name} is 0"));
        }
        // Far beyond any model of this kind: sizes that would only exhaust the memory.
        let limits = [
            ("num_hidden_layers", self.num_hidden_layers, 1_000),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 20),
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 17),
            ("intermediate_size", self.intermediate_size, 1 << 19),
        ];
        if let Some((name, size, limit)) = limits.iter().find(|(_, size, limit)| size > limit) {
            return Err(format!("{name} is {size}; at most {limit} is taken"));
        }
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        if !width.is_multiple_of(heads) || !self.head_dim().is_multiple_of(2) {
            return Err(format!(
                "hidden_size {width} does not split into {heads} heads (num_attention_heads) of even width"
            ));
        }
        if !heads.is_multiple_of(self.key_value_heads()) {
            let groups = self.key_value_heads();
            return Err(format!(
                "num_attention_heads {heads} is not a multiple of num_key_value_heads {groups}"
            ));
        }
        if self.rope_scaling.as_ref().is_some_and(|scaling| !scaling.is_null()) {
            return Err(
                "rope_scaling is set; scaled rotary positions are not part of these models".to_owned()
            );
        }
        if self.hidden_act != "silu" {
            return Err(format!("hidden_act `{}` is not known; LLaMA uses silu", self.hidden_act));
        }
        Ok(())
    }
}
