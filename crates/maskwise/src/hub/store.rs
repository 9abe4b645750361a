//! Writing into the cache: links, references, locks. Nothing is ever seen half-written.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Cache, HubError, RepoId};

/// Creates the folder that a file will lie in.
pub(super) fn create_parent(file: &Path) -> Result<(), HubError> {
    let Some(parent) = file.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(HubError::io("create the folder", parent))
}

/// Takes the lock of one blob, waiting for other processes; `on_wait` is called once if there is someone to wait for.
/// Dropping the file releases it (a process that is being started meanwhile may hold it a moment longer). The lock file stays, as other hub libraries leave it.
pub(super) fn lock_blob(
    cache: &Cache,
    repo: &RepoId,
    etag: &str,
    on_wait: impl FnOnce(),
) -> Result<File, HubError> {
    let path = cache.lock_file(repo, etag);
    create_parent(&path)?;
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(HubError::io("open the lock file", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            on_wait();
            file.lock().map_err(HubError::io("lock", &path))?;
            Ok(file)
        }
        Err(TryLockError::Error(source)) => Err(HubError::Io { action: "lock", path, source }),
    }
}

/// Makes `snapshots/COMMIT/FILE` stand for a blob: a relative link, else a hard link, else a copy.
pub(super) fn place(
    cache: &Cache,
    repo: &RepoId,
    commit: &str,
    file: &str,
    etag: &str,
) -> Result<(), HubError> {
    let blob = cache.blob_file(repo, etag);
    let pointer = cache.snapshot_folder(repo, commit).join(file);
    if same_file(&blob, &pointer) {
        return Ok(());
    }
    create_parent(&pointer)?;
    let temporary = temporary_beside(&pointer);
    let up = "../".repeat(2 + file.matches('/').count());
    let linked = symbolic_link(Path::new(&format!("{up}blobs/{etag}")), &temporary)
        .or_else(|_| fs::hard_link(&blob, &temporary))
        .or_else(|_| copy(&blob, &temporary));
    finish(linked, &temporary, &pointer)
}

/// Writes `refs/REVISION`.
pub(super) fn write_ref(cache: &Cache, repo: &RepoId, revision: &str, commit: &str) -> Result<(), HubError> {
    let path = cache.ref_file(repo, revision);
    create_parent(&path)?;
    let temporary = temporary_beside(&path);
    let write = || {
        let mut file = File::create_new(&temporary)?;
        file.write_all(commit.as_bytes())?;
        file.sync_all()
    };
    let written = write();
    finish(written, &temporary, &path)
}

/// Renames a finished temporary file, or removes what is left of it.
fn finish(written: io::Result<()>, temporary: &Path, path: &Path) -> Result<(), HubError> {
    written.and_then(|()| fs::rename(temporary, path)).map_err(|source| {
        // The first error is the one to report; a leftover temporary file is harmless.
        let _ = fs::remove_file(temporary);
        HubError::Io { action: "write", path: path.to_owned(), source }
    })
}

fn same_file(blob: &Path, pointer: &Path) -> bool {
    match (fs::canonicalize(blob), fs::canonicalize(pointer)) {
        (Ok(blob), Ok(pointer)) => blob == pointer,
        _ => false,
    }
}

fn temporary_beside(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()))
}

fn copy(blob: &Path, target: &Path) -> io::Result<()> {
    fs::copy(blob, target)?;
    File::open(target)?.sync_all()
}

#[cfg(unix)]
fn symbolic_link(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symbolic_link(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symbolic_link(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_to_its_blob_at_any_depth_and_replaces_a_dangling_one() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let repo: RepoId = "o/m".parse().unwrap();
        let blob = cache.blob_file(&repo, "etag");
        create_parent(&blob).unwrap();
        fs::write(&blob, "bytes").unwrap();
        for file in ["config.json", "a/b/config.json"] {
            let pointer = cache.snapshot_folder(&repo, "c").join(file);
            create_parent(&pointer).unwrap();
            // Where links exist, start from one that leads nowhere.
            let _ = symbolic_link(Path::new("nowhere"), &pointer);
            place(&cache, &repo, "c", file, "etag").unwrap();
            place(&cache, &repo, "c", file, "etag").unwrap();
            assert_eq!(fs::read_to_string(&pointer).unwrap(), "bytes");
            assert_eq!(fs::read_dir(pointer.parent().unwrap()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_copy_is_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (blob, target) = (folder.path().join("blob"), folder.path().join("copy"));
        fs::write(&blob, "bytes").unwrap();
        copy(&blob, &target).unwrap();
        fs::remove_file(&blob).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "bytes");
    }
}
