//! A server that speaks the hub's protocol on the loopback address, with faults on demand.
//!
//! Two listeners: the hub, and the storage to which it redirects large files. Both write down every request.
#![allow(dead_code)]

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use maskwise::hub::{Environment, HubError, Progress, PullOptions, Snapshot, pull};
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What one answer does instead of the right thing.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Sends this many bytes of the body, then hangs up.
    CutAfter(usize),
    /// Flips a bit of the first byte.
    Corrupt,
    /// Sends more than was announced.
    TooLong,
    /// Answers a request for a range with the whole file.
    IgnoreRange,
    /// Status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, &'static str),
    /// Hangs up before the answer.
    HangUp,
    /// Answers late.
    Delay(Duration),
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) to_storage: bool,
}

#[derive(Default)]
struct State {
    /// Files of each repository.
    repos: HashMap<String, Vec<(String, Vec<u8>)>>,
    /// Names that the listing claims besides.
    ghosts: Vec<String>,
    /// Faults by a part of `METHOD PATH`, each used as often as it is listed.
    faults: Vec<(String, Fault)>,
    /// A token without which nothing is answered.
    required_token: Option<String>,
    /// Whether the listing holds sizes and checksums.
    plain_listing: bool,
    requests: Vec<Request>,
}

pub(crate) struct FakeHub {
    state: Arc<Mutex<State>>,
    pub(crate) endpoint: String,
}

impl FakeHub {
    pub(crate) fn start() -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let storage = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", hub.local_addr().unwrap());
        let storage_address = format!("http://{}", storage.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        for (listener, to_storage) in [(hub, false), (storage, true)] {
            let (state, storage_address) = (state.clone(), storage_address.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (state, storage_address) = (state.clone(), storage_address.clone());
                    thread::spawn(move || serve(stream, &state, &storage_address, to_storage));
                }
            });
        }
        Self { state, endpoint }
    }

    pub(crate) fn repo(&self, name: &str, files: &[(&str, Vec<u8>)]) -> &Self {
        let files = files.iter().map(|(file, bytes)| ((*file).to_owned(), bytes.clone())).collect();
        self.state.lock().unwrap().repos.insert(name.to_owned(), files);
        self
    }

    /// The next answer to a request whose `METHOD PATH` holds the text goes wrong.
    pub(crate) fn fault(&self, request: &str, fault: Fault) -> &Self {
        self.state.lock().unwrap().faults.push((request.to_owned(), fault));
        self
    }

    pub(crate) fn ghost(&self, name: &str) {
        self.state.lock().unwrap().ghosts.push(name.to_owned());
    }

    pub(crate) fn require_token(&self, token: &str) {
        self.state.lock().unwrap().required_token = Some(token.to_owned());
    }

    pub(crate) fn plain_listing(&self) {
        self.state.lock().unwrap().plain_listing = true;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Bodies that were asked for: `GET` requests whose path ends with the name, at the storage or the hub.
    pub(crate) fn fetches(&self, file: &str) -> Vec<Request> {
        let is_body = |request: &Request| request.method == "GET" && request.path.ends_with(file);
        self.requests().into_iter().filter(is_body).collect()
    }

    /// An environment with this hub and a cache in the folder.
    pub(crate) fn environment(&self, folder: &Path, more: &[(&str, &str)]) -> Environment {
        let mut variables: HashMap<String, OsString> = HashMap::new();
        variables.insert("HF_HOME".into(), folder.into());
        variables.insert("HF_ENDPOINT".into(), self.endpoint.clone().into());
        variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))));
        Environment::from_lookup(move |name| variables.get(name).cloned())
    }

    /// Pulls without long waits.
    pub(crate) fn pull(&self, folder: &Path, reference: &str) -> Result<Snapshot, HubError> {
        self.pull_with(folder, reference, &[], &mut |_| {})
    }

    pub(crate) fn pull_with(
        &self,
        folder: &Path,
        reference: &str,
        variables: &[(&str, &str)],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Snapshot, HubError> {
        let environment = self.environment(folder, variables);
        pull(&environment, &reference.parse().unwrap(), &options(), progress)
    }
}

pub(crate) fn options() -> PullOptions {
    PullOptions {
        attempts: 3,
        first_wait: Duration::from_millis(1),
        patience: Duration::from_secs(20),
        ..PullOptions::default()
    }
}

/// A byte pattern that differs at every place.
pub(crate) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn git_blob(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Weights go through large-file storage, as on the hub.
fn is_large(file: &str) -> bool {
    [".safetensors", ".bin", ".pth"].iter().any(|ending| file.ends_with(ending))
}

fn serve(stream: TcpStream, state: &Mutex<State>, storage: &str, to_storage: bool) {
    let Some(request) = read_request(&stream, to_storage) else { return };
    let (answer, fault) = {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        let line = format!("{} {}", request.method, request.path);
        let found = state.faults.iter().position(|(part, _)| line.contains(part.as_str()));
        let fault = found.map(|index| state.faults.remove(index).1);
        let mut heard = request.clone();
        if matches!(fault, Some(Fault::IgnoreRange)) {
            heard.headers.remove("range");
        }
        (answer_to(&state, &heard, storage), fault)
    };
    send(stream, &request, answer, fault);
}

fn read_request(stream: &TcpStream, to_storage: bool) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    Some(Request { method, path, headers, to_storage })
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self { status, headers, body: body.into() }
    }
}

fn answer_to(state: &State, request: &Request, storage: &str) -> Answer {
    if request.to_storage {
        let name = request.path.split('?').next().unwrap().rsplit('/').next().unwrap();
        let files = state.repos.values().flatten();
        let body = files.filter(|(file, _)| is_large(file)).find(|(_, bytes)| sha256(bytes) == name);
        return body.map_or(Answer::new(404, &[], ""), |(_, bytes)| ranged(request, &[], bytes));
    }
    let token = request.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if state.required_token.is_some() && token != state.required_token.as_deref() {
        let headers =
            [("X-Error-Code", "GatedRepo"), ("X-Error-Message", "Access to this model is restricted.")];
        return Answer::new(if token.is_some() { 403 } else { 401 }, &headers, "");
    }
    if let Some(rest) = request.path.strip_prefix("/api/models/") {
        return listing(state, rest);
    }
    let Some((repo, rest)) = request.path[1..].split_once("/resolve/") else {
        return Answer::new(404, &[], "");
    };
    let (commit, file) = rest.split_once('/').unwrap();
    let found = state.repos.get(repo).and_then(|files| files.iter().find(|(name, _)| name == file));
    let Some((_, bytes)) = found.filter(|_| commit == COMMIT) else {
        return Answer::new(404, &[("X-Error-Code", "EntryNotFound")], "");
    };
    let commit = ("X-Repo-Commit", COMMIT);
    if is_large(file) {
        let (etag, size) = (format!("\"{}\"", sha256(bytes)), bytes.len().to_string());
        let location = format!("{storage}/store/{}?signature=secret", sha256(bytes));
        let linked =
            [("X-Linked-Etag", etag.as_str()), ("X-Linked-Size", &size), ("Location", &location), commit];
        return Answer::new(302, &linked, "");
    }
    ranged(request, &[("ETag", &format!("\"{}\"", git_blob(bytes))), commit], bytes)
}

fn listing(state: &State, rest: &str) -> Answer {
    let (repo, revision) = rest.split_once("/revision/").unwrap();
    let Some(files) = state.repos.get(repo) else {
        return Answer::new(
            404,
            &[("X-Error-Code", "RepoNotFound")],
            "{\"error\": \"Repository not found\"}",
        );
    };
    let revision = revision.split('?').next().unwrap();
    if !["main", "refs%2Fpr%2F1", COMMIT].contains(&revision) {
        return Answer::new(404, &[("X-Error-Code", "RevisionNotFound")], "{\"error\": \"Invalid rev id\"}");
    }
    let sibling = |(name, bytes): &(String, Vec<u8>)| match (state.plain_listing, is_large(name)) {
        (true, _) => serde_json::json!({"rfilename": name}),
        (false, true) => serde_json::json!({
            "rfilename": name, "size": bytes.len(), "blobId": "0", "lfs": {"sha256": sha256(bytes), "size": bytes.len()}
        }),
        (false, false) => {
            serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": git_blob(bytes)})
        }
    };
    let mut siblings: Vec<serde_json::Value> = files.iter().map(sibling).collect();
    siblings.extend(state.ghosts.iter().map(|name| serde_json::json!({"rfilename": name})));
    Answer::new(200, &[], serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string())
}

fn ranged(request: &Request, headers: &[(&str, &str)], bytes: &[u8]) -> Answer {
    let range = request.headers.get("range").and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-'));
    let Some(start) = range.map(|text| text.parse::<usize>().unwrap()) else {
        return Answer::new(200, headers, bytes);
    };
    if start >= bytes.len() {
        return Answer::new(416, headers, "");
    }
    let content_range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
    let mut headers = headers.to_vec();
    headers.push(("Content-Range", &content_range));
    Answer::new(206, &headers, &bytes[start..])
}

fn send(mut stream: TcpStream, request: &Request, mut answer: Answer, fault: Option<Fault>) {
    let mut cut = usize::MAX;
    match fault {
        None | Some(Fault::IgnoreRange) => {}
        Some(Fault::HangUp) => return,
        Some(Fault::CutAfter(length)) => cut = length,
        Some(Fault::Corrupt) => answer.body[0] ^= 1,
        Some(Fault::TooLong) => answer.body.extend([0; 10]),
        Some(Fault::Delay(time)) => thread::sleep(time),
        Some(Fault::Answer(status, headers, body)) => {
            answer = Answer { status, headers: vec![], body: body.into() };
            answer.headers.extend(headers.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
    }
    let mut head = format!("HTTP/1.1 {} Answer\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Connection: close\r\n\r\n");
    let body = if request.method == "HEAD" { &[] } else { &answer.body[..answer.body.len().min(cut)] };
    // A client that has heard enough hangs up: that is its right.
    let _ =
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).and_then(|()| stream.flush());
}
