//! Arguments of `maskwise synth`.

use clap::{ArgGroup, Args};
use maskwise::tabletop::{Layout, Split};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["output", "show"])))]
#[command(
    after_help = "The same seed, split and size give the same pictures and questions on every machine. No two splits share a picture, \
and what is special about `unseen` (wordings, and kinds in certain colours) occurs nowhere else."
)]
pub(crate) struct SynthArguments {
    /// Write a dataset into this folder, which must be new or empty.
    #[arg(long, short, value_name = "DIR", requires = "layout")]
    pub(crate) output: Option<PathBuf>,
    /// The layout of its files, that of the published dataset.
    #[arg(long, value_name = "reasonseg|refcoco|fp-refcoco", requires = "output")]
    pub(crate) layout: Option<Layout>,
    /// Draw a contact sheet into this PNG file: pictures with a question, its answer and what is meant.
    #[arg(long, value_name = "FILE")]
    pub(crate) show: Option<PathBuf>,
    /// Which part of the world: train, validation, test or unseen.
    #[arg(long, default_value = "train", value_name = "SPLIT")]
    pub(crate) split: Split,
    /// How many pictures: 1000 for a dataset, 24 for a contact sheet.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Which world.
    #[arg(long, default_value_t = 0, value_name = "S")]
    pub(crate) seed: u64,
    /// Columns and rows of a picture, 64 to 2048.
    #[arg(long, default_value_t = 256, value_name = "PIXELS")]
    pub(crate) size: usize,
}
