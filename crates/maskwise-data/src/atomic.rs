//! Writing files so that a reader never sees half of one.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

/// Why a file was not written. In every case the destination is as it was before.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The folder of the destination does not exist or is not a folder.
    #[error("cannot write {}: the folder {} does not exist; create it first", path.display(), folder.display())]
    NoFolder {
        /// The destination.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// The destination exists and is not a regular file.
    #[error("cannot write {}: it exists and is not a regular file", path.display())]
    NotAFile {
        /// The destination.
        path: PathBuf,
    },
    /// A folder is to be made where there is one with something in it.
    #[error("{} is not empty; name a new folder", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder or the file is not writable.
    #[error("cannot write {}: permission denied; choose a folder that you may write to ({source})", path.display())]
    PermissionDenied {
        /// The destination.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk or the quota is full.
    #[error("cannot write {}: no space left; free some or choose another disk ({source})", path.display())]
    DiskFull {
        /// The destination.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else that the system reported.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The destination.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl WriteError {
    /// Sorts a system error that came up while `path` was being written.
    pub fn from_io(path: &Path, source: io::Error) -> WriteError {
        let path = path.to_path_buf();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => WriteError::DiskFull { path, source },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                WriteError::PermissionDenied { path, source }
            }
            _ => WriteError::Io { path, source },
        }
    }
}

/// Writes the file at `path` through `write`, all of it or nothing.
///
/// The bytes go to a temporary file in the same folder, which is flushed to the disk and then renamed over
/// `path`. If anything fails the temporary file is removed and an existing file at `path` stays untouched.
/// A symbolic link at `path` is followed, so the file that it names is replaced.
///
/// # Errors
/// [`WriteError`], which names `path`; errors returned by `write` are passed on in the same way.
pub fn write_atomic<F>(path: &Path, write: F) -> Result<(), WriteError>
where
    F: FnOnce(&mut dyn Write) -> io::Result<()>,
{
    let target = if path.is_symlink() {
        fs::canonicalize(path).map_err(|source| WriteError::from_io(path, source))?
    } else {
        path.to_path_buf()
    };
    if fs::metadata(&target).is_ok_and(|existing| !existing.is_file()) || target.file_name().is_none() {
        return Err(WriteError::NotAFile { path: path.to_path_buf() });
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(WriteError::NoFolder { path: path.to_path_buf(), folder: folder.to_path_buf() });
    }
    write_and_rename(&target, folder, write).map_err(|source| WriteError::from_io(path, source))
}

/// Writes `value` as indented JSON with a line end after it, all of it or nothing.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), WriteError> {
    write_atomic(path, |writer| {
        serde_json::to_writer_pretty(&mut *writer, value)?;
        writer.write_all(b"\n")
    })
}

/// Makes the folder at `folder`, which must be new or empty, through `fill`, all of it or nothing: `fill` gets a temporary folder beside
/// it, which is renamed when it returns and removed if it fails. Folders above are made as needed.
///
/// # Errors
/// What `fill` returns, or [`WriteError`].
pub fn write_new_folder<E: From<WriteError>>(
    folder: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |path: &Path, source| WriteError::from_io(path, source);
    let folder = std::path::absolute(folder).map_err(|source| failed(folder, source))?;
    let is_empty = match fs::read_dir(&folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(source) => return Err(failed(&folder, source).into()),
    };
    if !is_empty {
        return Err(WriteError::NotEmpty { path: folder }.into());
    }
    let parent = folder.parent().unwrap_or(&folder);
    fs::create_dir_all(parent).map_err(|source| failed(parent, source))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".maskwise-");
    #[cfg(unix)]
    {
        // Temporary folders are private by default; a result obeys the user's umask.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    let part = builder.tempdir_in(parent).map_err(|source| failed(parent, source))?;
    fill(part.path())?;
    if folder.is_dir() {
        fs::remove_dir(&folder).map_err(|source| failed(&folder, source))?;
    }
    fs::rename(part.path(), &folder).map_err(|source| failed(&folder, source))?;
    // The name is gone: there is nothing left to remove.
    let _ = part.keep();
    Ok(())
}

fn write_and_rename<F>(target: &Path, folder: &Path, write: F) -> io::Result<()>
where
    F: FnOnce(&mut dyn Write) -> io::Result<()>,
{
    let mut builder = tempfile::Builder::new();
    builder.prefix(".maskwise-").suffix(".part");
    #[cfg(unix)]
    {
        // Temporary files are private by default; a result file obeys the user's umask.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let temporary = builder.tempfile_in(folder)?;
    let mut writer = BufWriter::new(temporary.as_file());
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    temporary.as_file().sync_all()?;
    temporary.persist(target).map_err(|error| error.error)?;
    // The rename itself becomes durable with the folder; not every system lets a folder be opened.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn writes_and_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomic(&path, |writer| writer.write_all(b"one")).unwrap();
        write_atomic(&path, |writer| writer.write_all(b"two")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_full_disk_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        let error = write_atomic(&path, |writer| {
            writer.write_all(&[0; 100_000])?;
            Err(io::Error::from(ErrorKind::StorageFull))
        })
        .unwrap_err();
        assert!(matches!(error, WriteError::DiskFull { .. }), "{error}");
        assert!(error.to_string().contains("a.txt") && error.to_string().contains("no space left"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn destinations_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none").join("a.txt");
        let error = write_atomic(&missing, |_| Ok(())).unwrap_err();
        assert!(matches!(error, WriteError::NoFolder { .. }), "{error}");
        let error = write_atomic(folder.path(), |_| Ok(())).unwrap_err();
        assert!(matches!(error, WriteError::NotAFile { .. }), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn follows_links_and_obeys_the_umask() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        symlink(&file, &link).unwrap();
        write_atomic(&link, |writer| writer.write_all(b"new")).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        let plain = folder.path().join("plain");
        File::create(&plain).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), mode(&plain));
    }
}
