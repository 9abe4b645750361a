//! Pulls that succeed, from a server on the loopback address.
#![cfg(feature = "hub")]
// The helpers beside the tests unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod hub_server;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use hub_server::{COMMIT, FakeHub, Fault, bytes, git_blob, options, sha256};
use maskwise::hub::{Cache, HubError, Progress, RepoId, missing_files, pull};

const TOWER: &str = "openai/clip-vit-tiny";

fn sharded_model() -> Vec<(&'static str, Vec<u8>)> {
    let index = |ending: &str| {
        format!("{{\"weight_map\": {{\"a\": \"m-1{ending}\", \"b\": \"m-2{ending}\"}}}}").into_bytes()
    };
    vec![
        ("config.json", format!("{{\"mm_vision_tower\": \"{TOWER}\"}}").into_bytes()),
        ("tokenizer.model", bytes(100, 1)),
        ("m-1.safetensors", bytes(300_000, 2)),
        ("m-2.safetensors", bytes(200_000, 3)),
        ("model.safetensors.index.json", index(".safetensors")),
        ("m-1.bin", bytes(50, 4)),
        ("m-2.bin", bytes(60, 5)),
        ("pytorch_model.bin.index.json", index(".bin")),
        ("README.md", b"# Card".to_vec()),
        ("training_args.bin", bytes(10, 6)),
        ("flax/model.msgpack", bytes(10, 7)),
        ("empty.txt", vec![]),
    ]
}

fn tower() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("config.json", b"{}".to_vec()),
        ("preprocessor_config.json", b"{\"size\": 336}".to_vec()),
        ("tokenizer.json", b"{}".to_vec()),
        ("pytorch_model.bin", bytes(1000, 8)),
    ]
}

fn hub() -> FakeHub {
    let hub = FakeHub::start();
    hub.repo("org/model", &sharded_model()).repo(TOWER, &tower());
    hub
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn brings_the_model_and_its_vision_tower_in_the_standard_layout() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let snapshot = hub.pull(folder.path(), "org/model").unwrap();

    assert_eq!(snapshot.commit, COMMIT);
    let repo = folder.path().join("hub/models--org--model");
    assert_eq!(snapshot.path, repo.join("snapshots").join(COMMIT));
    let expected = [
        "README.md",
        "config.json",
        "m-1.safetensors",
        "m-2.safetensors",
        "model.safetensors.index.json",
        "tokenizer.model",
    ];
    assert_eq!(names(&snapshot.path), expected, "safetensors and not .bin, nothing else");
    for (file, content) in sharded_model().iter().filter(|(file, _)| expected.contains(file)) {
        assert_eq!(&fs::read(snapshot.path.join(file)).unwrap(), content, "{file}");
    }
    let mut blobs: Vec<String> = sharded_model()
        .iter()
        .filter(|(file, _)| expected.contains(file))
        .map(|(file, content)| if file.ends_with("tensors") { sha256(content) } else { git_blob(content) })
        .collect();
    blobs.sort();
    assert_eq!(names(&repo.join("blobs")), blobs, "named by checksum, nothing half-done");
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    {
        let link = fs::read_link(snapshot.path.join("m-1.safetensors")).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(sha256(&bytes(300_000, 2))));
    }

    let tower = snapshot.vision_tower.unwrap();
    assert_eq!(names(&tower.path), ["config.json", "preprocessor_config.json", "pytorch_model.bin"]);
    let cache = Cache::new(folder.path().join("hub"));
    let id: RepoId = TOWER.parse().unwrap();
    assert_eq!(cache.find(&id, "main"), Some(tower.path.clone()));
    assert!(missing_files(&tower.path).is_empty() && missing_files(&snapshot.path).is_empty());
}

#[test]
fn a_second_pull_fetches_nothing() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let first = hub.pull(folder.path(), "org/model").unwrap();
    assert!(first.fetched_bytes > 500_000);
    let before = hub.requests().len();
    let second = hub.pull(folder.path(), "org/model").unwrap();
    assert_eq!(second.fetched_bytes, 0);
    let after: Vec<String> = hub.requests()[before..].iter().map(|request| request.path.clone()).collect();
    assert_eq!(after.len(), 2, "one question for each repository: {after:?}");

    // Another name for the same commit, from a mirror whose listing says little: the blobs are still known.
    hub.plain_listing();
    let third = hub.pull(folder.path(), "org/model@refs/pr/1").unwrap();
    assert_eq!(third.fetched_bytes, 0);
    let reference = folder.path().join("hub/models--org--model/refs/refs/pr/1");
    assert_eq!(fs::read_to_string(reference).unwrap(), COMMIT);
}

#[test]
fn a_pull_by_commit_writes_no_reference() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let snapshot = hub.pull(folder.path(), &format!("org/model@{COMMIT}")).unwrap();
    assert_eq!(snapshot.commit, COMMIT);
    assert!(!folder.path().join("hub/models--org--model/refs").exists());
}

#[test]
fn a_dropped_connection_is_resumed_where_it_broke() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let shard = sha256(&bytes(300_000, 2));
    hub.fault(&shard, Fault::CutAfter(100_000)).fault(&shard, Fault::CutAfter(50_000));
    let mut retries = 0;
    let mut count =
        |progress: Progress<'_>| retries += u32::from(matches!(progress, Progress::Retrying { .. }));
    let snapshot = hub.pull_with(folder.path(), "org/model", &[], &mut count).unwrap();
    assert_eq!(fs::read(snapshot.path.join("m-1.safetensors")).unwrap(), bytes(300_000, 2));
    assert_eq!(retries, 2);
    let fetches = hub.requests().into_iter().filter(|r| r.to_storage && r.path.contains(&shard));
    let ranges: Vec<Option<String>> = fetches.map(|r| r.headers.get("range").cloned()).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".to_owned()), Some("bytes=150000-".to_owned())]);
}

#[test]
fn a_later_pull_goes_on_where_an_earlier_one_gave_up() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let shard = sha256(&bytes(300_000, 2));
    hub.fault(&shard, Fault::CutAfter(100_000)).fault(&shard, Fault::HangUp).fault(&shard, Fault::HangUp);
    let error = hub.pull(folder.path(), "org/model").unwrap_err();
    assert!(matches!(error, HubError::Transfer { attempts: 3, .. }), "{error}");
    let repo = folder.path().join("hub/models--org--model");
    assert!(!repo.join("refs").exists(), "the reference is written last");
    let part = repo.join("blobs").join(format!("{shard}.incomplete"));
    assert_eq!(fs::metadata(part).unwrap().len(), 100_000);

    let mut already = 0;
    let mut watch = |progress: Progress<'_>| {
        if let Progress::FileStarted { file: "m-1.safetensors", already: bytes, .. } = progress {
            already = bytes;
        }
    };
    let snapshot = hub.pull_with(folder.path(), "org/model", &[], &mut watch).unwrap();
    assert_eq!(already, 100_000);
    assert_eq!(fs::read(snapshot.path.join("m-1.safetensors")).unwrap(), bytes(300_000, 2));
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
}

#[test]
fn a_damaged_beginning_from_an_earlier_run_is_fetched_anew() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let shard = sha256(&bytes(300_000, 2));
    let blobs = folder.path().join("hub/models--org--model/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{shard}.incomplete")), vec![7; 1000]).unwrap();
    // Longer than the whole file: it cannot be a beginning of it.
    let other = sha256(&bytes(200_000, 3));
    fs::write(blobs.join(format!("{other}.incomplete")), vec![7; 200_001]).unwrap();
    let snapshot = hub.pull(folder.path(), "org/model").unwrap();
    assert_eq!(fs::read(snapshot.path.join("m-1.safetensors")).unwrap(), bytes(300_000, 2));
    assert_eq!(fs::read(snapshot.path.join("m-2.safetensors")).unwrap(), bytes(200_000, 3));
}

#[test]
fn a_server_that_ignores_ranges_still_works() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let shard = format!("/store/{}", sha256(&bytes(300_000, 2)));
    hub.fault(&shard, Fault::CutAfter(100_000)).fault(&shard, Fault::IgnoreRange);
    let snapshot = hub.pull(folder.path(), "org/model").unwrap();
    assert_eq!(fs::read(snapshot.path.join("m-1.safetensors")).unwrap(), bytes(300_000, 2));
}

#[test]
fn a_busy_server_is_asked_again() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let busy = |status| Fault::Answer(status, vec![("Retry-After", "0".to_owned())], "{\"error\": \"busy\"}");
    hub.fault("/revision/main", busy(503)).fault("/revision/main", Fault::HangUp);
    hub.fault("HEAD", busy(429)).fault("/store/", busy(500));
    hub.pull(folder.path(), "org/model").unwrap();
}

#[test]
fn redirects_on_the_hub_itself_are_followed() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    // A renamed repository answers so.
    hub.repo("old/name", &[]);
    let location = vec![("Location", "/api/models/org/model/revision/main?blobs=true".to_owned())];
    hub.fault("/api/models/old/name", Fault::Answer(307, location, ""));
    let moved = format!("/org/model/resolve/{COMMIT}/config.json");
    hub.repo("old/name", &sharded_model());
    hub.fault(
        &format!("HEAD /old/name/resolve/{COMMIT}/config.json"),
        Fault::Answer(307, vec![("Location", moved)], "a body whose length is not that of the file"),
    );
    let snapshot = hub.pull(folder.path(), "old/name").unwrap();
    assert_eq!(snapshot.repo.to_string(), "old/name");
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_the_storage() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    hub.require_token("hf_secret");
    hub.pull_with(folder.path(), "org/model", &[("HF_TOKEN", "hf_secret")], &mut |_| {}).unwrap();
    let (storage, own): (Vec<_>, Vec<_>) = hub.requests().into_iter().partition(|request| request.to_storage);
    assert!(storage.len() >= 3 && own.len() >= 8);
    assert!(storage.iter().all(|request| !request.headers.contains_key("authorization")));
    assert!(own.iter().all(|request| request.headers["authorization"] == "Bearer hf_secret"));
}

#[test]
fn two_pulls_at_once_share_the_work() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    hub.fault("/store/", Fault::Delay(Duration::from_millis(300)));
    let environment = hub.environment(folder.path(), &[]);
    let reference = "org/model".parse().unwrap();
    let pull_once = || pull(&environment, &reference, &options(), &mut |_| {}).unwrap();
    let snapshots: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(pull_once)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for snapshot in &snapshots {
        assert_eq!(fs::read(snapshot.path.join("m-2.safetensors")).unwrap(), bytes(200_000, 3));
    }
    assert_eq!(
        hub.requests().iter().filter(|request| request.to_storage).count(),
        3,
        "each weight file once"
    );
}

#[test]
fn offline_answers_from_the_cache_without_a_request() {
    let (hub, folder) = (hub(), tempfile::tempdir().unwrap());
    let online = hub.pull(folder.path(), "org/model").unwrap();
    let before = hub.requests().len();
    let offline = [("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", "http://127.0.0.1:1")];
    let snapshot = hub.pull_with(folder.path(), "org/model", &offline, &mut |_| {}).unwrap();
    assert_eq!((snapshot.path, snapshot.commit), (online.path, online.commit));
    assert_eq!(snapshot.vision_tower.unwrap().path, online.vision_tower.unwrap().path);
    assert_eq!(hub.requests().len(), before);
}

#[test]
fn a_folder_as_vision_tower_is_skipped_and_said_so() {
    let (hub, folder) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let config = b"{\"mm_vision_tower\": \"clip-vit-tiny-patch14-336\"}".to_vec();
    hub.repo("org/model", &[("config.json", config), ("model.safetensors", bytes(10, 1))]);
    let mut skipped = None;
    let mut watch = |progress: Progress<'_>| {
        if let Progress::VisionTowerSkipped { name } = progress {
            skipped = Some(name.to_owned());
        }
    };
    let snapshot = hub.pull_with(folder.path(), "org/model", &[], &mut watch).unwrap();
    assert_eq!(snapshot.vision_tower, None);
    assert_eq!(skipped.as_deref(), Some("clip-vit-tiny-patch14-336"));
}

#[test]
fn a_lone_sam_checkpoint_is_a_model() {
    let (hub, folder) = (FakeHub::start(), tempfile::tempdir().unwrap());
    hub.repo("org/sam", &[("sam_vit_b.pth", bytes(10, 1)), ("README.md", vec![])]);
    let online = hub.pull(folder.path(), "org/sam").unwrap();
    let offline = [("HF_HUB_OFFLINE", "1")];
    let snapshot = hub.pull_with(folder.path(), "org/sam", &offline, &mut |_| {}).unwrap();
    assert_eq!(snapshot.path, online.path);
}
