//! Requests to the hub: which token and proxy go with them, redirects, and what a refusal means.

use std::time::Duration;

use serde::Deserialize;
use ureq::http::{Method, Request, Response, StatusCode, Uri, header};
use ureq::{Agent, Body, Proxy};

use super::download::PullOptions;
use super::repo::{encode_segment, is_commit, is_lower_hex};
use super::retry::Failure;
use super::{Environment, HubError, RepoId, RepoReference, Token};

const USER_AGENT: &str = concat!("maskwise/", env!("CARGO_PKG_VERSION"));
const MOST_REDIRECTS: usize = 10;
/// A listing of a repository is far smaller than this.
const LARGEST_LISTING: u64 = 64 << 20;

/// What the hub knows about a revision.
#[derive(Debug, Deserialize)]
pub(super) struct Revision {
    /// The commit.
    pub(super) sha: String,
    /// Its files.
    #[serde(default)]
    pub(super) siblings: Vec<Sibling>,
}

/// One file in a listing. Mirrors may leave out everything but the name.
#[derive(Debug, Deserialize)]
pub(super) struct Sibling {
    #[serde(rename = "rfilename")]
    pub(super) name: String,
    pub(super) size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Debug, Deserialize)]
struct LargeFile {
    sha256: Option<String>,
}

/// How the bytes of a file are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    /// SHA-256 of the bytes (large files).
    Sha256(String),
    /// SHA-1 of the git blob (small files).
    GitBlob(String),
    /// The hub gave none: only the size is checked.
    SizeOnly,
}

/// A file at a commit, as announced.
#[derive(Debug)]
pub(super) struct RemoteFile {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) etag: String,
    pub(super) size: u64,
    pub(super) checksum: Checksum,
}

/// What a request is about, for the wording of a refusal.
pub(super) struct Subject<'a> {
    pub(super) reference: &'a RepoReference,
    pub(super) file: Option<&'a str>,
}

/// An answer after redirects, with what the hub said on the way.
struct Reply {
    response: Response<Body>,
    url: Uri,
    linked_etag: Option<String>,
    linked_size: Option<u64>,
    commit: Option<String>,
}

pub(super) struct Client<'a> {
    environment: &'a Environment,
    endpoint: &'a str,
    origin: Origin,
    token: Option<Token>,
    direct: Agent,
    proxied: Vec<(String, Agent)>,
}

/// Scheme, host and port: the token goes to the hub's own and to no other.
type Origin = (String, String, u16);

impl<'a> Client<'a> {
    pub(super) fn new(environment: &'a Environment, options: &PullOptions) -> Result<Self, HubError> {
        let endpoint = environment.endpoint()?;
        let invalid = |name: &str, reason| HubError::InvalidVariable { name: name.to_owned(), reason };
        let uri: Uri = endpoint.parse().map_err(|_| invalid("HF_ENDPOINT", "it is not an address"))?;
        let origin = origin_of(&uri).ok_or_else(|| invalid("HF_ENDPOINT", "it names no host"))?;
        let mut proxied = Vec::new();
        for (scheme, variable) in [("https", "HTTPS_PROXY"), ("http", "HTTP_PROXY")] {
            if let Some(address) = environment.proxy_of_scheme(scheme) {
                let proxy =
                    Proxy::new(address).map_err(|_| invalid(variable, "it is not a proxy's address"))?;
                proxied.push((address.to_owned(), agent(Some(proxy), options)));
            }
        }
        let token = environment.token()?;
        Ok(Self { environment, endpoint, origin, token, direct: agent(None, options), proxied })
    }

    /// Asks for the commit and the files of a revision.
    pub(super) fn revision(&self, reference: &RepoReference) -> Result<Revision, Failure> {
        let url = self.revision_url(reference);
        let reply = self.request(&Method::GET, &url, None, true)?;
        let reply = self.accept(reply, &Subject { reference, file: None })?;
        let shown = without_query(&reply.url);
        let text = reply.response.into_body().into_with_config().limit(LARGEST_LISTING).read_to_string();
        let text = text.map_err(|error| failure_of(error, &shown))?;
        let bad = |reason: String| HubError::BadResponse { url: shown.clone(), reason };
        let revision: Revision = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if !is_commit(&revision.sha) {
            return Err(bad(format!("its commit {:?} is not 40 hexadecimal digits", revision.sha)).into());
        }
        Ok(revision)
    }

    /// Address under which a revision is described.
    pub(super) fn revision_url(&self, reference: &RepoReference) -> String {
        let revision = encode_segment(reference.revision());
        format!("{}/api/models/{}/revision/{revision}?blobs=true", self.endpoint, reference.repo())
    }

    /// Address of a file at a commit.
    pub(super) fn file_url(&self, repo: &RepoId, commit: &str, file: &str) -> String {
        let path = file.split('/').map(encode_segment).collect::<Vec<_>>().join("/");
        format!("{}/{repo}/resolve/{commit}/{path}", self.endpoint)
    }

    /// Asks for the size and the checksum of a file. The storage that a large file is redirected to is not asked: what
    /// counts is what the hub itself says.
    pub(super) fn announce(
        &self,
        subject: &Subject<'_>,
        sibling: &Sibling,
        commit: &str,
    ) -> Result<RemoteFile, Failure> {
        let url = self.file_url(subject.reference.repo(), commit, &sibling.name);
        let reply = self.accept(self.request(&Method::HEAD, &url, None, false)?, subject)?;
        let bad = |reason: &str| HubError::BadResponse { url: url.clone(), reason: reason.to_owned() };
        if reply.commit.as_deref().is_some_and(|found| found != commit) {
            return Err(bad("it answers for another commit").into());
        }
        let listed =
            sibling.lfs.as_ref().and_then(|lfs| lfs.sha256.clone()).or_else(|| sibling.blob_id.clone());
        let etag = reply.linked_etag.clone().or_else(|| header_text(&reply.response, "etag"));
        let etag = etag.as_deref().map(plain_etag).filter(|etag| !etag.is_empty()).or(listed.clone());
        let etag = etag.ok_or_else(|| bad("it gives no ETag"))?;
        if !is_usable_etag(&etag) {
            return Err(bad("its ETag cannot be a file name").into());
        }
        let own_length =
            reply.response.status().is_success().then(|| content_length(&reply.response)).flatten();
        let size = reply.linked_size.or(sibling.size).or(own_length);
        let size = size.ok_or_else(|| bad("it does not say how large the file is"))?;
        let checksum = match checksum_of(&etag) {
            Checksum::SizeOnly => listed.as_deref().map_or(Checksum::SizeOnly, checksum_of),
            known => known,
        };
        Ok(RemoteFile { name: sibling.name.clone(), url, etag, size, checksum })
    }

    /// Starts to fetch a file from a byte on. The answer's status is 200, 206 or 416.
    pub(super) fn open(
        &self,
        subject: &Subject<'_>,
        url: &str,
        from: u64,
    ) -> Result<Response<Body>, Failure> {
        let range = (from > 0).then_some(from);
        let reply = self.request(&Method::GET, url, range, true)?;
        if reply.response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(reply.response);
        }
        Ok(self.accept(reply, subject)?.response)
    }

    /// Sends a request and follows redirects; with `to_any_host` off, only those that stay on the same host.
    fn request(
        &self,
        method: &Method,
        url: &str,
        from: Option<u64>,
        to_any_host: bool,
    ) -> Result<Reply, Failure> {
        let bad = |url: &str, reason: &str| HubError::BadResponse {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let mut url: Uri = url.parse().map_err(|_| bad(url, "it is not an address"))?;
        let (mut linked_etag, mut linked_size, mut commit) = (None, None, None);
        for _ in 0..=MOST_REDIRECTS {
            let shown = without_query(&url);
            let origin = origin_of(&url).ok_or_else(|| bad(&shown, "it is not an http address"))?;
            let response = self.send(method, &url, &origin, from)?;
            linked_etag = linked_etag.or_else(|| header_text(&response, "x-linked-etag"));
            linked_size = linked_size.or_else(|| header_text(&response, "x-linked-size")?.parse().ok());
            commit = commit.or_else(|| header_text(&response, "x-repo-commit"));
            let next = match header_text(&response, "location") {
                Some(location) if response.status().is_redirection() => Some(
                    join(&url, &location).ok_or_else(|| bad(&shown, "it redirects to no valid address"))?,
                ),
                _ => None,
            };
            let reply = Reply { response, url: url.clone(), linked_etag, linked_size, commit };
            let Some(next) = next else { return Ok(reply) };
            let next_origin =
                origin_of(&next).ok_or_else(|| bad(&shown, "it redirects to no http address"))?;
            if origin.0 == "https" && next_origin.0 != "https" {
                return Err(bad(&shown, "it redirects from https to http").into());
            }
            if !to_any_host && next_origin != origin {
                return Ok(reply);
            }
            Reply { linked_etag, linked_size, commit, .. } = reply;
            url = next;
        }
        Err(bad(&without_query(&url), "it redirects without end").into())
    }

    fn send(
        &self,
        method: &Method,
        url: &Uri,
        origin: &Origin,
        from: Option<u64>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method.clone()).uri(url.clone());
        if let Some(token) = self.token.as_ref().filter(|_| *origin == self.origin) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.as_str()));
        }
        if let Some(from) = from {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let shown = without_query(url);
        let request = request
            .body(())
            .map_err(|error| HubError::BadResponse { url: shown.clone(), reason: error.to_string() })?;
        self.agent_for(origin).run(request).map_err(|error| failure_of(error, &shown))
    }

    fn agent_for(&self, (scheme, host, port): &Origin) -> &Agent {
        let address = self.environment.proxy_for(scheme, host, *port);
        let found = self.proxied.iter().find(|(known, _)| Some(known.as_str()) == address);
        found.map_or(&self.direct, |(_, agent)| agent)
    }

    /// Passes on an answer that is a success, or a redirect that was not followed.
    fn accept(&self, reply: Reply, subject: &Subject<'_>) -> Result<Reply, Failure> {
        let status = reply.response.status();
        let unfollowed = status.is_redirection() && reply.response.headers().contains_key(header::LOCATION);
        if status.is_success() || unfollowed { Ok(reply) } else { Err(self.refusal(reply, subject)) }
    }

    fn refusal(&self, mut reply: Reply, subject: &Subject<'_>) -> Failure {
        let status = reply.response.status();
        let code = header_text(&reply.response, "x-error-code").unwrap_or_default();
        let message = server_message(&mut reply.response);
        let busy = matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error();
        if busy {
            let wait = header_text(&reply.response, "retry-after").and_then(|text| text.trim().parse().ok());
            let reason = format!("HTTP {status}{}{message}", if message.is_empty() { "" } else { ": " });
            return Failure::Passing { reason, wait: wait.map(Duration::from_secs) };
        }
        let (repo, revision) = (subject.reference.repo().clone(), subject.reference.revision().to_owned());
        let from_hub = origin_of(&reply.url).is_some_and(|origin| origin == self.origin);
        let had_token = self.token.is_some();
        let restricted = message.contains("gated") || message.contains("restricted");
        let error = match (code.as_str(), status.as_u16(), subject.file) {
            // The storage behind the hub knows nothing about repositories: its refusals are not about access.
            _ if !from_hub => HubError::UnexpectedStatus {
                url: without_query(&reply.url),
                status: status.as_u16(),
                message,
            },
            ("GatedRepo", ..) => self.gated(repo),
            (_, 401 | 403, _) if restricted => self.gated(repo),
            ("RevisionNotFound", ..) => HubError::RevisionNotFound { repo, revision },
            ("EntryNotFound", _, Some(file)) => {
                HubError::FileNotFound { repo, revision, file: file.to_owned() }
            }
            ("RepoNotFound", ..) => {
                HubError::RepoNotFound { repo, endpoint: self.endpoint.to_owned(), had_token }
            }
            (_, status @ (401 | 403), _) => HubError::Refused { repo, status, message, had_token },
            (_, 404, Some(file)) => HubError::FileNotFound { repo, revision, file: file.to_owned() },
            (_, 404, None) => HubError::RepoNotFound { repo, endpoint: self.endpoint.to_owned(), had_token },
            (_, status, _) => HubError::UnexpectedStatus { url: without_query(&reply.url), status, message },
        };
        Failure::Final(error)
    }

    fn gated(&self, repo: RepoId) -> HubError {
        let page = format!("{}/{repo}", self.endpoint);
        HubError::Gated { repo, page, had_token: self.token.is_some() }
    }
}

fn agent(proxy: Option<Proxy>, options: &PullOptions) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(proxy)
        .user_agent(USER_AGENT)
        // Sizes and checksums are those of the plain bytes.
        .accept_encoding("identity")
        .timeout_connect(Some(options.patience))
        .timeout_recv_response(Some(options.patience))
        .timeout_per_read(Some(options.patience))
        .build()
        .new_agent()
}

/// Whether a failure of the connection is worth another attempt.
fn failure_of(error: ureq::Error, url: &str) -> Failure {
    use ureq::Error as E;
    match error {
        E::Io(_) | E::Timeout(_) | E::HostNotFound | E::ConnectionFailed | E::Protocol(_) => {
            Failure::passing(error.to_string())
        }
        E::ConnectProxyFailed(reason) => {
            Failure::passing(format!("the proxy refused the connection: {reason}"))
        }
        other => HubError::BadResponse { url: url.to_owned(), reason: other.to_string() }.into(),
    }
}

fn header_text(response: &Response<Body>, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    header_text(response, "content-length")?.trim().parse().ok()
}

/// The server's own words, short and without control characters, for they go to a terminal.
fn server_message(response: &mut Response<Body>) -> String {
    let message = header_text(response, "x-error-message").or_else(|| {
        let body = response.body_mut().with_config().limit(64 << 10).read_to_string().ok()?;
        let value: serde_json::Value = serde_json::from_str(&body).ok()?;
        value.get("error").or_else(|| value.get("message"))?.as_str().map(str::to_owned)
    });
    message.unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect()
}

fn plain_etag(etag: &str) -> String {
    etag.trim().trim_start_matches("W/").trim_matches('"').to_owned()
}

fn is_usable_etag(etag: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=128).contains(&etag.len()) && etag.bytes().all(allowed) && !etag.starts_with('.')
}

fn checksum_of(etag: &str) -> Checksum {
    if is_lower_hex(etag, 64) {
        Checksum::Sha256(etag.to_owned())
    } else if is_lower_hex(etag, 40) {
        Checksum::GitBlob(etag.to_owned())
    } else {
        Checksum::SizeOnly
    }
}

fn origin_of(url: &Uri) -> Option<Origin> {
    let scheme = url.scheme_str()?.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let host = url.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
    Some((scheme, host, url.port_u16().unwrap_or(default_port)))
}

/// An address without its query, which may hold a signature.
fn without_query(url: &Uri) -> String {
    let text = url.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

/// Resolves a `Location` against the address that sent it (RFC 3986, section 5, without dot segments).
fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next()?;
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let joined = if location.contains("://") && !location.starts_with('/') {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    joined.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let base: Uri = "https://hub.example/a/b?q=1".parse().unwrap();
        for (location, expected) in [
            ("/c?x=/../y", "https://hub.example/c?x=/../y"),
            ("c", "https://hub.example/a/c"),
            ("//cdn.example/c", "https://cdn.example/c"),
            ("http://other.example:8/c#part", "http://other.example:8/c"),
            ("/c?next=https://x", "https://hub.example/c?next=https://x"),
        ] {
            assert_eq!(join(&base, location).unwrap().to_string(), expected);
        }
        assert!(join(&base, "ftp://x y").is_none());
    }

    #[test]
    fn etags_say_how_to_check() {
        assert_eq!(plain_etag("W/\"abc\""), "abc");
        assert_eq!(checksum_of(&"a".repeat(64)), Checksum::Sha256("a".repeat(64)));
        assert_eq!(checksum_of(&"b".repeat(40)), Checksum::GitBlob("b".repeat(40)));
        assert_eq!(checksum_of("v1-2"), Checksum::SizeOnly);
        for etag in ["", "..", "../x", "a/b", ".hidden", "a b"] {
            assert!(!is_usable_etag(etag), "{etag:?}");
        }
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let origin = |text: &str| origin_of(&text.parse().unwrap());
        assert_eq!(origin("https://Hub.example/x"), origin("https://hub.example:443"));
        assert_ne!(origin("https://hub.example"), origin("http://hub.example"));
        assert_ne!(origin("http://127.0.0.1:1"), origin("http://127.0.0.1:2"));
        assert_eq!(origin("ftp://hub.example"), None);
        assert_eq!(without_query(&"https://a/b?sig=secret".parse().unwrap()), "https://a/b");
    }
}
