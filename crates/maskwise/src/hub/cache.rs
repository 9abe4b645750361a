//! The local cache in the layout that every hub library shares.

use std::fs;
use std::path::{Path, PathBuf};

use super::RepoId;
use super::repo::{check_revision, is_commit};

/// A cache folder:
///
/// ```text
/// .locks/models--ORG--NAME/ETAG.lock
/// models--ORG--NAME/blobs/ETAG                 a file's bytes, named by their checksum
/// models--ORG--NAME/refs/REVISION              a text file with the commit
/// models--ORG--NAME/snapshots/COMMIT/FILE      a link into blobs
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// A cache in a folder, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of one repository.
    pub fn repo_folder(&self, repo: &RepoId) -> PathBuf {
        self.root.join(repo.folder_name())
    }

    /// The snapshot of a revision (branch, tag or full commit), without using the network. `None` if the revision is
    /// unknown here. The snapshot may be incomplete: see [`super::missing_files`].
    pub fn find(&self, repo: &RepoId, revision: &str) -> Option<PathBuf> {
        let folder = self.snapshot_folder(repo, &self.commit_of(repo, revision)?);
        folder.is_dir().then_some(folder)
    }

    /// The commit that a revision stood for when it was last pulled. A full commit is its own answer.
    pub fn commit_of(&self, repo: &RepoId, revision: &str) -> Option<String> {
        check_revision(revision).ok()?;
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.ref_file(repo, revision)).ok()?;
        let commit = commit.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    pub(super) fn snapshot_folder(&self, repo: &RepoId, commit: &str) -> PathBuf {
        self.repo_folder(repo).join("snapshots").join(commit)
    }

    pub(super) fn ref_file(&self, repo: &RepoId, revision: &str) -> PathBuf {
        self.repo_folder(repo).join("refs").join(revision)
    }

    #[cfg(feature = "hub")]
    pub(super) fn blob_file(&self, repo: &RepoId, etag: &str) -> PathBuf {
        self.repo_folder(repo).join("blobs").join(etag)
    }

    #[cfg(feature = "hub")]
    pub(super) fn lock_file(&self, repo: &RepoId, etag: &str) -> PathBuf {
        self.root.join(".locks").join(repo.folder_name()).join(format!("{etag}.lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_snapshots_by_branch_and_by_commit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let repo: RepoId = "org/model".parse().unwrap();
        assert_eq!(cache.find(&repo, "main"), None);

        let commit = "0123456789abcdef0123456789abcdef01234567";
        let snapshot = folder.path().join("models--org--model/snapshots").join(commit);
        fs::create_dir_all(&snapshot).unwrap();
        let refs = folder.path().join("models--org--model/refs");
        fs::create_dir_all(refs.join("refs/pr")).unwrap();
        fs::write(refs.join("main"), commit).unwrap();
        fs::write(refs.join("refs/pr/3"), format!("{commit}\n")).unwrap();
        fs::write(refs.join("broken"), "../../../../etc").unwrap();
        fs::write(refs.join("gone"), "f".repeat(40)).unwrap();

        for revision in ["main", "refs/pr/3", commit] {
            assert_eq!(cache.find(&repo, revision).as_deref(), Some(snapshot.as_path()), "{revision}");
        }
        for revision in ["dev", "broken", "gone", "", "../refs/main", "refs"] {
            assert_eq!(cache.find(&repo, revision), None, "{revision}");
        }
    }
}
