use serde::{Deserialize, Serialize};

/// The fields of a CLIP `config.json` that the vision tower needs; the defaults are those of the published format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipVisionConfig {
    /// Width of the hidden states (1024 for ViT-L).
    pub hidden_size: usize,
    /// Width inside the MLP (4096 for ViT-L).
    pub intermediate_size: usize,
    /// Number of transformer layers (24 for ViT-L).
    pub num_hidden_layers: usize,
    /// Number of attention heads (16 for ViT-L).
    pub num_attention_heads: usize,
    /// Side of the square input in pixels (224 or 336).
    pub image_size: usize,
    /// Side of a patch in pixels (14).
    pub patch_size: usize,
    /// Epsilon of the layer normalisations.
    pub layer_norm_eps: f64,
    /// `quick_gelu`, or `gelu` for the exact one.
    pub hidden_act: String,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            layer_norm_eps: 1e-5,
            hidden_act: "quick_gelu".to_owned(),
        }
    }
}

impl ClipVisionConfig {
    /// Reads a `config.json`: of a vision tower alone, or of a whole CLIP, whose `vision_config` is taken.
    ///
    /// # Errors
    /// With the field at fault, when the JSON is malformed or a size is zero or does not divide.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let vision = value.get("vision_config").unwrap_or(&value).clone();
        let config: Self = serde_json::from_value(vision).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(config)
    }

    /// Patches along one side.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("patch_size", self.patch_size),
            ("image_size", self.image_size),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(format!("{name} is 0"));
        }
        // Far beyond any tower: sizes that would only exhaust the memory.
        let limits = [
            ("num_hidden_layers", self.num_hidden_layers, 1_000),
            ("image_size", self.image_size, 1 << 13),
            ("hidden_size", self.hidden_size, 1 << 17),
            ("intermediate_size", self.intermediate_size, 1 << 19),
        ];
        if let Some((name, size, limit)) = limits.iter().find(|(_, size, limit)| size > limit) {
            return Err(format!("{name} is {size}; at most {limit} is taken"));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let (width, heads) = (self.hidden_size, self.num_attention_heads);
            return Err(format!("hidden_size {width} is not a multiple of num_attention_heads {heads}"));
        }
        if self.grid() == 0 {
            return Err(format!(
                "image_size {} is smaller than patch_size {}",
                self.image_size, self.patch_size
            ));
        }
        if !["quick_gelu", "gelu"].contains(&self.hidden_act.as_str()) {
            return Err(format!(
                "hidden_act `{}` is not known; known are quick_gelu and gelu",
                self.hidden_act
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_clip_gives_its_vision_part() {
        let text = r#"{"text_config": {"hidden_size": 7}, "vision_config": {"hidden_size": 1024, "image_size": 336,
            "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14}}"#;
        let config = ClipVisionConfig::from_json(text).unwrap();
        assert_eq!((config.hidden_size, config.grid(), config.layer_norm_eps), (1024, 24, 1e-5));
    }

    #[test]
    fn nonsense_is_refused_by_field() {
        for (text, field) in [
            (r#"{"hidden_size": 10, "num_attention_heads": 3}"#, "num_attention_heads"),
            (r#"{"patch_size": 0}"#, "patch_size"),
            (r#"{"hidden_act": "relu"}"#, "hidden_act"),
            (r#"{"image_size": 7}"#, "image_size"),
        ] {
            assert!(ClipVisionConfig::from_json(text).unwrap_err().contains(field), "{text}");
        }
    }
}
