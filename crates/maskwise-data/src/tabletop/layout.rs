//! Tabletop pictures as files in the layouts of the published datasets (spec section 6), for the readers of those.

use super::{Question, QuestionWeights, Sample, SceneError, Split, World};
use crate::atomic::{WriteError, write_new_folder};
use ::image::RgbImage;
use ::image::codecs::jpeg::JpegEncoder;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;
use thiserror::Error;

mod json_lines;
mod reason_seg;
mod refer;

/// Quality of the pictures, 1 to 100.
const JPEG_QUALITY: u8 = 95;

/// A layout of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `<split>/*.jpg` with a LabelMe JSON each: one question, and SESAME's false premises (spec 6.3).
    ReasonSeg,
    /// `refcoco/refs(…).p` and `refcoco/instances.json`: true expressions (spec 6.2).
    RefCoco,
    /// `fprefcoco/refs(…).p` and `fprefcoco/instances.json`: true and false expressions (spec 6.2).
    FpRefCoco,
    /// `<split>.jsonl` with a line for each question: our own layout, see [`crate::dataset::JsonLine`].
    JsonLines,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 4] = [Layout::ReasonSeg, Layout::RefCoco, Layout::FpRefCoco, Layout::JsonLines];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Layout::ReasonSeg => "reasonseg",
            Layout::RefCoco => "refcoco",
            Layout::FpRefCoco => "fp-refcoco",
            Layout::JsonLines => "jsonl",
        }
    }
}

impl Display for Layout {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Layout::ALL.into_iter().find(|layout| layout.name() == text).ok_or_else(|| {
            format!("there is no layout `{text}`; choose reasonseg, refcoco, fp-refcoco or jsonl")
        })
    }
}

/// Why a dataset could not be written.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// A file or folder could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A picture could not be drawn.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// Nothing was asked for.
    #[error("a dataset of no pictures cannot be read; ask for at least one")]
    NoPictures,
}

/// Writes the first `count` pictures of `world` into `folder`, which must be empty or new; `progress` hears how many are done.
///
/// ReasonSeg has one question and at least one false premise a picture, the others up to as many as the world asks. The folder
/// appears when all of it is written.
///
/// # Errors
/// [`LayoutError`]; nothing is left behind.
pub fn write_layout(
    world: &World,
    layout: Layout,
    folder: &Path,
    count: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<(), LayoutError> {
    if count == 0 {
        return Err(LayoutError::NoPictures);
    }
    write_new_folder(folder, |part| match layout {
        Layout::ReasonSeg => reason_seg::write(world, part, count, progress),
        Layout::JsonLines => json_lines::write(world, part, count, progress),
        Layout::RefCoco | Layout::FpRefCoco => refer::write(world, layout, part, count, progress),
    })
}

fn failed(path: &Path, source: io::Error) -> LayoutError {
    WriteError::from_io(path, source).into()
}

fn create_folder(path: &Path) -> Result<(), LayoutError> {
    fs::create_dir_all(path).map_err(|source| failed(path, source))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
    fs::write(path, bytes).map_err(|source| failed(path, source))
}

fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), LayoutError> {
    let bytes = serde_json::to_vec(value).map_err(|error| failed(path, error.into()))?;
    write_file(path, &bytes)
}

fn write_jpeg(path: &Path, image: &RgbImage) -> Result<(), LayoutError> {
    let mut bytes = Vec::new();
    let encoded = image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY));
    encoded.map_err(|error| failed(path, io::Error::other(error)))?;
    write_file(path, &bytes)
}

/// Picture `index` with at least one true and one false question, where the picture has both.
fn both_premises(world: &World, index: u64) -> Result<Sample, LayoutError> {
    let mut sample = world.sample(index)?;
    for (weights, exists) in [(QuestionWeights::true_only(), true), (QuestionWeights::false_only(), false)] {
        if !sample.questions.iter().any(|question| question.exists() == exists) {
            // Of a stream that no picture uses.
            let mut rng = world.split().rng(!index, index);
            sample.questions.extend(world.ask(&mut rng, &sample.scene, &weights, 1));
        }
    }
    Ok(sample)
}

/// What the layouts keep of a question: a sentence as it is, or the noun phrase.
fn text_of(question: &Question) -> (&str, bool) {
    if question.sentence { (&question.text, true) } else { (&question.phrase, false) }
}

/// What ReasonSeg calls the folder of a split.
fn folder_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Validation => "val",
        Split::Test => "test",
        Split::Unseen => "unseen",
    }
}

/// What RefCOCO calls a split: the test that is like the training, and the other.
fn refer_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Validation => "val",
        Split::Test => "testA",
        Split::Unseen => "testB",
    }
}

#[cfg(test)]
mod tests;
