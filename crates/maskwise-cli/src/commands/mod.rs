//! The commands.

pub(crate) mod analyze;
pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod dataset;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod inspect;
pub(crate) mod man;
pub(crate) mod pull;
pub(crate) mod segment;
pub(crate) mod synth;
pub(crate) mod train;

/// Bytes as a person reads them.
fn human_bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

use maskwise::data::dataset::IndexCache;
use maskwise::hub::Environment;

/// Where the indices of datasets are kept.
fn index_cache() -> IndexCache {
    Environment::from_env().dataset_cache().map_or_else(IndexCache::none, IndexCache::at)
}
