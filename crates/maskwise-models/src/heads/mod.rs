//! Heads that plug onto a language model that emits `[SEG]`.

pub mod similarity_points;
mod text_hidden_fcs;

pub use text_hidden_fcs::TextHiddenFcs;
