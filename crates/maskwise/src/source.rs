use crate::embedded::EmbeddedModel;
use crate::error::{Error, Result};
use crate::hub::{Environment, RepoId, RepoReference};
use maskwise_data::folder::ModelFolder;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The embedded model as an argument.
const EMBEDDED: &str = "embedded";

/// Where a model lies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ModelSource {
    /// In the program: see [`EmbeddedModel`].
    #[default]
    Embedded,
    /// A folder with `config.json`, weights and tokenizer.
    Folder(PathBuf),
    /// A repository of the hub, found in the local cache (see [`crate::hub::pull`]).
    Hub(RepoReference),
}

impl ModelSource {
    /// The folder of the model. Nothing is downloaded here.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] when a hub repository is not in the cache, or no model is embedded in this build.
    pub fn locate(&self, environment: &Environment) -> Result<ModelFolder> {
        match self {
            Self::Embedded => EmbeddedModel::folder(),
            Self::Folder(folder) => Ok(ModelFolder::Disk(folder.clone())),
            Self::Hub(reference) => {
                let cache = environment.cache()?;
                let found = cache.find(reference.repo(), reference.revision());
                found.map(ModelFolder::Disk).ok_or_else(|| {
                    let root = cache.root().display();
                    Error::ModelNotFound(format!(
                        "`{self}` is neither a folder nor in the hub cache {root}; download it with `maskwise pull {self}`"
                    ))
                })
            }
        }
    }

    /// The revision, where there is one: the commit that the cache holds, or the version of the embedded model.
    pub fn revision(&self, environment: &Environment) -> Option<String> {
        match self {
            Self::Embedded => EmbeddedModel::get().map(|model| model.version.to_owned()),
            Self::Folder(_) => None,
            Self::Hub(reference) => {
                environment.cache().ok()?.commit_of(reference.repo(), reference.revision())
            }
        }
    }
}

impl FromStr for ModelSource {
    type Err = Error;

    /// `embedded` is the model in the program. A path that exists or looks like one (`/`, `.` or `~` first, a backslash) is a folder;
    /// `ORG/NAME[@REV]` is a repository of the hub; anything else is a folder, which may turn out not to exist.
    fn from_str(text: &str) -> Result<Self> {
        if text == EMBEDDED {
            return Ok(Self::Embedded);
        }
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
            Self::Embedded => formatter.write_str(EMBEDDED),
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
        assert!(matches!("./embedded".parse().unwrap(), ModelSource::Folder(_)));
    }

    #[test]
    fn the_default_is_the_embedded_model() {
        assert_eq!("embedded".parse::<ModelSource>().unwrap(), ModelSource::default());
        assert_eq!(ModelSource::default().to_string(), "embedded");
    }

    #[cfg(not(feature = "embedded-model"))]
    #[test]
    fn a_build_without_a_model_says_what_to_do() {
        let environment = Environment::from_lookup(|_| None);
        let message = ModelSource::default().locate(&environment).unwrap_err().to_string();
        assert!(message.contains("name a model folder") && message.contains("embedded-model"), "{message}");
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
