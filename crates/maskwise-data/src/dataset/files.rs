//! Reading a dataset's files with errors that name them.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use std::sync::{Arc, Mutex, PoisonError};

use super::DatasetError;
use crate::image::{DecodeOptions, RgbImage, decode_path};

pub(super) fn unreadable(path: &Path, reason: impl Into<String>) -> DatasetError {
    DatasetError::Layout { path: path.to_owned(), reason: reason.into() }
}

pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, DatasetError> {
    std::fs::read(path).map_err(|error| unreadable(path, format!("cannot be read: {error}")))
}

pub(super) fn parse_json<'a, T: Deserialize<'a>>(path: &Path, text: &'a [u8]) -> Result<T, DatasetError> {
    serde_json::from_slice(text).map_err(|error| unreadable(path, error.to_string()))
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, DatasetError> {
    parse_json(path, &read_bytes(path)?)
}

pub(super) fn decode(path: &Path) -> Result<RgbImage, DatasetError> {
    Ok(decode_path(path, &DecodeOptions::default())?)
}

/// The files of a folder, sorted by name.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let failed = |error: std::io::Error| unreadable(folder, format!("cannot be listed: {error}"));
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    files.sort();
    Ok(files)
}

/// Whether the name ends with one of these endings, in lower case, whatever the case in the name.
pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase);
    extension.is_some_and(|extension| extensions.contains(&&*extension))
}

/// Checks that a picture has the size (width, height) that `said_by` says.
pub(super) fn check_size(
    image: &RgbImage,
    path: &Path,
    said: (usize, usize),
    said_by: &Path,
) -> Result<(), DatasetError> {
    let found = (image.width() as usize, image.height() as usize);
    match found == said {
        true => Ok(()),
        false => Err(DatasetError::Size { path: path.to_owned(), found, said_by: said_by.to_owned(), said }),
    }
}

/// The path of a dataset's file from the dataset's folder on, `/` between its parts: the same on every machine.
pub(super) fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string().replace('\\', "/")
}

/// The picture that was decoded last: questions of one picture stand one after the other.
#[derive(Default)]
pub(super) struct LastPicture(Mutex<Option<(PathBuf, Arc<RgbImage>)>>);

impl LastPicture {
    pub(super) fn decode(&self, path: &Path) -> Result<Arc<RgbImage>, DatasetError> {
        let held = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, image)) = held().as_ref().filter(|(last, _)| last == path) {
            return Ok(image.clone());
        }
        let image = Arc::new(decode(path)?);
        *held() = Some((path.to_owned(), image.clone()));
        Ok(image)
    }
}
