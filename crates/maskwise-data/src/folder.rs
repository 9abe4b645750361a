//! Where the files of a model come from: a folder on disk, or bytes in the program itself.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// No file of a model comes near this many bytes, apart from its weights.
const LARGEST_SMALL_FILE: u64 = 128 << 20;

/// The folder of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelFolder {
    /// On disk.
    Disk(PathBuf),
    /// In the program.
    Embedded(EmbeddedFolder),
}

/// A folder in the program, or one inside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedFolder {
    name: &'static str,
    files: EmbeddedFiles,
    /// The path from the root to this folder, with a `/` at its end; empty for the root.
    prefix: String,
}

/// Path from the root (`/` between its parts) and content of every file.
pub type EmbeddedFiles = &'static [(&'static str, &'static [u8])];

impl ModelFolder {
    /// A folder in the program; messages call it "embedded model `name`".
    pub fn embedded(name: &'static str, files: EmbeddedFiles) -> Self {
        Self::Embedded(EmbeddedFolder { name, files, prefix: String::new() })
    }

    /// The folder as messages name it; on disk its path.
    pub fn location(&self) -> PathBuf {
        match self {
            Self::Disk(folder) => folder.clone(),
            Self::Embedded(folder) => folder.label(folder.prefix.trim_end_matches('/')),
        }
    }

    /// A file of the folder as messages name it; on disk its path.
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Disk(folder) => folder.join(name),
            Self::Embedded(folder) => folder.label(&format!("{}{name}", folder.prefix)),
        }
    }

    /// The folder `name` inside of this one, whether it is there or not.
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Disk(folder) => Self::Disk(folder.join(name)),
            Self::Embedded(folder) => {
                let prefix = format!("{}{}/", folder.prefix, name.trim_matches('/'));
                Self::Embedded(EmbeddedFolder { prefix, ..folder.clone() })
            }
        }
    }

    /// Whether the folder has a file `name`.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::Disk(folder) => folder.join(name).is_file(),
            Self::Embedded(folder) => folder.bytes(name).is_some(),
        }
    }

    /// The content of a small file: anything but weights, of 128 MiB at most.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::NotFound`] where there is no such file, [`ErrorKind::FileTooLarge`] for one of another kind.
    pub fn read(&self, name: &str) -> io::Result<Cow<'static, [u8]>> {
        match self {
            Self::Disk(folder) => read_bounded(&folder.join(name)).map(Cow::Owned),
            Self::Embedded(folder) => {
                folder.bytes(name).map(Cow::Borrowed).ok_or_else(|| ErrorKind::NotFound.into())
            }
        }
    }
}

impl EmbeddedFolder {
    /// The content of a file of any size, if it is there.
    pub fn bytes(&self, name: &str) -> Option<&'static [u8]> {
        let inside = |path: &str| path.strip_prefix(self.prefix.as_str()) == Some(name);
        self.files.iter().find(|(path, _)| inside(path)).map(|(_, bytes)| *bytes)
    }

    /// The files of this folder and of those inside of it: their paths from the root, and their content.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &'static [u8])> + '_ {
        self.files.iter().filter(|(path, _)| path.starts_with(&self.prefix)).copied()
    }

    /// "embedded model NAME", with what of it is meant.
    fn label(&self, path: &str) -> PathBuf {
        let colon = if path.is_empty() { "" } else { ": " };
        format!("embedded model {}{colon}{path}", self.name).into()
    }
}

impl From<&Path> for ModelFolder {
    fn from(folder: &Path) -> Self {
        Self::Disk(folder.to_owned())
    }
}

impl From<&PathBuf> for ModelFolder {
    fn from(folder: &PathBuf) -> Self {
        Self::Disk(folder.clone())
    }
}

impl From<&ModelFolder> for ModelFolder {
    fn from(folder: &ModelFolder) -> Self {
        folder.clone()
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(LARGEST_SMALL_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_SMALL_FILE {
        let size = size.max(bytes.len() as u64);
        let reason = format!(
            "it has {size} bytes, more than the {LARGEST_SMALL_FILE} that such a file may have; it is of another kind"
        );
        return Err(io::Error::new(ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: EmbeddedFiles = &[("config.json", b"{}"), ("clip/config.json", b"[]")];

    #[test]
    fn both_kinds_of_folder_answer_alike() {
        let disk = tempfile::tempdir().unwrap();
        std::fs::create_dir(disk.path().join("clip")).unwrap();
        for (path, bytes) in FILES {
            std::fs::write(disk.path().join(path), bytes).unwrap();
        }
        for folder in [ModelFolder::from(disk.path()), ModelFolder::embedded("tiny", FILES)] {
            assert_eq!(*folder.read("config.json").unwrap(), *b"{}");
            assert_eq!(*folder.join("clip").read("config.json").unwrap(), *b"[]");
            assert_eq!(*folder.read("clip/config.json").unwrap(), *b"[]");
            assert!(folder.contains("config.json") && folder.join("clip").contains("config.json"));
            for absent in ["clip", "lip/config.json", "model.safetensors", ""] {
                assert!(!folder.contains(absent), "{absent:?} in {folder:?}");
            }
            assert_eq!(folder.read("other.json").unwrap_err().kind(), ErrorKind::NotFound);
            assert!(!folder.join("sam").contains("config.json"));
        }
    }

    #[test]
    fn messages_name_the_embedded_file() {
        let folder = ModelFolder::embedded("tiny", FILES);
        let shown = |path: PathBuf| path.to_str().unwrap().to_owned();
        assert_eq!(shown(folder.location()), "embedded model tiny");
        assert_eq!(shown(folder.path("config.json")), "embedded model tiny: config.json");
        assert_eq!(shown(folder.join("clip").location()), "embedded model tiny: clip");
        assert_eq!(shown(folder.join("clip").path("config.json")), "embedded model tiny: clip/config.json");
    }

    #[test]
    fn a_file_far_too_large_is_not_read() {
        let disk = tempfile::tempdir().unwrap();
        let file = File::create(disk.path().join("config.json")).unwrap();
        file.set_len(LARGEST_SMALL_FILE + 1).unwrap();
        let error = ModelFolder::from(disk.path()).read("config.json").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("134217729 bytes"), "{error}");
    }
}
