//! The model that maskwise carries inside, as the files of its folder: bytes, and nothing that reads them. The crate `maskwise` links it
//! by its feature `embedded-model`. Its card follows.
//!
#![doc = include_str!("../CARD.md")]

/// What the model is called.
pub const NAME: &str = "maskwise-mini";

/// Which version of its weights this is; it changes whenever they do.
pub const VERSION: &str = "2";

/// What it can and cannot do, how it was made and measured: `CARD.md`.
pub const CARD: &str = include_str!("../CARD.md");

/// The files of the model's folder: path from the folder (`/` between its parts) and content.
pub static FILES: &[(&str, &[u8])] = &[
    ("added_tokens.json", include_bytes!("../model/added_tokens.json")),
    ("config.json", include_bytes!("../model/config.json")),
    ("maskwise.json", include_bytes!("../model/maskwise.json")),
    ("model.safetensors", include_bytes!("../model/model.safetensors")),
    ("special_tokens_map.json", include_bytes!("../model/special_tokens_map.json")),
    ("tokenizer.model", include_bytes!("../model/tokenizer.model")),
    ("tokenizer_config.json", include_bytes!("../model/tokenizer_config.json")),
    ("vision_tower/config.json", include_bytes!("../model/vision_tower/config.json")),
    ("vision_tower/model.safetensors", include_bytes!("../model/vision_tower/model.safetensors")),
    (
        "vision_tower/preprocessor_config.json",
        include_bytes!("../model/vision_tower/preprocessor_config.json"),
    ),
];
