//! Model folders that are damaged, incomplete or hostile: one clear line, exit code 2, and nothing written.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{copy_folder, files_below, maskwise, picture, refused, run, text, tiny_read};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const QUESTION: &str = "Segment the blue circle.";

/// Asserts that the model in `folder` is refused by `segment` with `words`, and that nothing was written.
#[track_caller]
fn refused_model(folder: &Path, words: &[&str]) {
    let output = tempfile::tempdir().unwrap();
    let mut command = maskwise();
    command
        .arg("segment")
        .arg(picture("shapes-a.png"))
        .args([QUESTION, "-m"])
        .arg(folder)
        .arg("-o")
        .arg(output.path());
    refused(&mut command, words);
    assert_eq!(files_below(output.path()), [""; 0]);
}

/// A copy of the committed checkpoint to damage.
fn copied_model() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&tiny_read(), folder.path());
    folder
}

/// Rewrites the header of a safetensors file; offsets count from its end, so the data stay valid.
fn edit_header(path: &Path, edit: impl FnOnce(&mut Map<String, Value>)) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    edit(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], &header, &bytes[8 + length..]].concat())
        .unwrap();
}

/// Sets every tensor whose name begins with `prefix` to zero, and returns how many there were.
fn zero_tensors(path: &Path, prefix: &str) -> usize {
    let mut bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let chosen = header.iter().filter(|(name, _)| name.starts_with(prefix));
    let ranges: Vec<[usize; 2]> =
        chosen.map(|(_, info)| serde_json::from_value(info["data_offsets"].clone()).unwrap()).collect();
    for [start, end] in &ranges {
        bytes[8 + length + start..8 + length + end].fill(0);
    }
    fs::write(path, bytes).unwrap();
    ranges.len()
}

#[test]
fn places_that_hold_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_owned();
    refused_model(Path::new("/nonexistent/model"), &["/nonexistent/model", "does not exist"]);
    refused_model(&tiny_read().join("config.json"), &["config.json", "it is a file"]);
    refused_model(&empty, &[text(&empty), "no config.json"]);
    refused_model(Path::new("some/repository"), &["some/repository", "maskwise pull"]);
    let model = copied_model();
    fs::remove_file(model.path().join("config.json")).unwrap();
    refused_model(model.path(), &["no config.json"]);
    fs::write(model.path().join("config.json"), "{\"architectures\": [").unwrap();
    refused_model(model.path(), &["config.json"]);
    fs::write(model.path().join("config.json"), "{\"architectures\": [\"OtherForCausalLM\"]}").unwrap();
    refused_model(model.path(), &["config.json"]);
    refused(maskwise().arg("inspect").arg(&empty), &["no config.json"]);
    refused(maskwise().arg("convert").arg(&empty).arg("-o").arg(empty.join("new")), &["no config.json"]);
    assert_eq!(files_below(&empty), [""; 0]);
}

#[test]
fn a_missing_vision_tower_says_how_to_get_it() {
    let model = copied_model();
    fs::remove_dir_all(model.path().join("clip")).unwrap();
    refused_model(model.path(), &["vision tower", "`clip`", "--vision-tower"]);
}

#[test]
fn shards_that_are_damaged_or_missing() {
    let model = copied_model();
    let weights = model.path().join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    refused_model(model.path(), &["model.safetensors", "truncated", "download it again"]);
    fs::write(&weights, &bytes[..5]).unwrap();
    refused_model(model.path(), &["model.safetensors"]);
    fs::write(&weights, [&u64::MAX.to_le_bytes()[..], &bytes[8..]].concat()).unwrap();
    refused_model(model.path(), &["model.safetensors"]);

    fs::remove_file(&weights).unwrap();
    refused_model(model.path(), &["no weights in", "model.safetensors"]);
    fs::write(model.path().join("model-00001-of-00002.safetensors"), &bytes).unwrap();
    let index = json!({"weight_map": {
        "lm_head.weight": "model-00001-of-00002.safetensors",
        "model.norm.weight": "model-00002-of-00002.safetensors",
    }});
    fs::write(model.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    refused_model(
        model.path(),
        &["model.safetensors.index.json", "missing", "model-00002-of-00002.safetensors"],
    );
    fs::write(model.path().join("model.safetensors.index.json"), "[]").unwrap();
    refused_model(model.path(), &["model.safetensors.index.json"]);
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let model = copied_model();
    let weights = model.path().join("model.safetensors");
    edit_header(&weights, |header| {
        let tensor = &mut header["lm_head.weight"]["shape"];
        *tensor = json!([tensor[1], tensor[0]]);
    });
    refused_model(model.path(), &["lm_head.weight", "[483, 96]", "[96, 483]"]);

    let model = copied_model();
    let weights = model.path().join("model.safetensors");
    edit_header(&weights, |header| {
        let tensor = header.remove("lm_head.weight").unwrap();
        header.insert("lm_tail.weight".to_owned(), tensor);
    });
    refused_model(model.path(), &["lm_head.weight", "lm_tail.weight"]);
    // `inspect` shows the rest all the same, and says that it does not load.
    let ran = run(maskwise().arg("inspect").arg(model.path()));
    assert_eq!(ran.code, 2);
    assert!(ran.stdout.contains("DOES NOT LOAD") && ran.stdout.contains("lm_tail.weight"), "{}", ran.stdout);
    // `convert` refuses, and leaves nothing.
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("converted");
    refused(
        maskwise().arg("convert").arg(model.path()).arg("-o").arg(&target),
        &["lm_head.weight", "lm_tail.weight"],
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn tokenizers_that_do_not_fit() {
    let model = copied_model();
    let added = model.path().join("added_tokens.json");
    let refuse = |content: &str, words: &[&str]| {
        fs::write(&added, content).unwrap();
        refused_model(model.path(), words);
    };
    refuse(r#"{"<im_start>": 481, "<im_end>": 482}"#, &["[SEG]"]);
    refuse(r#"{"[SEG]": 48000, "<im_start>": 481, "<im_end>": 482}"#, &["48000"]);
    refuse(r#"{"[SEG]": 481, "<im_start>": 481, "<im_end>": 482}"#, &["481"]);
    refuse("not json", &["added_tokens.json"]);
    let model = copied_model();
    let tokenizer = model.path().join("tokenizer.model");
    let bytes = fs::read(&tokenizer).unwrap();
    fs::write(&tokenizer, &bytes[..bytes.len() - 100]).unwrap();
    refused_model(model.path(), &["tokenizer.model"]);
    fs::remove_file(&tokenizer).unwrap();
    refused_model(model.path(), &["tokenizer.model"]);
}

#[test]
fn an_untrained_checkpoint_is_diagnosed() {
    let model = copied_model();
    assert!(zero_tensors(&model.path().join("model.safetensors"), "model.text_hidden_fcs.") >= 2);
    refused_model(model.path(), &["untrained", "model.text_hidden_fcs.", "all zero", "--allow-untrained"]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("converted");
    refused(maskwise().arg("convert").arg(model.path()).arg("-o").arg(&target), &["untrained"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_pickle_that_wants_to_run_something_is_refused() {
    let model = copied_model();
    fs::remove_file(model.path().join("model.safetensors")).unwrap();
    let trap = model.path().join("executed");
    // The container of PyTorch before 1.6: magic number, protocol, system, then what would call `os.system`.
    let mut pickle = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    pickle.extend(b"\x80\x02}q\x00X\x0d\x00\x00\x00little_endianq\x01\x88s.");
    let command = format!("touch {}", trap.display());
    pickle.extend(b"\x80\x02cos\nsystem\nX");
    pickle.extend((command.len() as u32).to_le_bytes());
    pickle.extend(command.as_bytes());
    pickle.extend(b"\x85R.");
    fs::write(model.path().join("pytorch_model.bin"), pickle).unwrap();
    refused_model(model.path(), &["pytorch_model.bin", "os.system", "nothing was executed"]);
    assert!(!trap.exists());
}

/// Sets one value of a JSON file.
fn set_json(path: &Path, key: &str, value: Value) {
    let mut content: Map<String, Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    content.insert(key.to_owned(), value);
    fs::write(path, serde_json::to_vec(&content).unwrap()).unwrap();
}

#[test]
fn sizes_that_do_not_fit_or_would_exhaust_the_memory() {
    for (file, key, value, words) in [
        ("config.json", "num_hidden_layers", json!(100_000_000), ["config.json", "num_hidden_layers"]),
        (
            "config.json",
            "max_position_embeddings",
            json!(1_000_000_000_000_u64),
            ["config.json", "max_position_embeddings"],
        ),
        ("clip/config.json", "image_size", json!(4_000_000_000_u64), ["config.json", "image_size"]),
        ("clip/config.json", "num_hidden_layers", json!(100_000_000), ["config.json", "num_hidden_layers"]),
        ("clip/preprocessor_config.json", "crop_size", json!({"height": 28, "width": 28}), ["112x112", "28"]),
        ("clip/preprocessor_config.json", "do_resize", json!(false), ["112x112", "None"]),
        ("maskwise.json", "sam_decoder_heads", json!(3), ["3 heads", "sam_decoder_heads"]),
        ("maskwise.json", "sam_decoder_heads", json!(0), ["maskwise.json", "sam_decoder_heads"]),
    ] {
        let folder = copied_model();
        set_json(&folder.path().join(file), key, value);
        refused_model(folder.path(), &words);
    }
}
