//! Pulls that must fail, each with a message that helps and nothing broken left behind.
#![cfg(feature = "hub")]
// The helpers beside the tests unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod hub_server;

use std::fs;
use std::path::Path;

use hub_server::{COMMIT, FakeHub, Fault, bytes, sha256};
use maskwise::hub::{HubError, PullOptions, pull};

fn model() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("config.json", b"{}".to_vec()),
        ("model.safetensors", bytes(10_000, 1)),
        ("tokenizer.json", b"{\"version\": 1}".to_vec()),
    ]
}

fn hub() -> FakeHub {
    let hub = FakeHub::start();
    hub.repo("org/model", &model());
    hub
}

/// Files below a folder, lock files left aside.
fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with(".locks")) {
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found
}

fn has_reference(folder: &Path) -> bool {
    folder.join("hub/models--org--model/refs/main").exists()
}

#[test]
fn damaged_bytes_are_refused_and_removed() {
    for (request, file, expected) in
        [("/store/", "model.safetensors", "sha256"), ("GET /org", "tokenizer.json", "git blob")]
    {
        let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
        let path = if request == "/store/" {
            request.to_owned()
        } else {
            format!("{request}/model/resolve/{COMMIT}/{file}")
        };
        hub.fault(&path, Fault::Corrupt);
        let error = hub.pull(folder.path(), "org/model").unwrap_err();
        assert!(matches!(&error, HubError::Damaged { file: found, .. } if found == file), "{error}");
        let message = error.to_string();
        assert!(message.contains(expected) && message.contains("org/model"), "{message}");
        let kept = files_below(folder.path());
        assert!(kept.iter().all(|name| !name.ends_with(".incomplete") && !name.ends_with(file)), "{kept:?}");
        assert!(!has_reference(folder.path()));
        hub.pull(folder.path(), "org/model").unwrap();
    }
}

#[test]
fn more_bytes_than_announced_are_refused() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    hub.fault("/store/", Fault::TooLong);
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }), "{error}");
    assert!(files_below(folder.path()).iter().all(|name| !name.ends_with(".incomplete")));
}

#[test]
fn gated_repositories_say_where_to_ask_and_how_to_log_in() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    hub.require_token("hf_right");
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(matches!(error, HubError::Gated { had_token: false, .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&format!("{}/org/model", hub.endpoint)), "{message}");
    assert!(message.contains("set HF_TOKEN"), "{message}");

    let error =
        hub.pull_with(folder.path(), "org/model", &[("HF_TOKEN", "hf_wrong")], &mut |_| {}).unwrap_err();
    assert!(matches!(error, HubError::Gated { had_token: true, .. }), "{error}");
    assert!(!error.to_string().contains("hf_wrong"));
    assert!(files_below(folder.path()).is_empty());
    assert_eq!(hub.requests().len(), 2, "a refusal is not asked again");
}

#[test]
fn refused_access_repeats_the_servers_words_without_its_control_characters() {
    for status in [401, 403] {
        let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
        let answer = Fault::Answer(status, vec![], "{\"error\": \"Invalid\\u001b[31m credentials\"}");
        hub.fault("/revision/main", answer);
        let error = hub.pull(folder.path(), "org/model").unwrap_err();
        assert!(matches!(&error, HubError::Refused { status: found, .. } if *found == status), "{error}");
        let message = error.to_string();
        assert!(message.contains("credentials") && !message.contains('\u{1b}'), "{message:?}");
    }
}

#[test]
fn unknown_repositories_revisions_and_files() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let error = hub.pull(folder.path(), "org/none").unwrap_err();
    assert!(matches!(error, HubError::RepoNotFound { .. }), "{error}");
    assert!(error.to_string().contains("check the spelling"));
    let error = hub.pull(folder.path(), "org/model@v9").unwrap_err();
    assert!(matches!(&error, HubError::RevisionNotFound { revision, .. } if revision == "v9"), "{error}");
    hub.ghost("generation_config.json");
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(
        matches!(&error, HubError::FileNotFound { file, .. } if file == "generation_config.json"),
        "{error}"
    );
    assert!(!has_reference(folder.path()));
}

#[test]
fn names_that_leave_the_folder_are_refused_before_anything_is_written() {
    for name in
        ["../../evil.safetensors", "/etc/evil", "a/../../evil", "C:evil", "a\\..\\evil", "config.json/"]
    {
        let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
        hub.ghost(name);
        let error = hub.pull(folder.path(), "org/model").unwrap_err();
        assert!(matches!(&error, HubError::UnsafeFileName { name: found, .. } if found == name), "{error}");
        assert!(files_below(folder.path()).is_empty(), "{name}");
    }
}

#[test]
fn an_index_cannot_lead_astray() {
    let index = |shard: &str| format!("{{\"weight_map\": {{\"a\": \"{shard}\"}}}}").into_bytes();
    let (hub, folder) = (FakeHub::start(), tempfile::tempdir().unwrap());
    hub.repo("org/model", &[("config.json", vec![]), ("model.safetensors.index.json", index("../../x"))]);
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(matches!(error, HubError::BadResponse { .. }), "{error}");
    hub.repo(
        "org/model",
        &[("config.json", vec![]), ("model.safetensors.index.json", index("gone.safetensors"))],
    );
    let folder = tempfile::tempdir().unwrap();
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(matches!(&error, HubError::FileNotFound { file, .. } if file == "gone.safetensors"), "{error}");
    assert!(!has_reference(folder.path()));
}

#[test]
fn a_hostile_answer_is_refused() {
    let etag = |value: &str| Fault::Answer(200, vec![("ETag", value.to_owned())], "");
    let moved = |value: &str| Fault::Answer(302, vec![("Location", value.to_owned())], "");
    let text = |status, body| Fault::Answer(status, vec![], body);
    for (request, fault) in [
        ("HEAD", etag("\"../../../evil\"")),
        ("HEAD", moved("file:///etc/passwd")),
        ("/revision/", text(200, "<html>")),
        ("/revision/", text(200, "{\"sha\": \"../../..\", \"siblings\": []}")),
        ("HEAD", Fault::Answer(200, vec![("ETag", "x".into()), ("X-Repo-Commit", "f".repeat(40))], "")),
    ] {
        let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
        let shown = format!("{fault:?}");
        hub.fault(request, fault);
        let error = hub.pull(folder.path(), "org/model").unwrap_err();
        assert!(matches!(error, HubError::BadResponse { .. }), "{shown}: {error}");
        assert!(!has_reference(folder.path()));
    }
}

#[test]
fn a_redirect_without_end_ends() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    for _ in 0..20 {
        let location = vec![("Location", "/api/models/org/model/revision/main".to_owned())];
        hub.fault("/revision/main", Fault::Answer(302, location, ""));
    }
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(error.to_string().contains("redirects without end"), "{error}");
}

#[test]
fn signed_addresses_do_not_show_in_messages() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    hub.fault("/store/", Fault::Answer(403, vec![], "<xml>expired</xml>"));
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(matches!(error, HubError::UnexpectedStatus { status: 403, .. }), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn a_repository_without_weights_is_said_to_be_one() {
    let (hub, folder) = (FakeHub::start(), tempfile::tempdir().unwrap());
    hub.repo("org/model", &[("config.json", b"{}".to_vec()), ("tf_model.h5", vec![1])]);
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(matches!(error, HubError::NoWeights { .. }), "{error}");
}

#[test]
fn a_missing_vision_tower_is_named_and_the_model_stays() {
    let (hub, folder) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let config = b"{\"vision_tower\": \"org/tower\"}".to_vec();
    hub.repo("org/model", &[("config.json", config), ("model.safetensors", bytes(10, 1))]);
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(matches!(&error, HubError::VisionTower { name, .. } if name == "org/tower"), "{error}");
    assert!(has_reference(folder.path()));
    let options = PullOptions { vision_tower: false, ..hub_server::options() };
    let environment = hub.environment(folder.path(), &[]);
    let snapshot = pull(&environment, &"org/model".parse().unwrap(), &options, &mut |_| {}).unwrap();
    assert_eq!(snapshot.vision_tower, None);
}

#[test]
fn offline_says_what_is_missing() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let offline = [("HF_HUB_OFFLINE", "1")];
    let error = hub.pull_with(folder.path(), "org/model", &offline, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("lacks every file of org/model@main"), "{error}");
    let snapshot = hub.pull(folder.path(), "org/model").unwrap();
    fs::remove_file(snapshot.path.join("model.safetensors")).unwrap();
    let error = hub.pull_with(folder.path(), "org/model", &offline, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("lacks weights of org/model@main"), "{error}");
}

#[test]
fn a_hub_that_cannot_be_reached_is_said_so() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let nowhere = [("HF_ENDPOINT", "http://127.0.0.1:1")];
    let error = hub.pull_with(folder.path(), "org/model", &nowhere, &mut |_| {}).unwrap_err();
    assert!(matches!(error, HubError::Transfer { attempts: 3, .. }), "{error}");
    assert!(error.to_string().contains("HF_HUB_OFFLINE=1"), "{error}");
    let proxy = [("HTTP_PROXY", "http://user:hunter2@127.0.0.1:1")];
    let error = hub.pull_with(folder.path(), "org/model", &proxy, &mut |_| {}).unwrap_err();
    assert!(matches!(error, HubError::Transfer { .. }), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(hub.requests().is_empty(), "with a proxy nothing goes around it");
    let bypass = [proxy[0], ("NO_PROXY", "127.0.0.1")];
    hub.pull_with(folder.path(), "org/model", &bypass, &mut |_| {}).unwrap();
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    // A file where the folder should be: fails for every user, root included.
    let blocked = folder.path().join("hub");
    fs::write(&blocked, "in the way").unwrap();
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(matches!(error, HubError::Io { .. }), "{error}");
    assert!(error.to_string().contains(&*blocked.to_string_lossy()), "{error}");
}

/// `/dev/full` answers every write with "no space left on device".
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_to_be_full() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let blobs = folder.path().join("hub/models--org--model/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let part = blobs.join(format!("{}.incomplete", sha256(&bytes(10_000, 1))));
    std::os::unix::fs::symlink("/dev/full", part).unwrap();
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(error.to_string().contains("free some space"), "{error}");
    assert!(!has_reference(folder.path()));
}
