use crate::error::{Error, Result};
use crate::hub::{Environment, RepoId, RepoReference};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a model lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A folder with `config.json`, weights and tokenizer.
    Folder(PathBuf),
    /// A repository of the hub, found in the local cache (see [`crate::hub::pull`]).
    Hub(RepoReference),
}

impl ModelSource {
    /// The folder of the model. Nothing is downloaded here.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] when a hub repository is not in the cache.
    pub fn locate(&self, environment: &Environment) -> Result<PathBuf> {
        match self {
            Self::Folder(folder) => Ok(folder.clone()),
            Self::Hub(reference) => {
                let cache = environment.cache()?;
                cache.find(reference.repo(), reference.revision()).ok_or_else(|| {
                    let root = cache.root().display();
                    Error::ModelNotFound(format!(
                        "`{self}` is neither a folder nor in the hub cache {root}; download it with `maskwise pull {self}`"
                    ))
                })
            }
        }
    }

    /// The revision, where there is one: the commit that the cache holds.
    pub fn revision(&self, environment: &Environment) -> Option<String> {
        match self {
            Self::Folder(_) => None,
            Self::Hub(reference) => {
                environment.cache().ok()?.commit_of(reference.repo(), reference.revision())
            }
        }
    }
}

impl FromStr for ModelSource {
    type Err = Error;

    /// A path that exists or looks like one (`/`, `.` or `~` first, a backslash) is a folder; `ORG/NAME[@REV]` is a repository
    /// of the hub; anything else is a folder, which may turn out not to exist.
    fn from_str(text: &str) -> Result<Self> {
        let path = PathBuf::from(text);
        if path.exists() || text.starts_with(['/', '.', '~']) || text.contains('\\') {
            return Ok(Self::Folder(path));
        }
        Ok(text.parse().map_or(Self::Folder(path), Self::Hub))
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(formatter, "{}", folder.display()),
            Self::Hub(reference) => write!(formatter, "{reference}"),
        }
    }
}

/// Where the hub cache keeps the vision tower `name`, if it does.
pub(crate) fn cached_tower(environment: &Environment, name: &str) -> Option<PathBuf> {
    let repo: RepoId = name.parse().ok()?;
    environment.cache().ok()?.find(&repo, "main")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_repositories_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let existing = folder.path().to_str().unwrap();
        assert_eq!(existing.parse::<ModelSource>().unwrap(), ModelSource::Folder(folder.path().into()));
        assert!(matches!("./org/name".parse().unwrap(), ModelSource::Folder(_)));
        assert!(matches!("just-a-name".parse().unwrap(), ModelSource::Folder(_)));
        assert!(matches!("org/name@v1".parse().unwrap(), ModelSource::Hub(_)));
    }

    #[test]
    fn a_repository_that_is_not_cached_names_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment::from_lookup(|_| None).with_cache(folder.path());
        let source: ModelSource = "org/name".parse().unwrap();
        let message = source.locate(&environment).unwrap_err().to_string();
        assert!(message.contains("maskwise pull org/name"), "{message}");
    }
}
