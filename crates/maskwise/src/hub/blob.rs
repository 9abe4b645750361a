//! Fetching one blob: resumed, checked, and named only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;

use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::http::{Response, StatusCode};

use super::client::{Checksum, Client, RemoteFile, Subject};
use super::download::{Progress, PullOptions};
use super::retry::{Failure, Retry};
use super::store::{create_parent, lock_blob};
use super::{Cache, HubError};

const BUFFER: usize = 256 << 10;
/// Bytes that must have arrived before the count of attempts starts again, so that a server that sends one byte and
/// hangs up is not asked for ever.
const REAL_PROGRESS: u64 = 1 << 20;

/// Puts a file's bytes into `blobs/`, unless they are there. Returns whether they were.
pub(super) fn fetch(
    client: &Client<'_>,
    cache: &Cache,
    subject: &Subject<'_>,
    remote: &RemoteFile,
    options: &PullOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<bool, HubError> {
    let repo = subject.reference.repo();
    let blob = cache.blob_file(repo, &remote.etag);
    let _lock = lock_blob(cache, repo, &remote.etag, || progress(Progress::Waiting { file: &remote.name }))?;
    if fs::metadata(&blob).is_ok_and(|found| found.is_file() && found.len() == remote.size) {
        return Ok(true);
    }
    let path = blob.with_file_name(format!("{}.incomplete", remote.etag));
    create_parent(&path)?;
    let mut part = Part::open(path, remote)?;
    let resumed = part.have > 0;
    progress(Progress::FileStarted { file: &remote.name, bytes: remote.size, already: part.have });
    download(client, subject, remote, &mut part, options, progress)?;
    let mut checked = part.check(subject, remote);
    if checked.is_err() && resumed {
        // The beginning came from an earlier run and may be what is damaged: once more from the start.
        part.restart()?;
        download(client, subject, remote, &mut part, options, progress)?;
        checked = part.check(subject, remote);
    }
    match checked {
        Ok(()) => part.finish(&blob).map(|()| false),
        Err(error) => {
            part.remove();
            Err(error)
        }
    }
}

fn download(
    client: &Client<'_>,
    subject: &Subject<'_>,
    remote: &RemoteFile,
    part: &mut Part,
    options: &PullOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), HubError> {
    let mut retry = Retry::new(&remote.url, options);
    while part.have < remote.size {
        let before = part.have;
        let Err(failure) = attempt(client, subject, remote, part, progress) else { continue };
        if part.have >= before + REAL_PROGRESS {
            retry.progressed();
        }
        let again = retry.after(failure).inspect_err(|error| {
            if matches!(error, HubError::Damaged { .. }) {
                part.remove();
            }
        })?;
        progress(Progress::Retrying {
            what: &remote.name,
            attempt: again.attempt,
            wait: again.wait,
            reason: &again.reason,
        });
        sleep(again.wait);
    }
    Ok(())
}

/// One request, read until the file is whole or the connection ends.
fn attempt(
    client: &Client<'_>,
    subject: &Subject<'_>,
    remote: &RemoteFile,
    part: &mut Part,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Failure> {
    let response = client.open(subject, &remote.url, part.have)?;
    let goes_on = response.status() == StatusCode::PARTIAL_CONTENT && starts_at(&response, part.have);
    let from_start = response.status() == StatusCode::OK;
    if !goes_on && part.have > 0 {
        part.restart()?;
    }
    if !goes_on && !from_start {
        return Err(Failure::passing(format!("HTTP {} to a request for a range", response.status())));
    }
    let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0; BUFFER];
    while part.have < remote.size {
        let read = reader.read(&mut buffer).map_err(|error| Failure::passing(error.to_string()))?;
        if read == 0 {
            let reason = format!("the connection ended after {} of {} bytes", part.have, remote.size);
            return Err(Failure::passing(reason));
        }
        if part.have + read as u64 > remote.size {
            return Err(too_long(subject, remote).into());
        }
        part.append(&buffer[..read])?;
        progress(Progress::FileAdvanced { file: &remote.name, done: part.have, bytes: remote.size });
    }
    Ok(())
}

fn too_long(subject: &Subject<'_>, remote: &RemoteFile) -> HubError {
    HubError::Damaged {
        repo: subject.reference.repo().clone(),
        file: remote.name.clone(),
        expected: format!("{} bytes", remote.size),
        found: "more".to_owned(),
    }
}

/// Whether a partial answer starts at the byte that was asked for: `Content-Range: bytes START-END/TOTAL`.
fn starts_at<T>(response: &Response<T>, from: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    let start =
        range.and_then(|text| text.trim().strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    start == Some(from)
}

/// The file that is being filled, and the checksum of what it holds.
struct Part {
    path: PathBuf,
    file: File,
    have: u64,
    size: u64,
    hasher: Hasher,
}

impl Part {
    /// Opens what an earlier run left, or starts anew.
    fn open(path: PathBuf, remote: &RemoteFile) -> Result<Self, HubError> {
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = opened.map_err(HubError::io("create", &path))?;
        let hasher = Hasher::new(&remote.checksum, remote.size);
        let mut part = Self { path, file, have: 0, size: remote.size, hasher };
        part.read_existing(&remote.checksum)?;
        Ok(part)
    }

    fn read_existing(&mut self, checksum: &Checksum) -> Result<(), HubError> {
        let length = self.file.metadata().map_err(HubError::io("examine", &self.path))?.len();
        // Without a checksum nobody could tell whether the rest still fits the beginning.
        if length > self.size || *checksum == Checksum::SizeOnly {
            return self.restart();
        }
        let mut buffer = vec![0; BUFFER];
        while self.have < length {
            let read = self.file.read(&mut buffer).map_err(HubError::io("read", &self.path))?;
            if read == 0 {
                break;
            }
            self.hasher.update(&buffer[..read]);
            self.have += read as u64;
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), HubError> {
        self.file.set_len(0).map_err(HubError::io("truncate", &self.path))?;
        self.file.seek(SeekFrom::Start(0)).map_err(HubError::io("rewind", &self.path))?;
        self.hasher.restart(self.size);
        self.have = 0;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(HubError::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }

    fn check(&self, subject: &Subject<'_>, remote: &RemoteFile) -> Result<(), HubError> {
        let (expected, found) = match (&remote.checksum, self.hasher.digest()) {
            (Checksum::Sha256(expected), Some(found)) => {
                (format!("sha256 {expected}"), format!("sha256 {found}"))
            }
            (Checksum::GitBlob(expected), Some(found)) => {
                (format!("git blob {expected}"), format!("git blob {found}"))
            }
            _ => (format!("{} bytes", self.size), format!("{} bytes", self.have)),
        };
        if expected == found {
            return Ok(());
        }
        let repo = subject.reference.repo().clone();
        Err(HubError::Damaged { repo, file: remote.name.clone(), expected, found })
    }

    fn finish(self, blob: &Path) -> Result<(), HubError> {
        self.file.sync_all().map_err(HubError::io("flush", &self.path))?;
        drop(self.file);
        fs::rename(&self.path, blob).map_err(HubError::io("write", blob))
    }

    fn remove(&self) {
        // The damage is the error to report; a part that cannot be removed fails its checksum again.
        let _ = fs::remove_file(&self.path);
    }
}

enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
    None,
}

impl Hasher {
    fn new(checksum: &Checksum, size: u64) -> Self {
        match checksum {
            Checksum::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Checksum::GitBlob(_) => Hasher::GitBlob(git_blob(size)),
            Checksum::SizeOnly => Hasher::None,
        }
    }

    fn restart(&mut self, size: u64) {
        match self {
            Hasher::Sha256(hasher) => hasher.reset(),
            Hasher::GitBlob(hasher) => *hasher = git_blob(size),
            Hasher::None => {}
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::GitBlob(hasher) => hasher.update(bytes),
            Hasher::None => {}
        }
    }

    fn digest(&self) -> Option<String> {
        match self {
            Hasher::Sha256(hasher) => Some(hex(&hasher.clone().finalize())),
            Hasher::GitBlob(hasher) => Some(hex(&hasher.clone().finalize())),
            Hasher::None => None,
        }
    }
}

/// Git names a blob by the SHA-1 of `blob SIZE\0` and its bytes.
fn git_blob(size: u64) -> Sha1 {
    Sha1::new_with_prefix(format!("blob {size}\0"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `sha256sum` and `git hash-object --stdin`.
    #[test]
    fn checksums_are_those_of_git_and_sha256() {
        let digest = |checksum: Checksum| {
            let mut hasher = Hasher::new(&checksum, 6);
            hasher.update(b"noise");
            hasher.restart(6);
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            hasher.digest()
        };
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(digest(Checksum::Sha256(String::new())).unwrap(), sha256);
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(digest(Checksum::GitBlob(String::new())).unwrap(), git);
        assert_eq!(digest(Checksum::SizeOnly), None);
    }

    #[test]
    fn ranges_must_start_where_they_were_asked_to() {
        let response = |range: &str| Response::builder().header("content-range", range).body(()).unwrap();
        assert!(starts_at(&response("bytes 7-9/10"), 7));
        for range in ["bytes 0-9/10", "bytes */10", "items 7-9/10", ""] {
            assert!(!starts_at(&response(range), 7), "{range}");
        }
    }
}
