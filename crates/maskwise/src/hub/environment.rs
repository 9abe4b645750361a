//! The environment variables of the hub, read in one place.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::proxy::Proxies;
use super::{Cache, HubError};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// An access token. It never shows in `Debug` output or in messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The secret itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(hidden)")
    }
}

/// Where the cache lies, which hub is asked, and with which token.
///
/// | variable | meaning | otherwise |
/// |---|---|---|
/// | `HF_HOME` | home of everything from the hub | `$XDG_CACHE_HOME/huggingface`, then `~/.cache/huggingface` |
/// | `HF_HUB_CACHE`, formerly `HUGGINGFACE_HUB_CACHE` | the cache | `$HF_HOME/hub` |
/// | `HF_TOKEN`, formerly `HUGGING_FACE_HUB_TOKEN` | the token | the token file |
/// | `HF_TOKEN_PATH` | the token file | `$HF_HOME/token` |
/// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | send no token | off |
/// | `HF_ENDPOINT` | address of the hub | `https://huggingface.co` |
/// | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` | never use the network | off |
/// | `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | proxies, lower case first | direct connection |
///
/// A switch is on for `1`, `ON`, `YES` and `TRUE` in any case. `~`, `$NAME` and `${NAME}` are expanded in folders.
/// An empty variable counts as unset. Unusable values are errors only once they are needed.
#[derive(Clone)]
pub struct Environment {
    user_cache: Option<PathBuf>,
    hf_home: Option<PathBuf>,
    hub_cache: Option<PathBuf>,
    token: Option<OsString>,
    token_path: Option<PathBuf>,
    send_token: bool,
    endpoint: OsString,
    offline: bool,
    proxies: Proxies,
}

impl Environment {
    /// Reads the variables of this process. Never fails and never panics, `HOME` unset included.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// Reads the variables through a function, for instance out of a map.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| get(name));
        let switch = |name: &str| get(name).is_some_and(|value| is_on(&value));
        let folder = |name: &str| get(name).map(|value| expand(&value, &get));

        let user_home = first(&["HOME", "USERPROFILE"]).map(PathBuf::from);
        let user_cache = folder("XDG_CACHE_HOME").or_else(|| user_home.map(|home| home.join(".cache")));
        let hf_home =
            folder("HF_HOME").or_else(|| user_cache.as_ref().map(|cache| cache.join("huggingface")));
        let in_home = |name: &str| hf_home.as_ref().map(|home| home.join(name));
        let proxy = |names: &[&str]| first(names).and_then(|value| value.into_string().ok());
        let no_proxy = proxy(&["no_proxy", "NO_PROXY"]);

        Self {
            hub_cache: folder("HF_HUB_CACHE")
                .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
                .or_else(|| in_home("hub")),
            token: first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]),
            token_path: folder("HF_TOKEN_PATH").or_else(|| in_home("token")),
            send_token: !switch("HF_HUB_DISABLE_IMPLICIT_TOKEN"),
            endpoint: get("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into()),
            offline: switch("HF_HUB_OFFLINE") || switch("TRANSFORMERS_OFFLINE"),
            proxies: Proxies::new(
                proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
                proxy(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
                no_proxy.as_deref(),
            ),
            hf_home,
            user_cache,
        }
    }

    /// The same with another cache folder.
    #[must_use]
    pub fn with_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.hub_cache = Some(folder.into());
        self
    }

    /// The same with offline mode switched.
    #[must_use]
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Home of everything from the hub; `None` if no home folder is known.
    pub fn hf_home(&self) -> Option<&Path> {
        self.hf_home.as_deref()
    }

    /// The folder that keeps what opening datasets finds out: `maskwise/datasets` in `$XDG_CACHE_HOME` or `~/.cache`; `None` if no home
    /// folder is known.
    pub fn dataset_cache(&self) -> Option<PathBuf> {
        self.user_cache.as_ref().map(|cache| cache.join("maskwise/datasets"))
    }

    /// The cache. The folder need not exist yet.
    ///
    /// # Errors
    /// [`HubError::NoCacheFolder`] if no variable says where it is.
    pub fn cache(&self) -> Result<Cache, HubError> {
        self.hub_cache.clone().map(Cache::new).ok_or(HubError::NoCacheFolder)
    }

    /// Whether the network is off limits.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Address of the hub, without a slash at the end; it may have a path.
    ///
    /// # Errors
    /// [`HubError::InvalidVariable`] if it does not start with `http://` or `https://`, or holds a query, a password
    /// or blanks.
    pub fn endpoint(&self) -> Result<&str, HubError> {
        let invalid = |reason| HubError::InvalidVariable { name: "HF_ENDPOINT".to_owned(), reason };
        let text = self.endpoint.to_str().ok_or_else(|| invalid("it is not UTF-8"))?.trim_end_matches('/');
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let rest = rest.ok_or_else(|| invalid("it must start with https:// or http://"))?;
        if rest.is_empty() || rest.starts_with(['/', ':']) {
            return Err(invalid("it names no host"));
        }
        if rest.contains(['@', '?', '#']) || rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid("it must be an address without blanks, password, query or fragment"));
        }
        Ok(text)
    }

    /// The access token, from the variable or else from the token file; `None` if there is neither, or if tokens are
    /// switched off.
    ///
    /// # Errors
    /// [`HubError::Io`] if the token file exists but cannot be read, [`HubError::InvalidVariable`] if the token holds
    /// characters that no token has.
    pub fn token(&self) -> Result<Option<Token>, HubError> {
        if !self.send_token {
            return Ok(None);
        }
        let invalid = |name: &str, reason| HubError::InvalidVariable { name: name.to_owned(), reason };
        if let Some(value) = &self.token {
            let text = value.to_str().ok_or_else(|| invalid("HF_TOKEN", "it is not UTF-8"))?;
            if !text.trim().is_empty() {
                return clean_token(text).map(Some).map_err(|reason| invalid("HF_TOKEN", reason));
            }
        }
        let Some(path) = &self.token_path else { return Ok(None) };
        match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => clean_token(&text)
                .map(Some)
                .map_err(|reason| invalid(&format!("HF_TOKEN_PATH ({})", path.display()), reason)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(HubError::Io { action: "read the token file", path: path.clone(), source }),
        }
    }

    /// The proxy through which `scheme://host:port` is reached; `None` is a direct connection.
    pub fn proxy_for(&self, scheme: &str, host: &str, port: u16) -> Option<&str> {
        self.proxies.proxy_for(scheme, host, port)
    }

    #[cfg(feature = "hub")]
    pub(super) fn proxy_of_scheme(&self, scheme: &str) -> Option<&str> {
        self.proxies.of_scheme(scheme)
    }
}

impl fmt::Debug for Environment {
    /// Leaves out the token and the proxies, which may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("hf_home", &self.hf_home)
            .field("hub_cache", &self.hub_cache)
            .field("token_path", &self.token_path)
            .field("endpoint", &self.endpoint)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

fn is_on(value: &OsStr) -> bool {
    let value = value.to_string_lossy().trim().to_ascii_uppercase();
    matches!(value.as_str(), "1" | "ON" | "YES" | "TRUE")
}

fn clean_token(text: &str) -> Result<Token, &'static str> {
    let token = text.trim();
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Token(token.to_owned()))
    } else {
        Err("a token is one word of printable ASCII characters")
    }
}

/// Expands a leading `~` and `$NAME` or `${NAME}`; unknown names stay as they are.
fn expand(value: &OsStr, get: &impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let Some(text) = value.to_str() else { return PathBuf::from(value) };
    let mut expanded = OsString::new();
    let mut rest = text;
    if let (true, Some(home)) =
        (text == "~" || text.starts_with("~/"), get("HOME").or_else(|| get("USERPROFILE")))
    {
        expanded.push(home);
        rest = &text[1..];
    }
    while let Some(start) = rest.find('$') {
        expanded.push(&rest[..start]);
        let after = &rest[start + 1..];
        let (name, length) = variable_name(after);
        match get(name).filter(|_| !name.is_empty()) {
            Some(found) => expanded.push(found),
            None => expanded.push(&rest[start..start + 1 + length]),
        }
        rest = &after[length..];
    }
    expanded.push(rest);
    PathBuf::from(expanded)
}

/// The variable's name at the start of the text, and the bytes that it takes up, braces included.
fn variable_name(text: &str) -> (&str, usize) {
    if let Some((name, _)) = text.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        return (name, name.len() + 2);
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (&text[..end], end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::from_lookup(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn cache_of(pairs: &[(&str, &str)]) -> PathBuf {
        environment(pairs).cache().unwrap().root().to_owned()
    }

    #[test]
    fn the_cache_follows_the_documented_order() {
        let home = ("HOME", "/u");
        assert_eq!(cache_of(&[home]), Path::new("/u/.cache/huggingface/hub"));
        assert_eq!(cache_of(&[home, ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache_of(&[home, ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")]), Path::new("/h/hub"));
        assert_eq!(cache_of(&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/old"));
        let both = [("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")];
        assert_eq!(cache_of(&both), Path::new("/new"));
        assert_eq!(cache_of(&[home, ("HF_HUB_CACHE", "")]), Path::new("/u/.cache/huggingface/hub"));
        assert_eq!(cache_of(&[home, ("HF_HOME", "~/hf")]), Path::new("/u/hf/hub"));
        let scratch = [("SCRATCH", "/s"), ("HF_HOME", "${SCRATCH}/a$SCRATCH$NONE")];
        assert_eq!(cache_of(&scratch), Path::new("/s/a/s$NONE/hub"));
    }

    #[test]
    fn without_a_home_there_is_an_error_and_no_panic() {
        let nothing = environment(&[]);
        assert!(matches!(nothing.cache(), Err(HubError::NoCacheFolder)));
        assert_eq!(nothing.token().unwrap(), None);
        assert_eq!(nothing.endpoint().unwrap(), "https://huggingface.co");
        assert_eq!(nothing.hf_home(), None);
        assert!(!nothing.is_offline());
    }

    #[test]
    fn tokens_come_from_the_variable_then_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, "hf_other").unwrap();
        let token = |pairs: &[(&str, &str)]| {
            environment(pairs).token().unwrap().map(|token| token.as_str().to_owned())
        };
        let file = ("HF_HOME", home);
        assert_eq!(token(&[file]).unwrap(), "hf_file");
        assert_eq!(token(&[file, ("HF_TOKEN_PATH", other.to_str().unwrap())]).unwrap(), "hf_other");
        assert_eq!(token(&[file, ("HF_TOKEN", " hf_variable\n")]).unwrap(), "hf_variable");
        assert_eq!(token(&[file, ("HF_TOKEN", "  ")]).unwrap(), "hf_file");
        assert_eq!(token(&[file, ("HUGGING_FACE_HUB_TOKEN", "hf_legacy")]).unwrap(), "hf_legacy");
        assert_eq!(token(&[file, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        let absent = folder.path().join("absent");
        assert_eq!(token(&[("HF_TOKEN_PATH", absent.to_str().unwrap())]), None);
    }

    #[test]
    fn a_bad_token_is_refused_without_being_shown() {
        let environment = environment(&[("HF_TOKEN", "hf_secret\r\nX-Evil: 1")]);
        let message = environment.token().unwrap_err().to_string();
        assert!(message.contains("HF_TOKEN") && !message.contains("secret"), "{message}");
        assert!(!format!("{environment:?}").contains("secret"));
        let token = clean_token("hf_secret").unwrap();
        assert!(!format!("{token:?}").contains("secret"));
    }

    #[test]
    fn switches_and_endpoint() {
        for value in ["1", "on", "Yes", "TRUE"] {
            assert!(environment(&[("HF_HUB_OFFLINE", value)]).is_offline(), "{value}");
        }
        for value in ["0", "off", "no", "", "2"] {
            assert!(!environment(&[("HF_HUB_OFFLINE", value)]).is_offline(), "{value}");
        }
        assert!(environment(&[("TRANSFORMERS_OFFLINE", "1")]).is_offline());
        let mirror = environment(&[("HF_ENDPOINT", "https://mirror.example/hub//")]);
        assert_eq!(mirror.endpoint().unwrap(), "https://mirror.example/hub");
        for value in ["ftp://x", "mirror", "https://", "https://a b", "https://u:p@h", "https:///x"] {
            let error = environment(&[("HF_ENDPOINT", value)]).endpoint().map(str::to_owned);
            assert!(matches!(error, Err(HubError::InvalidVariable { .. })), "{value}");
        }
    }

    #[test]
    fn lower_case_proxies_win() {
        let environment = environment(&[
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "http://lower:1"),
            ("ALL_PROXY", "http://all:1"),
            ("NO_PROXY", "localhost"),
        ]);
        assert_eq!(environment.proxy_for("https", "huggingface.co", 443), Some("http://lower:1"));
        assert_eq!(environment.proxy_for("http", "huggingface.co", 80), Some("http://all:1"));
        assert_eq!(environment.proxy_for("http", "localhost", 80), None);
    }
}
