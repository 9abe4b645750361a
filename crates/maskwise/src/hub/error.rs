//! What can go wrong between us and the hub, each message saying what to do about it.

use std::io;
use std::path::PathBuf;

use super::RepoId;

/// An error of the hub module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The text is not `ORG/NAME` or `ORG/NAME@REVISION`.
    #[error("{given:?} does not name a repository on the hub: {reason}; write ORG/NAME or ORG/NAME@REVISION")]
    InvalidRepo {
        /// The text as it was given.
        given: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The revision cannot be a branch, a tag or a commit.
    #[error("{given:?} is not a branch, tag or commit: {reason}")]
    InvalidRevision {
        /// The text as it was given.
        given: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// Neither a cache folder nor a home folder is known.
    #[error("no folder for the hub cache is known because HOME is not set; set HF_HUB_CACHE or HF_HOME")]
    NoCacheFolder,
    /// An environment variable holds something unusable. Its value is not shown, it may be a secret.
    #[error("the environment variable {name} is not usable: {reason}")]
    InvalidVariable {
        /// Name of the variable.
        name: String,
        /// Why it is not usable.
        reason: &'static str,
    },
    /// The repository asks for its terms to be accepted.
    #[error(
        "{repo} is gated: accept its terms at {page} with your account, then {}",
        token_advice(*had_token)
    )]
    Gated {
        /// The repository.
        repo: RepoId,
        /// Page on which the terms are accepted.
        page: String,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// The hub wants to know who asks, or does not let this account in.
    #[error(
        "the hub refused access to {repo} (HTTP {status}{}); if the name is right, {}",
        detail(message),
        token_advice(*had_token)
    )]
    Refused {
        /// The repository.
        repo: RepoId,
        /// HTTP status: 401 or 403.
        status: u16,
        /// The server's own words; may be empty.
        message: String,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// No such repository, or a private one.
    #[error(
        "{endpoint} has no model repository {repo}: check the spelling; if it is private, {}",
        token_advice(*had_token)
    )]
    RepoNotFound {
        /// The repository.
        repo: RepoId,
        /// The hub that was asked.
        endpoint: String,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{repo} has no revision {revision:?}: give a branch, a tag or a full commit after the @")]
    RevisionNotFound {
        /// The repository.
        repo: RepoId,
        /// The revision asked for.
        revision: String,
    },
    /// A file that was listed, or that an index names, is not there.
    #[error("{repo} at {revision} lacks the file {file:?}; the repository is incomplete, tell its authors")]
    FileNotFound {
        /// The repository.
        repo: RepoId,
        /// Branch, tag or commit.
        revision: String,
        /// Path in the repository.
        file: String,
    },
    /// Nothing in the repository can be loaded as weights.
    #[error(
        "{repo} at {revision} holds no weights that can be read (.safetensors, .bin or .pth in its top folder)"
    )]
    NoWeights {
        /// The repository.
        repo: RepoId,
        /// Branch, tag or commit.
        revision: String,
    },
    /// Offline, and the cache does not hold everything.
    #[error(
        "offline mode is on and {} lacks {missing} of {repo}@{revision}; unset HF_HUB_OFFLINE and pull again",
        cache.display()
    )]
    Offline {
        /// The repository.
        repo: RepoId,
        /// Branch, tag or commit.
        revision: String,
        /// Folder of the cache.
        cache: PathBuf,
        /// What is missing, in words.
        missing: String,
    },
    /// A file name that would leave the folder it belongs to.
    #[error("{repo} names the file {name:?}, which could be written outside its folder; refused")]
    UnsafeFileName {
        /// The repository.
        repo: RepoId,
        /// The name as the server, or an index, gave it.
        name: String,
    },
    /// The bytes are not those that the hub announced. The broken part has been removed.
    #[error(
        "{file} of {repo} arrived damaged: expected {expected}, found {found}; nothing was kept, pull again"
    )]
    Damaged {
        /// The repository.
        repo: RepoId,
        /// Path in the repository.
        file: String,
        /// Checksum or size that was announced.
        expected: String,
        /// Checksum or size of what arrived.
        found: String,
    },
    /// The connection failed again and again. What has arrived stays for the next attempt.
    #[error(
        "{url} could not be fetched in {attempts} attempts: {reason}; check the network (HTTPS_PROXY, \
         HF_ENDPOINT) and pull again to go on from here, or set HF_HUB_OFFLINE=1 to use the cache alone"
    )]
    Transfer {
        /// The address, without its query.
        url: String,
        /// Attempts made without progress.
        attempts: u32,
        /// The last failure.
        reason: String,
    },
    /// A status that has no meaning here.
    #[error("{url} answered with HTTP {status}{}", detail(message))]
    UnexpectedStatus {
        /// The address, without its query.
        url: String,
        /// HTTP status.
        status: u16,
        /// The server's own words; may be empty.
        message: String,
    },
    /// The answer is not what a hub would say.
    #[error("{url} does not answer as a hub does: {reason}; check HF_ENDPOINT")]
    BadResponse {
        /// The address, without its query.
        url: String,
        /// What was wrong.
        reason: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}{}", path.display(), storage_advice(source))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The model is complete, but the vision tower that its config names could not be fetched.
    #[error("the vision tower {name} that the model's config.json names could not be fetched: {source}")]
    VisionTower {
        /// The tower's name in the config.
        name: String,
        /// What went wrong with it.
        source: Box<HubError>,
    },
}

#[cfg(feature = "hub")]
impl HubError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> HubError {
        let path = path.into();
        move |source| HubError::Io { action, path, source }
    }
}

fn token_advice(had_token: bool) -> &'static str {
    if had_token {
        "check that the token in HF_TOKEN (or the token file) belongs to that account and may read it"
    } else {
        "set HF_TOKEN to a token that may read it"
    }
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn storage_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space or point HF_HUB_CACHE at a larger disk"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; point HF_HUB_CACHE at a folder that you may write"
        }
        io::ErrorKind::Unsupported => "; point HF_HUB_CACHE at a local disk",
        _ => "",
    }
}
