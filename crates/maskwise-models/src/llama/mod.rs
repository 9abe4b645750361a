//! LLaMA (spec 1.10), as `LlamaModel` of the reference.

mod attention;
mod cache;
mod config;
mod model;

pub use cache::KeyValueCache;
pub use config::LlamaConfig;
pub use model::LlamaModel;
