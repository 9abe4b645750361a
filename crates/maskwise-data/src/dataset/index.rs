//! What opening a dataset finds out, kept so that the next opening is quick.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::DatasetError;
use super::files::{parse_json, read_bytes, unreadable};
use crate::atomic::write_json;
use crate::fingerprint::hexadecimal;

/// A folder of indices, one for each dataset that was opened with it.
///
/// An index says where in the files each question stands. It holds as long as no file has changed its size or its time. One that is
/// missing, damaged or outdated is made again; where the folder cannot be written, every opening takes as long as the first.
#[derive(Clone, Debug, Default)]
pub struct IndexCache {
    folder: Option<PathBuf>,
}

/// Raised whenever an index comes to hold something else.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    format: u32,
    stamp: String,
    index: T,
}

impl IndexCache {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Keeps indices in `folder`, which is made when there is one to keep.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// The index that was kept for `sources` (files, or folders of files), or what `build` makes of them. `kind` names what it holds.
    ///
    /// # Errors
    /// What `build` returns.
    pub(super) fn open<T: Serialize + DeserializeOwned>(
        &self,
        kind: &str,
        sources: &[&Path],
        build: impl FnOnce() -> Result<T, DatasetError>,
    ) -> Result<T, DatasetError> {
        // What is not there is for `build` to report.
        let (Some(folder), Ok(stamp)) = (&self.folder, stamp(sources)) else { return build() };
        let file = folder.join(name(kind, sources));
        if let Some(index) = read(&file, &stamp) {
            return Ok(index);
        }
        let kept = Kept { format: FORMAT, stamp, index: build()? };
        // A folder that cannot be written costs time, nothing else.
        let _ = fs::create_dir_all(folder).map(|()| write_json(&file, &kept));
        Ok(kept.index)
    }
}

fn read<T: DeserializeOwned>(file: &Path, stamp: &str) -> Option<T> {
    let kept: Kept<T> = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    (kept.format == FORMAT && kept.stamp == stamp).then_some(kept.index)
}

/// The file name of the index of these sources.
fn name(kind: &str, sources: &[&Path]) -> String {
    let mut hash = Sha256::new();
    hash.update(kind);
    for source in sources {
        let path = fs::canonicalize(source).unwrap_or_else(|_| source.to_path_buf());
        hash.update(path.to_string_lossy().as_bytes());
        hash.update([0]);
    }
    let readable: String = kind.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{readable}-{}.json", hexadecimal(hash, 16))
}

/// Sizes and times of all files.
fn stamp(sources: &[&Path]) -> io::Result<String> {
    let mut hash = Sha256::new();
    for source in sources {
        let mut files = Vec::new();
        match source.is_dir() {
            true => {
                for entry in fs::read_dir(source)? {
                    let entry = entry?;
                    // Of what a link leads to.
                    files.push((entry.file_name(), fs::metadata(entry.path())?));
                }
            }
            false => files.push((source.file_name().unwrap_or_default().to_owned(), fs::metadata(source)?)),
        }
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, data) in files {
            let time = data.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            hash.update(name.to_string_lossy().as_bytes());
            hash.update([0]);
            hash.update(data.len().to_le_bytes());
            hash.update(time.as_nanos().to_le_bytes());
        }
    }
    Ok(hexadecimal(hash, 16))
}

/// Bytes of a file that hold a value.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Span {
    start: u64,
    bytes: u32,
}

impl Span {
    /// Of `bytes` from `start` on; none where they are too many for one value.
    pub(super) fn new(start: u64, bytes: usize) -> Option<Self> {
        Some(Self { start, bytes: u32::try_from(bytes).ok()? })
    }

    /// Where a value stands in the text that it was read from.
    pub(super) fn of(value: &RawValue, text: &[u8]) -> Option<Self> {
        let start = (value.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        Self::new(start as u64, value.get().len())
    }

    /// The bytes as they are in the file now.
    pub(super) fn read(self, path: &Path) -> Result<Vec<u8>, DatasetError> {
        let read = || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(self.start))?;
            let mut text = vec![0; self.bytes as usize];
            file.read_exact(&mut text)?;
            Ok(text)
        };
        read().map_err(|error: io::Error| unreadable(path, format!("cannot be read: {error}")))
    }
}

/// The entries of a file that is one JSON list, and where each stands, in order. Entries are only checked to be JSON.
///
/// # Errors
/// A file that cannot be read, is no list or is empty.
pub(super) fn list_entries<T>(
    path: &Path,
    mut entry: impl FnMut(usize, &RawValue) -> Result<T, DatasetError>,
) -> Result<Vec<(Span, T)>, DatasetError> {
    let text = read_bytes(path)?;
    let values: Vec<&RawValue> = parse_json(path, &text)?;
    if values.is_empty() {
        return Err(unreadable(path, "it has no entries"));
    }
    let place = |(index, value): (usize, &RawValue)| {
        let span =
            Span::of(value, &text).ok_or_else(|| unreadable(path, format!("entry {index} is too large")))?;
        Ok((span, entry(index, value)?))
    };
    values.into_iter().enumerate().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn an_index_holds_until_a_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a.json");
        fs::write(&source, "[1]").unwrap();
        let cache = IndexCache::at(folder.path().join("deep/cache"));
        let built = Cell::new(0);
        let open = |cache: &IndexCache| {
            cache
                .open("test", &[&source], || {
                    built.set(built.get() + 1);
                    Ok(vec![7, 8])
                })
                .unwrap()
        };
        assert_eq!((open(&cache), open(&cache), built.get()), (vec![7, 8], vec![7, 8], 1));
        open(&IndexCache::none());
        assert_eq!(built.get(), 2);
        fs::write(&source, "[1, 2]").unwrap();
        open(&cache);
        assert_eq!(built.get(), 3, "another size");
        let later = File::options().write(true).open(&source).unwrap();
        later.set_modified(UNIX_EPOCH).unwrap();
        open(&cache);
        assert_eq!(built.get(), 4, "another time");
        let kept = fs::read_dir(folder.path().join("deep/cache")).unwrap().next().unwrap().unwrap().path();
        fs::write(&kept, "{\"format\": 1, \"sta").unwrap();
        open(&cache);
        open(&cache);
        assert_eq!(built.get(), 5, "damaged, and made again");
    }

    #[test]
    fn a_folder_of_files_and_a_folder_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let maps = folder.path().join("maps");
        fs::create_dir(&maps).unwrap();
        fs::write(maps.join("a.png"), "a").unwrap();
        let built = Cell::new(0);
        let open = |cache: &IndexCache| {
            cache
                .open("test", &[&maps], || {
                    built.set(built.get() + 1);
                    Ok(0)
                })
                .unwrap()
        };
        let cache = IndexCache::at(folder.path().join("cache"));
        open(&cache);
        open(&cache);
        fs::write(maps.join("b.png"), "b").unwrap();
        open(&cache);
        assert_eq!(built.get(), 2);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        open(&IndexCache::at(file.join("below a file")));
        assert_eq!(built.get(), 3);
    }

    #[test]
    fn entries_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.json");
        fs::write(&path, " [ {\"a\": 1},\n \"ß\", [2, 3] ]\n").unwrap();
        let entries = list_entries(&path, |index, _| Ok(index)).unwrap();
        let texts: Vec<String> =
            entries.iter().map(|(span, _)| String::from_utf8(span.read(&path).unwrap()).unwrap()).collect();
        assert_eq!(texts, ["{\"a\": 1}", "\"ß\"", "[2, 3]"]);
        for (text, expected) in [("[]", "no entries"), ("[1, 2", "EOF"), ("{}", "expected")] {
            fs::write(&path, text).unwrap();
            let error = list_entries(&path, |_, _| Ok(())).err().unwrap().to_string();
            assert!(error.contains(expected) && error.contains("list.json"), "{error}");
        }
    }
}
