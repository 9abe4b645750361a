//! Pulling a repository into the cache.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use super::client::{Client, Revision, Sibling, Subject};
use super::repo::is_safe_file_name;
use super::retry::{Failure, Retry};
use super::selection::{Weights, shards_of_index};
use super::wanted::{Purpose, beside_index, select};
use super::{Cache, Environment, HubError, RepoId, RepoReference, missing_files, vision_tower_of};
use super::{blob, store};

/// How a pull behaves.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Whether the vision tower that the model's `config.json` names is pulled too. On by default.
    pub vision_tower: bool,
    /// Attempts at each file that bring nothing before it is given up; at least 1. Default 5.
    pub attempts: u32,
    /// Wait before the second attempt; it doubles from then on, and a server may ask for more. Default 1 s.
    pub first_wait: Duration,
    /// Longest silence of the other side before a connection counts as broken. Default 30 s.
    pub patience: Duration,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            vision_tower: true,
            attempts: 5,
            first_wait: Duration::from_secs(1),
            patience: Duration::from_secs(30),
        }
    }
}

/// What a pull is doing. Sizes are in bytes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The revision has been found. Comes again for the vision tower.
    Resolved {
        /// The repository.
        repo: &'a RepoId,
        /// The commit that the revision stands for.
        commit: &'a str,
    },
    /// All files of the repository that are needed are known.
    Planned {
        /// The repository.
        repo: &'a RepoId,
        /// Number of files.
        files: usize,
        /// Their size together, those in the cache included; `None` if the hub does not say.
        bytes: Option<u64>,
    },
    /// Another process is fetching the same file; we wait for it.
    Waiting {
        /// Path in the repository.
        file: &'a str,
    },
    /// The transfer of a file starts.
    FileStarted {
        /// Path in the repository.
        file: &'a str,
        /// Its size.
        bytes: u64,
        /// What an earlier pull has already brought.
        already: u64,
    },
    /// Bytes have arrived. After a failed resume, `done` can step back.
    FileAdvanced {
        /// Path in the repository.
        file: &'a str,
        /// Bytes so far.
        done: u64,
        /// Its size.
        bytes: u64,
    },
    /// A file is complete, checked and in its place.
    FileFinished {
        /// Path in the repository.
        file: &'a str,
        /// Its size.
        bytes: u64,
        /// Whether it was in the cache before.
        cached: bool,
    },
    /// An attempt failed; another follows.
    Retrying {
        /// The file or repository.
        what: &'a str,
        /// Number of the attempt that follows, from 2.
        attempt: u32,
        /// How long we wait before it.
        wait: Duration,
        /// Why the last one failed.
        reason: &'a str,
    },
    /// The config names a vision tower that is no repository on the hub, for instance a folder: nothing is pulled.
    VisionTowerSkipped {
        /// The name as it is written in the config.
        name: &'a str,
    },
}

/// A complete revision in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The repository.
    pub repo: RepoId,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The folder with the files.
    pub path: PathBuf,
    /// The files that were asked for, as paths in the folder.
    pub files: Vec<String>,
    /// Bytes of the files that came over the network in this pull.
    pub fetched_bytes: u64,
    /// The vision tower, where the config names one on the hub.
    pub vision_tower: Option<Box<Snapshot>>,
}

/// Brings a model into the cache: configuration, tokenizer and one kind of weights (safetensors before pickles), then
/// the vision tower that its config names.
///
/// What is there already stays; what an earlier pull left half-done is continued; every file is checked against the
/// checksum that the hub announces (SHA-256, or git's for small files) before it gets its name. The branch or tag is
/// recorded last, so that [`Cache::find`] by branch never sees a first pull that was interrupted. Several pulls may run
/// at once. In offline mode the answer comes from the cache alone.
///
/// # Errors
/// Any [`HubError`]; whatever it is, no broken file is left under a final name.
pub fn pull(
    environment: &Environment,
    reference: &RepoReference,
    options: &PullOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Snapshot, HubError> {
    let cache = environment.cache()?;
    let client = if environment.is_offline() { None } else { Some(Client::new(environment, options)?) };
    let pull_one = |reference: &RepoReference, purpose, progress: &mut dyn FnMut(Progress<'_>)| match &client
    {
        None => from_cache(&cache, reference),
        Some(client) => Pull { client, cache: &cache, reference, options, progress }.run(purpose),
    };
    let mut snapshot = pull_one(reference, Purpose::Model, progress)?;
    let config = fs::read_to_string(snapshot.path.join("config.json")).unwrap_or_default();
    let Some(name) = vision_tower_of(&config).filter(|_| options.vision_tower) else { return Ok(snapshot) };
    match name.parse::<RepoId>() {
        Ok(repo) => {
            let tower = pull_one(&RepoReference::main(repo), Purpose::VisionTower, progress);
            let tower = tower.map_err(|source| HubError::VisionTower { name, source: Box::new(source) })?;
            snapshot.vision_tower = Some(Box::new(tower));
        }
        Err(_) => progress(Progress::VisionTowerSkipped { name: &name }),
    }
    Ok(snapshot)
}

/// The answer of offline mode.
fn from_cache(cache: &Cache, reference: &RepoReference) -> Result<Snapshot, HubError> {
    let (repo, revision) = (reference.repo(), reference.revision());
    let offline = |missing: String| HubError::Offline {
        repo: repo.clone(),
        revision: revision.to_owned(),
        cache: cache.root().to_owned(),
        missing,
    };
    let path = cache.find(repo, revision).ok_or_else(|| offline("every file".to_owned()))?;
    let missing = missing_files(&path);
    if !missing.is_empty() {
        return Err(offline(missing.join(", ")));
    }
    let entries = fs::read_dir(&path).map_err(HubError::io("list", &path))?;
    let mut files: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    files.sort();
    let commit = cache.commit_of(repo, revision).unwrap_or_default();
    Ok(Snapshot { repo: repo.clone(), commit, path, files, fetched_bytes: 0, vision_tower: None })
}

/// The pull of one repository.
struct Pull<'a> {
    client: &'a Client<'a>,
    cache: &'a Cache,
    reference: &'a RepoReference,
    options: &'a PullOptions,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Pull<'_> {
    fn run(mut self, purpose: Purpose) -> Result<Snapshot, HubError> {
        let (repo, client, reference) = (self.reference.repo(), self.client, self.reference);
        let url = client.revision_url(reference);
        let revision = self.with_retries(&url, &repo.to_string(), || client.revision(reference))?;
        (self.progress)(Progress::Resolved { repo, commit: &revision.sha });
        let siblings = self.check_names(&revision)?;
        let names: Vec<String> = revision.siblings.iter().map(|sibling| sibling.name.clone()).collect();
        let (mut files, weights) = select(&names, purpose);
        let weights = weights.ok_or_else(|| self.no_weights())?;

        let mut fetched_bytes = 0;
        let shards = match weights {
            Weights::Files(shards) => shards,
            Weights::Index(index) => {
                // The index is needed before it can be said what else is.
                fetched_bytes += self.fetch(siblings[index.as_str()], &revision.sha)?;
                let mut shards = self.read_index(&revision.sha, &index)?;
                shards.extend(beside_index(&names).cloned());
                shards.push(index);
                shards
            }
        };
        files.extend(shards);
        let wanted =
            files.iter().map(|name| siblings.get(name.as_str()).copied().ok_or_else(|| self.lacks(name)));
        let wanted: Vec<&Sibling> = wanted.collect::<Result<_, _>>()?;
        let bytes = wanted.iter().map(|sibling| sibling.size).sum();
        (self.progress)(Progress::Planned { repo, files: wanted.len(), bytes });
        for sibling in wanted {
            fetched_bytes += self.fetch(sibling, &revision.sha)?;
        }
        if reference.revision() != revision.sha {
            store::write_ref(self.cache, repo, reference.revision(), &revision.sha)?;
        }
        let path = self.cache.snapshot_folder(repo, &revision.sha);
        Ok(Snapshot {
            repo: repo.clone(),
            commit: revision.sha,
            path,
            files,
            fetched_bytes,
            vision_tower: None,
        })
    }

    /// A server that names one file outside the folder is not trusted with the others either.
    fn check_names<'r>(&self, revision: &'r Revision) -> Result<HashMap<&'r str, &'r Sibling>, HubError> {
        let unsafe_name = revision.siblings.iter().find(|sibling| !is_safe_file_name(&sibling.name));
        if let Some(Sibling { name, .. }) = unsafe_name {
            return Err(HubError::UnsafeFileName { repo: self.reference.repo().clone(), name: name.clone() });
        }
        Ok(revision.siblings.iter().map(|sibling| (sibling.name.as_str(), sibling)).collect())
    }

    fn read_index(&self, commit: &str, index: &str) -> Result<Vec<String>, HubError> {
        let repo = self.reference.repo();
        let path = self.cache.snapshot_folder(repo, commit).join(index);
        let text = fs::read_to_string(&path).map_err(HubError::io("read", &path))?;
        shards_of_index(&text).map_err(|reason| HubError::BadResponse {
            url: self.client.file_url(repo, commit, index),
            reason,
        })
    }

    /// Makes sure of one file in the snapshot. Returns the bytes that came over the network.
    fn fetch(&mut self, sibling: &Sibling, commit: &str) -> Result<u64, HubError> {
        let (client, reference, file) = (self.client, self.reference, sibling.name.as_str());
        let place = self.cache.snapshot_folder(reference.repo(), commit).join(file);
        if let (Some(size), Ok(found)) = (sibling.size, fs::metadata(&place))
            && found.is_file()
            && found.len() == size
        {
            // A commit never changes: what is in its place with its size needs no question to the hub.
            (self.progress)(Progress::FileFinished { file, bytes: size, cached: true });
            return Ok(0);
        }
        let subject = Subject { reference, file: Some(file) };
        let url = client.file_url(reference.repo(), commit, file);
        let remote = self.with_retries(&url, file, || client.announce(&subject, sibling, commit))?;
        let cached = blob::fetch(client, self.cache, &subject, &remote, self.options, self.progress)?;
        store::place(self.cache, reference.repo(), commit, file, &remote.etag)?;
        (self.progress)(Progress::FileFinished { file, bytes: remote.size, cached });
        Ok(if cached { 0 } else { remote.size })
    }

    fn with_retries<T>(
        &mut self,
        url: &str,
        what: &str,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, HubError> {
        let mut retry = Retry::new(url, self.options);
        loop {
            let failure = match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let again = retry.after(failure)?;
            let (attempt, wait) = (again.attempt, again.wait);
            (self.progress)(Progress::Retrying { what, attempt, wait, reason: &again.reason });
            sleep(wait);
        }
    }

    fn no_weights(&self) -> HubError {
        let (repo, revision) = (self.reference.repo().clone(), self.reference.revision().to_owned());
        HubError::NoWeights { repo, revision }
    }

    fn lacks(&self, file: &str) -> HubError {
        let (repo, revision) = (self.reference.repo().clone(), self.reference.revision().to_owned());
        HubError::FileNotFound { repo, revision, file: file.to_owned() }
    }
}
