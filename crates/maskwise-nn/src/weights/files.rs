//! Reading at positions, and writing that leaves either the whole file or none.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::error::WeightsError;
use super::map::FileMap;
use maskwise_kernels::int8::SharedBytes;

/// A file read at positions, from any number of threads, without a shared cursor.
///
/// Plain reads are used rather than a memory map where tensors are converted: they are copied anyhow, and mapped pages would
/// count as resident memory on top of the model. What is used as it lies in the file is mapped ([`PositionedFile::share`]).
#[derive(Debug)]
pub(crate) struct PositionedFile {
    content: Content,
    map: OnceLock<Arc<FileMap>>,
    path: PathBuf,
    length: u64,
}

#[derive(Debug)]
enum Content {
    Disk(File),
    Memory(&'static [u8]),
}

/// What has a cursor of its own.
pub(crate) trait ReadSeek: Read + Seek {}

impl<R: Read + Seek> ReadSeek for R {}

impl PositionedFile {
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        // Looked at before it is opened: opening a named pipe would wait for ever.
        let metadata = std::fs::metadata(path).map_err(|error| WeightsError::io("open", path, error))?;
        if !metadata.is_file() {
            let reason = "it is not a regular file".to_string();
            return Err(WeightsError::UnknownFormat { path: path.to_path_buf(), reason });
        }
        let file = File::open(path).map_err(|error| WeightsError::io("open", path, error))?;
        Ok(Self {
            content: Content::Disk(file),
            map: OnceLock::new(),
            path: path.to_path_buf(),
            length: metadata.len(),
        })
    }

    /// A file that lies in memory; messages call it `path`.
    pub(crate) fn in_memory(path: PathBuf, bytes: &'static [u8]) -> Self {
        Self { content: Content::Memory(bytes), map: OnceLock::new(), path, length: bytes.len() as u64 }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Fills `buffer` from `position`; a file that ends before is truncated.
    pub(crate) fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<(), WeightsError> {
        self.fill(buffer, position).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.truncated(position.saturating_add(buffer.len() as u64)),
            _ => WeightsError::io("read", &self.path, error),
        })
    }

    /// A part of the file where it lies: mapped, or in memory.
    pub(crate) fn share(&self, position: u64, length: usize) -> Result<SharedBytes, WeightsError> {
        let start = usize::try_from(position).unwrap_or(usize::MAX);
        let range = start..start.saturating_add(length);
        match &self.content {
            Content::Memory(bytes) => match bytes.get(range.clone()) {
                Some(bytes) => Ok(Arc::new(bytes)),
                None => Err(self.truncated(range.end as u64)),
            },
            Content::Disk(file) => {
                let map = match self.map.get() {
                    Some(map) => map,
                    None => {
                        let map = FileMap::new(file);
                        let map = map.map_err(|error| WeightsError::io("map", &self.path, error))?;
                        self.map.get_or_init(|| Arc::new(map))
                    }
                };
                map.part(range.clone()).ok_or_else(|| self.truncated(range.end as u64))
            }
        }
    }

    pub(crate) fn truncated(&self, expected_bytes: u64) -> WeightsError {
        WeightsError::Truncated { path: self.path.clone(), expected_bytes, actual_bytes: self.length }
    }

    /// A second handle with its own cursor, for readers that need one.
    pub(crate) fn reopen(&self) -> Result<Box<dyn ReadSeek>, WeightsError> {
        match &self.content {
            Content::Disk(_) => {
                let file =
                    File::open(&self.path).map_err(|error| WeightsError::io("open", &self.path, error))?;
                Ok(Box::new(file))
            }
            Content::Memory(bytes) => Ok(Box::new(Cursor::new(*bytes))),
        }
    }

    fn fill(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        match &self.content {
            Content::Disk(file) => fill_from(file, buffer, position),
            Content::Memory(bytes) => {
                let start = usize::try_from(position).map_err(|_| ErrorKind::UnexpectedEof)?;
                let end = start.checked_add(buffer.len()).ok_or(ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(bytes.get(start..end).ok_or(ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

#[cfg(unix)]
fn fill_from(file: &File, buffer: &mut [u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, position)
}

#[cfg(windows)]
fn fill_from(file: &File, mut buffer: &mut [u8], mut position: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, position) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = &mut buffer[count..];
                position += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file under a temporary name in the target's folder; it takes the final name on [`AtomicFile::commit`] and is
/// removed when dropped before that.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    file: Option<File>,
    temporary: PathBuf,
    target: PathBuf,
    in_place: bool,
}

static TEMPORARY_FILES: AtomicU64 = AtomicU64::new(0);

impl AtomicFile {
    pub(crate) fn create(target: &Path) -> Result<Self, WeightsError> {
        let folder = folder_of(target);
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let count = TEMPORARY_FILES.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!(".{name}.{}-{count}.partial", std::process::id()));
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(|source| WeightsError::NotWritable { folder: folder.to_path_buf(), source })?;
        Ok(Self { file: Some(file), temporary, target: target.to_path_buf(), in_place: false })
    }

    /// Forces the content to the disk and closes the file, still under its temporary name.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self.file.take() {
            Some(file) => file.sync_all(),
            None => Ok(()),
        }
    }

    /// Gives the finished file its name, replacing what was there.
    pub(crate) fn commit(mut self) -> Result<(), WeightsError> {
        std::fs::rename(&self.temporary, &self.target)
            .map_err(|error| WeightsError::io("put in place", &self.target, error))?;
        self.in_place = true;
        sync_folder(folder_of(&self.target));
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().ok_or(ErrorKind::BrokenPipe)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        self.file = None;
        if !self.in_place {
            // Nothing more can be done about a temporary file that cannot be removed.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// The folder of a path; the current one for a bare file name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a rename durable where folders can be synchronised; elsewhere the rename alone has to do.
fn sync_folder(folder: &Path) {
    if cfg!(unix)
        && let Ok(handle) = File::open(folder)
    {
        let _ = handle.sync_all();
    }
}
