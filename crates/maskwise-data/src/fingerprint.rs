//! Telling models and datasets apart.

use crate::folder::ModelFolder;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A file or folder that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be read: {source}", path.display())]
pub struct FingerprintError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// How much of a large file's beginning and end counts.
const ENDS: u64 = 1 << 20;

/// A hash that tells models and datasets apart without reading all of them: the relative names and sizes of all files, and the content
/// of those that are not pictures, of large ones the first and the last MiB. 16 hexadecimal digits.
///
/// # Errors
/// When a file cannot be read.
pub fn of_paths(paths: &[&Path]) -> Result<String, FingerprintError> {
    let mut hash = Sha256::new();
    for root in paths {
        let mut files = Vec::new();
        list(root, &mut files)?;
        files.sort();
        for file in files {
            let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
            add_file(&mut hash, &file, &name).map_err(failed(&file))?;
        }
        hash.update([0xff]);
    }
    Ok(hexadecimal(hash, 8))
}

/// As [`of_paths`], of a model's folder.
///
/// # Errors
/// When a file cannot be read.
pub fn of_model(folder: &ModelFolder) -> Result<String, FingerprintError> {
    match folder {
        ModelFolder::Disk(path) => of_paths(&[path]),
        ModelFolder::Embedded(embedded) => {
            let mut hash = Sha256::new();
            for (name, bytes) in embedded.files() {
                hash.update(name);
                hash.update(bytes);
            }
            Ok(hexadecimal(hash, 8))
        }
    }
}

/// The first bytes of a hash.
pub(crate) fn hexadecimal(hash: Sha256, bytes: usize) -> String {
    hash.finalize().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// The error of a file or folder.
fn failed(path: &Path) -> impl Fn(io::Error) -> FingerprintError + '_ {
    |source| FingerprintError { path: path.to_owned(), source }
}

fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), FingerprintError> {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(failed(path))? {
        list(&entry.map_err(failed(path))?.path(), files)?;
    }
    Ok(())
}

fn add_file(hash: &mut Sha256, path: &Path, name: &str) -> io::Result<()> {
    let size = fs::metadata(path)?.len();
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name);
    hash.update(size.to_le_bytes());
    if is_picture(path) {
        return Ok(());
    }
    let mut file = File::open(path)?;
    let mut content = Vec::new();
    (&mut file).take(ENDS).read_to_end(&mut content)?;
    if size > ENDS {
        file.seek(SeekFrom::Start(size.saturating_sub(ENDS).max(ENDS)))?;
        file.take(ENDS).read_to_end(&mut content)?;
    }
    hash.update(&content);
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"].iter().any(|known| extension == *known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_names_and_sizes_count() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        fs::create_dir(folder.path().join("train")).unwrap();
        write("train/a.json", b"{}");
        write("train/a.jpg", b"picture");
        let long = vec![1; 3 << 20];
        write("model.bin", &long);
        let now = || of_paths(&[folder.path()]).unwrap();
        let first = now();
        assert_eq!((first.len(), now()), (16, first.clone()));

        write("train/a.json", b"[]");
        assert_ne!(now(), first);
        write("train/a.json", b"{}");
        assert_eq!(now(), first);
        write("train/a.jpg", b"pictures");
        assert_ne!(now(), first);
        write("train/a.jpg", b"picture");
        let mut changed = long;
        changed[(3 << 20) - 1] = 2;
        write("model.bin", &changed);
        assert_ne!(now(), first);
        assert!(of_paths(&[&folder.path().join("none")]).unwrap_err().to_string().contains("none"));
    }
}
