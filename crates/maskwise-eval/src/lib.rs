//! Evaluation: what models answer, measured.
//!
//! [`tabletop`] asks a model about pictures of the Tabletop world and lets it write its answers; [`Summary`] makes tables of it.

mod sample;
mod summary;
pub mod tabletop;

pub use sample::Sample;
pub use summary::{Interval, Row, Summary};

/// Why an evaluation stopped.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The model refused an item.
    #[error("{id}: {source}")]
    Model {
        /// The item.
        id: String,
        /// What the model says.
        source: Box<maskwise::Error>,
    },
    /// The benchmark cannot be made as asked for.
    #[error("{0}")]
    Benchmark(String),
}
