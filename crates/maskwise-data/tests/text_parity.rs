//! Ids, prompts, padding and labels against tensors recorded from the official implementation. Everything that can
//! differ between sets is taken from the set's own files.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // Helpers outside #[test] functions are test code as well.

use std::path::PathBuf;

use maskwise_data::text::prompt::{
    PaddingSide, TokenBatch, answer_labels, tokenize_and_pad, tokenize_image_prompt,
};
use maskwise_data::text::{Conversation, ConversationTemplate, Speaker, TextError, Tokenizer};
use safetensors::SafeTensors;
use serde_json::Value;

fn goldens() -> Option<PathBuf> {
    let folder = std::env::var_os("MASKWISE_GOLDENS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: MASKWISE_GOLDENS is not set");
    }
    folder
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
}

fn unsigned(ids: &[i64]) -> Vec<u32> {
    ids.iter().map(|id| u32::try_from(*id).unwrap()).collect()
}

#[test]
fn texts_have_the_recorded_ids_and_decode_to_the_recorded_text() {
    let Some(folder) = goldens() else { return };
    let tokenizer = Tokenizer::from_dir(&folder.join("checkpoint")).unwrap();
    let values = &json(folder.join("read.manifest.json"))["values"];
    let cases = values["tokenizer_cases"]["value"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let with_bos = unsigned(&ids(&case["ids"]));
        let without = unsigned(&ids(&case["ids_no_special"]));
        assert_eq!(tokenizer.encode(text, true).unwrap(), with_bos, "{text:?}");
        assert_eq!(tokenizer.encode_with_defaults(text).unwrap(), with_bos, "{text:?}");
        assert_eq!(tokenizer.encode(text, false).unwrap(), without, "{text:?}");
        assert_eq!(tokenizer.decode(&with_bos, true).unwrap(), case["decoded"].as_str().unwrap(), "{text:?}");
        assert_eq!(
            tokenizer.decode(&with_bos, false).unwrap(),
            case["decoded_keep"].as_str().unwrap(),
            "{text:?}"
        );
    }
    let cases = values["image_token_cases"]["value"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let text = case["text"].as_str().unwrap();
        assert_eq!(tokenize_image_prompt(&tokenizer, text).unwrap(), ids(&case["ids"]), "{text:?}");
    }
}

#[test]
fn special_ids_are_the_recorded_ones() {
    let Some(folder) = goldens() else { return };
    let tokenizer = Tokenizer::from_dir(&folder.join("checkpoint")).unwrap();
    let recorded = &json(folder.join("read.manifest.json"))["values"]["special_ids"]["value"];
    let rows = json(folder.join("checkpoint/config.json"))["vocab_size"].as_u64().unwrap() as usize;
    let special = tokenizer.special_ids(rows).unwrap();
    let found = [
        ("seg", special.seg),
        ("im_start", special.im_start),
        ("im_end", special.im_end),
        ("bos", special.bos),
        ("eos", special.eos),
        ("pad", special.pad),
        ("vocab", tokenizer.vocab_size() as u32),
    ];
    for (name, value) in recorded.as_object().unwrap() {
        let ours = found.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(u64::from(ours.1), value.as_u64().unwrap(), "{name}");
    }
    let too_few = tokenizer.vocab_size() - 1;
    assert!(matches!(tokenizer.special_ids(too_few), Err(TextError::WrongTokenizer { .. })));
}

#[test]
fn templates_render_as_recorded() {
    let Some(folder) = goldens() else { return };
    let manifest = json(folder.join("text.manifest.json"));
    let cases = manifest["values"]["templates"]["value"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let mut conversation = Conversation::new(ConversationTemplate::by_name(name).unwrap());
        for message in case["messages"].as_array().unwrap() {
            let speaker = if message[0] == 0 { Speaker::User } else { Speaker::Assistant };
            conversation.push(speaker, message[1].as_str());
        }
        match case["prompt"].as_str() {
            Some(prompt) => assert_eq!(conversation.prompt().unwrap(), prompt, "{name}"),
            None => {
                assert!(matches!(conversation.prompt(), Err(TextError::Template { .. })), "{name}: {case}")
            }
        }
    }
}

/// Rows of a recorded tensor, whatever integer type it has.
fn rows(tensors: &SafeTensors<'_>, name: &str) -> Option<Vec<Vec<i64>>> {
    let tensor = tensors.tensor(name).ok()?;
    let width = tensor.shape()[1];
    let flat: Vec<i64> = match tensor.dtype() {
        safetensors::Dtype::I64 => {
            tensor.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
        }
        safetensors::Dtype::U8 | safetensors::Dtype::BOOL => {
            tensor.data().iter().map(|b| i64::from(*b)).collect()
        }
        other => panic!("{name} is {other:?}"),
    };
    Some(flat.chunks_exact(width).map(<[i64]>::to_vec).collect())
}

fn attention(batch: &TokenBatch) -> Vec<Vec<i64>> {
    batch.attention.iter().map(|row| row.iter().map(|attended| i64::from(*attended)).collect()).collect()
}

#[test]
fn batches_and_labels_are_the_recorded_ones() {
    let Some(folder) = goldens() else { return };
    let tokenizer = Tokenizer::from_dir(&folder.join("checkpoint")).unwrap();
    let template = ConversationTemplate::by_name("llava_v1").unwrap();
    let manifest = json(folder.join("text.manifest.json"));
    let bytes = std::fs::read(folder.join(manifest["file"].as_str().unwrap())).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut compared = std::collections::BTreeSet::new();
    let mut groups = Vec::new();
    for (group, value) in manifest["values"].as_object().unwrap() {
        if !tensors.names().iter().any(|name| name.starts_with(&format!("{group}/"))) {
            continue;
        }
        let prompts: Vec<&str> =
            value["value"].as_array().unwrap().iter().map(|prompt| prompt.as_str().unwrap()).collect();
        for (side, suffix) in [(PaddingSide::Right, "right"), (PaddingSide::Left, "left")] {
            let batch = tokenize_and_pad(&tokenizer, &prompts, side).unwrap();
            let (ids_name, mask_name) = (format!("{group}/ids_{suffix}"), format!("{group}/mask_{suffix}"));
            assert_eq!(Some(&batch.ids), rows(&tensors, &ids_name).as_ref(), "{ids_name}");
            assert_eq!(Some(attention(&batch)), rows(&tensors, &mask_name), "{mask_name}");
            compared.extend([ids_name, mask_name]);
            let labels_name = format!("{group}/labels");
            if side == PaddingSide::Right
                && let Some(expected) = rows(&tensors, &labels_name)
            {
                let labels = answer_labels(&tokenizer, &template, &prompts, &batch).unwrap();
                assert_eq!(labels, expected, "{labels_name}");
                compared.insert(labels_name);
                groups.push((batch, labels));
            }
        }
    }
    // The truncated batch is one of the groups, cut; which one is not recorded, its ids tell.
    if let Some(expected) = rows(&tensors, "collate_trunc/input_ids") {
        let limit = expected[0].len();
        let (mut batch, labels) = groups
            .into_iter()
            .find(|(batch, _)| batch.ids.iter().map(|row| &row[..limit.min(row.len())]).eq(&expected))
            .expect("a group whose head is the truncated batch");
        assert!(batch.ids[0].len() > limit, "nothing was cut");
        batch.truncate(limit);
        assert_eq!(batch.ids, expected);
        assert_eq!(Some(attention(&batch)), rows(&tensors, "collate_trunc/attention_masks"));
        let labels: Vec<Vec<i64>> = labels.iter().map(|row| row[..limit].to_vec()).collect();
        assert_eq!(Some(labels), rows(&tensors, "collate_trunc/labels"));
        compared
            .extend(["input_ids", "attention_masks", "labels"].map(|name| format!("collate_trunc/{name}")));
    }
    for name in tensors.names() {
        assert!(compared.contains(name) || name.ends_with("/offset"), "{name} was not compared");
    }
}

#[test]
fn generated_texts_decode_as_recorded() {
    let Some(folder) = goldens() else { return };
    let tokenizer = Tokenizer::from_dir(&folder.join("checkpoint")).unwrap();
    let manifest = json(folder.join("read.manifest.json"));
    let bytes = std::fs::read(folder.join(manifest["file"].as_str().unwrap())).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let cases = manifest["values"]["cases"]["value"].as_array().unwrap();
    for case in cases {
        let prompt = tokenize_image_prompt(&tokenizer, case["tf_prompt"].as_str().unwrap()).unwrap();
        assert!(prompt.len() > 2);
        let name = case["name"].as_str().unwrap();
        let Some(output) = rows(&tensors, &format!("{name}/ev/output_ids")) else { continue };
        let prompt = tokenize_image_prompt(&tokenizer, case["ev_prompt"].as_str().unwrap()).unwrap();
        let answer = unsigned(&output[0][prompt.len()..]);
        assert_eq!(tokenizer.decode(&answer, true).unwrap(), case["ev_text"].as_str().unwrap(), "{name}");
    }
}
