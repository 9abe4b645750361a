//! Names of repositories, revisions and files, checked before they become paths or addresses.

use std::fmt;
use std::str::FromStr;

use super::HubError;

/// Longest organisation or repository name that the hub allows, in characters.
const LONGEST_NAME: usize = 96;

/// A model repository on the hub, `ORG/NAME`.
///
/// Each half has 1 to 96 characters out of ASCII letters, digits, `-`, `_` and `.`; it neither starts nor ends with
/// `-` or `.`, holds no `--` and no `..`, and the name does not end in `.git` (the hub's own rules). A value of this
/// type is therefore safe in a path and in an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoId {
    organisation: Box<str>,
    name: Box<str>,
}

impl RepoId {
    /// The part before the slash.
    pub fn organisation(&self) -> &str {
        &self.organisation
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Folder of the repository inside a cache, `models--ORG--NAME`.
    pub fn folder_name(&self) -> String {
        format!("models--{}--{}", self.organisation, self.name)
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.organisation, self.name)
    }
}

impl FromStr for RepoId {
    type Err = HubError;

    /// # Errors
    /// [`HubError::InvalidRepo`] if the text is not `ORG/NAME`.
    fn from_str(text: &str) -> Result<Self, HubError> {
        let invalid = |reason| HubError::InvalidRepo { given: text.to_owned(), reason };
        let (organisation, name) = text.split_once('/').ok_or_else(|| invalid("it has no '/'"))?;
        check_name(organisation).map_err(invalid)?;
        check_name(name).map_err(invalid)?;
        if name.ends_with(".git") {
            return Err(invalid("a name does not end in .git"));
        }
        Ok(Self { organisation: organisation.into(), name: name.into() })
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err("each half has 1 to 96 characters");
    }
    if !name.bytes().all(allowed) {
        return Err("only one '/', ASCII letters, digits, '-', '_' and '.' are allowed");
    }
    if name.starts_with(['-', '.']) || name.ends_with(['-', '.']) {
        return Err("neither half starts or ends with '-' or '.'");
    }
    if name.contains("--") || name.contains("..") {
        return Err("'--' and '..' are not allowed");
    }
    Ok(())
}

/// A repository at a revision, `ORG/NAME[@REVISION]`; without one, the branch `main`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepoReference {
    repo: RepoId,
    revision: String,
}

impl RepoReference {
    /// Joins a repository with a branch, a tag or a commit.
    ///
    /// # Errors
    /// [`HubError::InvalidRevision`] if the revision cannot be a git reference.
    pub fn new(repo: RepoId, revision: &str) -> Result<Self, HubError> {
        check_revision(revision)
            .map_err(|reason| HubError::InvalidRevision { given: revision.to_owned(), reason })?;
        Ok(Self { repo, revision: revision.to_owned() })
    }

    /// The branch `main` of a repository.
    pub fn main(repo: RepoId) -> Self {
        Self { repo, revision: "main".to_owned() }
    }

    /// The repository.
    pub fn repo(&self) -> &RepoId {
        &self.repo
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl fmt::Display for RepoReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.repo, self.revision)
    }
}

impl FromStr for RepoReference {
    type Err = HubError;

    /// # Errors
    /// [`HubError::InvalidRepo`] or [`HubError::InvalidRevision`].
    fn from_str(text: &str) -> Result<Self, HubError> {
        match text.split_once('@') {
            Some((repo, revision)) => Self::new(repo.parse()?, revision),
            None => Ok(Self::main(text.parse()?)),
        }
    }
}

/// The rules of `git check-ref-format`, as far as they keep a revision from leaving its folder.
pub(super) fn check_revision(revision: &str) -> Result<(), &'static str> {
    if revision.is_empty() || revision.len() > 255 {
        return Err("it has 1 to 255 characters");
    }
    if revision.chars().any(|c| c.is_control() || c == ' ' || "~^:?*[\\<>|\"".contains(c)) {
        return Err("it holds a character that git does not allow");
    }
    if revision.contains("..") || revision.contains("@{") {
        return Err("'..' and '@{' are not allowed");
    }
    let bad_part = |part: &str| part.is_empty() || part.starts_with(['.', '-']) || part.ends_with('.');
    if revision.split('/').any(|part| bad_part(part) || part.ends_with(".lock")) {
        return Err("a part of it is empty, starts with '.' or '-', or ends with '.' or '.lock'");
    }
    Ok(())
}

/// Whether the text is a full commit: 40 lower-case hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    is_lower_hex(text, 40)
}

/// Whether the text is `digits` lower-case hexadecimal digits.
pub(super) fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a file name given by a server stays inside the folder it is joined to, on every platform.
pub(super) fn is_safe_file_name(name: &str) -> bool {
    let bad_part = |part: &str| part.is_empty() || part == "." || part == "..";
    name.len() <= 1024
        && !name.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
        && !name.split('/').any(bad_part)
}

/// Percent-encodes one segment of a path (RFC 3986, unreserved characters stay).
#[cfg(feature = "hub")]
pub(super) fn encode_segment(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_repositories_and_revisions() {
        let plain: RepoReference = "openai/clip-vit-large-patch14-336".parse().unwrap();
        assert_eq!(plain.repo().organisation(), "openai");
        assert_eq!(plain.repo().name(), "clip-vit-large-patch14-336");
        assert_eq!(plain.revision(), "main");
        assert_eq!(plain.repo().folder_name(), "models--openai--clip-vit-large-patch14-336");
        let pinned: RepoReference = "a_b/C.d@refs/pr/7".parse().unwrap();
        assert_eq!(pinned.revision(), "refs/pr/7");
        assert_eq!(pinned.to_string(), "a_b/C.d@refs/pr/7");
    }

    #[test]
    fn refuses_what_the_hub_refuses() {
        let long = format!("a/{}", "x".repeat(97));
        for text in [
            "",
            "name",
            "/name",
            "org/",
            "a/b/c",
            "../b",
            "a/..",
            "a/b..c",
            "a/b--c",
            "a/.b",
            "a/b.",
            "-a/b",
            "a/b.git",
            "a b/c",
            "a/b\\c",
            "å/b",
            "a/b\0",
            long.as_str(),
        ] {
            assert!(matches!(text.parse::<RepoId>(), Err(HubError::InvalidRepo { .. })), "{text:?}");
        }
        for text in ["a/b@", "a/b@..", "a/b@x/../y", "a/b@/x", "a/b@x/", "a/b@x y", "a/b@.x", "a/b@x.lock"] {
            assert!(
                matches!(text.parse::<RepoReference>(), Err(HubError::InvalidRevision { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn file_names_cannot_leave_their_folder() {
        for name in ["config.json", "a/b.safetensors", ".gitattributes", "..a", "tower/model v2.bin"] {
            assert!(is_safe_file_name(name), "{name:?}");
        }
        for name in ["", "/etc/passwd", "../x", "a/../x", "a//b", "a/.", "C:x", "a\\b", "x\n", "a/"] {
            assert!(!is_safe_file_name(name), "{name:?}");
        }
    }

    #[cfg(feature = "hub")]
    #[test]
    fn encodes_segments() {
        assert_eq!(encode_segment("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(encode_segment("a b#?é.txt"), "a%20b%23%3F%C3%A9.txt");
    }
}
