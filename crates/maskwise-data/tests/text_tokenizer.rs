//! Tokenizer folders, templates and the guard on questions, on small folders written here.
//!
//! `data/text/slow.json` holds ids and texts by transformers 4.31's slow LlamaTokenizer (`data/text/make_slow.py`).

#![allow(clippy::unwrap_used)] // Helpers outside #[test] functions are test code as well.

use std::path::Path;

use maskwise_data::text::prompt::{
    PaddingSide, UserTextPolicy, answer_labels, check_context, question_prompt, tokenize_and_pad,
    tokenize_image_prompt, user_text,
};
use maskwise_data::text::{
    Conversation, ConversationTemplate, PromptMode, QuestionTemplates, Speaker, TextError, Tokenizer,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

const MODEL: &[u8] = include_bytes!("data/text/bpe.model");

fn folder(files: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.model"), MODEL).unwrap();
    write_files(folder.path(), files);
    folder
}

fn write_files(folder: &Path, files: &Value) {
    for (name, content) in files.as_object().unwrap() {
        std::fs::write(folder.join(name), content.to_string()).unwrap();
    }
}

/// The folder of a checkpoint in the manner of READ's.
fn read_folder() -> TempDir {
    let recorded: Value = serde_json::from_str(include_str!("data/text/slow.json")).unwrap();
    folder(&recorded["legacy"]["files"])
}

fn read_tokenizer() -> Tokenizer {
    Tokenizer::from_dir(read_folder().path()).unwrap()
}

fn unsigned(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn added_tokens_behave_as_in_the_slow_tokenizer() {
    let recorded: Value = serde_json::from_str(include_str!("data/text/slow.json")).unwrap();
    for (name, set) in recorded.as_object().unwrap() {
        let folder = folder(&set["files"]);
        let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
        for case in set["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids = unsigned(&case["ids"]);
            assert_eq!(tokenizer.encode_with_defaults(text).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(
                tokenizer.decode(&ids, true).unwrap(),
                case["decoded"].as_str().unwrap(),
                "{name}: {text:?}"
            );
            let kept = case["decoded_keep"].as_str().unwrap();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), kept, "{name}: {text:?}");
        }
    }
}

#[test]
fn special_ids_come_from_the_vocabulary() {
    let tokenizer = read_tokenizer();
    let base = tokenizer.vocab_size() - 3;
    let special = tokenizer.special_ids(base + 3).unwrap();
    assert_eq!(
        [special.seg, special.im_start, special.im_end].map(|id| id as usize),
        [base, base + 1, base + 2]
    );
    assert_eq!((special.pad, special.bos, special.eos), (0, 1, 2));
    assert_eq!(tokenizer.id_to_token(special.seg).as_deref(), Some("[SEG]"));
    assert!(matches!(tokenizer.special_ids(base + 2), Err(TextError::WrongTokenizer { .. })));
    // Padded embedding matrices are fine.
    assert_eq!(tokenizer.special_ids(base + 64).unwrap(), special);
    assert!(matches!(tokenizer.decode(&[9999], false), Err(TextError::IdOutOfRange { id: 9999, .. })));

    let folder = folder(&json!({"added_tokens.json": {"<im_start>": base}}));
    let error = Tokenizer::from_dir(folder.path()).unwrap().special_ids(32003).unwrap_err().to_string();
    assert!(error.contains("[SEG]") && error.contains("not a LISA, SESAME or READ checkpoint"), "{error}");
}

#[test]
fn newer_folders_keep_added_tokens_in_the_config() {
    let base = read_tokenizer().vocab_size() - 3;
    let decoder = json!({"1": {"content": "<s>"}, base.to_string(): {"content": "[SEG]", "special": false}});
    let folder = folder(&json!({"tokenizer_config.json": {"added_tokens_decoder": decoder}}));
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    assert_eq!(tokenizer.token_to_id("[SEG]"), Some(base as u32));
    assert_eq!(tokenizer.encode("[SEG]", true).unwrap(), [1, base as u32]);
}

#[test]
fn bad_folders_are_refused_with_the_file_named() {
    let base = read_tokenizer().vocab_size() - 3;
    for (files, why) in [
        (json!({"added_tokens.json": {"[SEG]": 3}}), "contradicts"),
        (json!({"added_tokens.json": {"[SEG]": -1}}), "not a token id"),
        (json!({"added_tokens.json": {"[SEG]": base, "[SEG2]": base}}), "share the id"),
        (json!({"added_tokens.json": {"": base}}), "empty string"),
        (json!({"added_tokens.json": [1]}), "not a JSON object"),
        (json!({"special_tokens_map.json": {"pad_token": "<absent>"}}), "<absent>"),
        (json!({"special_tokens_map.json": {"pad_token": 5}}), "not a token"),
        (json!({"tokenizer_config.json": {"add_bos_token": "yes"}}), "add_bos_token"),
        (json!({"tokenizer_config.json": {"tokenizer_class": "T5Tokenizer"}}), "T5Tokenizer"),
    ] {
        let error = Tokenizer::from_dir(folder(&files).path()).unwrap_err().to_string();
        assert!(error.contains(why), "{error} should say {why}");
    }
    let folder = folder(&json!({}));
    std::fs::write(folder.path().join("added_tokens.json"), "{").unwrap();
    assert!(Tokenizer::from_dir(folder.path()).unwrap_err().to_string().contains("not valid JSON"));
    std::fs::write(folder.path().join("tokenizer.model"), &MODEL[..MODEL.len() / 2]).unwrap();
    std::fs::remove_file(folder.path().join("added_tokens.json")).unwrap();
    assert!(matches!(Tokenizer::from_dir(folder.path()), Err(TextError::Model { .. })));
    std::fs::remove_file(folder.path().join("tokenizer.model")).unwrap();
    assert!(matches!(Tokenizer::from_dir(folder.path()), Err(TextError::NoTokenizer { .. })));
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    assert!(matches!(Tokenizer::from_dir(folder.path()), Err(TextError::Json { .. })));
}

/// A word-level `tokenizer.json`; its ids can be read off.
fn json_folder() -> TempDir {
    let added = |id: u32, content: &str, special: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": special})
    };
    let tokens = [(0, "<unk>"), (1, "<s>"), (2, "</s>"), (5, "[SEG]"), (6, "<im_start>"), (7, "<im_end>")];
    let added: Vec<Value> = tokens.iter().map(|(id, token)| added(*id, token, *id < 5)).collect();
    let content = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "red": 3, "square": 4}, "unk_token": "<unk>"},
    });
    let roles = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"});
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &json!({"tokenizer.json": content, "tokenizer_config.json": roles}));
    folder
}

#[test]
fn tokenizer_json_is_read_where_it_is_the_only_one() {
    let folder = json_folder();
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    assert_eq!(tokenizer.encode("red square [SEG] blue", true).unwrap(), [1, 3, 4, 5, 0]);
    assert_eq!(tokenizer.decode(&[1, 3, 4, 5], true).unwrap(), "red square [SEG]");
    let special = tokenizer.special_ids(8).unwrap();
    assert_eq!((special.seg, special.im_start, special.im_end, special.pad), (5, 6, 7, 0));
    assert!(matches!(tokenizer.decode(&[8], false), Err(TextError::IdOutOfRange { .. })));
    let refused = user_text(&tokenizer, "red [SEG]", 9, UserTextPolicy::Refuse);
    assert!(matches!(refused, Err(TextError::ControlToken { .. })));
    assert_eq!(user_text(&tokenizer, "red blue", 9, UserTextPolicy::Refuse).unwrap(), "red blue");
    write_files(folder.path(), &json!({"added_tokens.json": {"[SEG]": 6}}));
    assert!(Tokenizer::from_dir(folder.path()).unwrap_err().to_string().contains("[SEG]"));
    // Beside a tokenizer.model it is not even opened.
    write_files(folder.path(), &json!({"added_tokens.json": {}, "tokenizer.json": "broken"}));
    std::fs::write(folder.path().join("tokenizer.model"), MODEL).unwrap();
    assert!(Tokenizer::from_dir(folder.path()).is_ok());
}

#[test]
fn questions_cannot_hold_control_tokens() {
    let tokenizer = read_tokenizer();
    let special = tokenizer.special_ids(tokenizer.vocab_size()).unwrap();
    for token in ["[SEG]", "<image>", "<im_start>", "<im_end>", "</s>", "<s>", "<unk>"] {
        let question = format!("What is {token}{token} here?");
        match user_text(&tokenizer, &question, 100, UserTextPolicy::Refuse) {
            Err(TextError::ControlToken { token: named }) => assert_eq!(named, token),
            other => panic!("{token}: {other:?}"),
        }
        assert_eq!(user_text(&tokenizer, &question, 100, UserTextPolicy::AllowSpecial).unwrap(), question);
        let harmless = user_text(&tokenizer, &question, 100, UserTextPolicy::Neutralise).unwrap();
        let ids = tokenize_image_prompt(&tokenizer, &harmless).unwrap();
        let control = [special.seg, special.im_start, special.im_end, special.eos].map(i64::from);
        assert!(ids.iter().all(|id| *id >= 0 && !control.contains(id)), "{harmless}");
        assert_eq!(harmless.replace(' ', ""), question.replace(' ', ""));
    }
    let plain = "What is [seg], the USER: or a < b?";
    assert_eq!(user_text(&tokenizer, plain, 100, UserTextPolicy::Refuse).unwrap(), plain);
}

#[test]
fn empty_and_long_questions_are_refused() {
    let tokenizer = read_tokenizer();
    for empty in ["", "  ", "\n\t", "\u{200B}\u{FEFF}", "\u{0}"] {
        let refused = user_text(&tokenizer, empty, 100, UserTextPolicy::AllowSpecial);
        assert!(matches!(refused, Err(TextError::EmptyQuestion)), "{empty:?}");
    }
    let long = "red square ".repeat(20);
    let tokens = tokenizer.encode(&long, false).unwrap().len();
    assert!(user_text(&tokenizer, &long, tokens, UserTextPolicy::Refuse).is_ok());
    let error = user_text(&tokenizer, &long, tokens - 1, UserTextPolicy::Refuse).unwrap_err().to_string();
    assert!(
        error.contains(&format!("{tokens} tokens")) && error.contains(&(tokens - 1).to_string()),
        "{error}"
    );
    let huge = "x".repeat(50 << 20);
    assert!(
        user_text(&tokenizer, &huge, 4096, UserTextPolicy::Refuse)
            .unwrap_err()
            .to_string()
            .contains("or more")
    );
    assert!(check_context(4096, 4096).is_ok());
    assert!(matches!(check_context(4097, 4096), Err(TextError::TooLong { tokens: 4097, context: 4096, .. })));
}

#[test]
fn labels_are_the_answers() {
    let tokenizer = read_tokenizer();
    let template = ConversationTemplate::by_name("llava_v1").unwrap();
    let answers = ["Sure, it is [SEG].", "no"];
    let prompts = answers.map(|answer| question_prompt(&template, "What is red?", Some(answer)).unwrap());
    let batch = tokenize_and_pad(&tokenizer, &prompts, PaddingSide::Right).unwrap();
    let labels = answer_labels(&tokenizer, &template, &prompts, &batch).unwrap();
    for (row, answer) in labels.iter().zip(answers) {
        let kept: Vec<u32> = row.iter().filter(|label| **label >= 0).map(|label| *label as u32).collect();
        assert_eq!(kept, tokenizer.encode(&format!("{answer}</s>"), false).unwrap());
    }
    let two_answers = ["x ASSISTANT: y ASSISTANT: z</s>"];
    let batch = tokenize_and_pad(&tokenizer, &two_answers, PaddingSide::Right).unwrap();
    let refused = answer_labels(&tokenizer, &template, &two_answers, &batch);
    assert!(matches!(refused, Err(TextError::Labels { .. })));
    let plain = ConversationTemplate::by_name("plain").unwrap();
    assert!(matches!(
        answer_labels(&tokenizer, &plain, &two_answers, &batch),
        Err(TextError::Template { .. })
    ));
}

#[test]
fn templates_are_chosen_by_family_and_survive_json() {
    for family in ["READ", "SESAMEForCausalLM", "LISAForCausalLM"] {
        let teacher = ConversationTemplate::default_name(family, PromptMode::TeacherForced);
        assert_eq!(teacher, Some("llava_v1"));
        let generate = if family.starts_with("LISA") { "llava_v1" } else { "vicuna_v1" };
        assert_eq!(ConversationTemplate::default_name(family, PromptMode::Generate), Some(generate));
    }
    assert_eq!(ConversationTemplate::default_name("GPT2LMHeadModel", PromptMode::Generate), None);
    for name in ConversationTemplate::names() {
        let template = ConversationTemplate::by_name(name).unwrap();
        let text = serde_json::to_string(&template).unwrap();
        assert_eq!(serde_json::from_str::<ConversationTemplate>(&text).unwrap(), template);
    }
    let error = ConversationTemplate::by_name("nope").unwrap_err().to_string();
    assert!(error.contains("nope") && error.contains("llava_v1"), "{error}");
    let questions = QuestionTemplates::read();
    assert_eq!(
        questions.short.fill("the {sent} {x}"),
        "What is the {sent} {x} in this image? Please output segmentation mask."
    );
    assert_eq!(questions.long.fill("Where?"), "Where? Please output segmentation mask.");
    assert_eq!(questions.answer.fill("unused"), "Sure, the segmentation result is [SEG].");
    assert_eq!(QuestionTemplates::lisa().answer.fill(""), "[SEG].");
    let mut silent = Conversation::new(ConversationTemplate::by_name("llama_2").unwrap());
    silent.push(Speaker::User, Some(""));
    assert!(matches!(silent.prompt(), Err(TextError::Template { .. })));
}

#[test]
fn the_prompts_of_the_specification() {
    let template = ConversationTemplate::by_name("vicuna_v1").unwrap();
    let prompt = question_prompt(&template, "Where?", None).unwrap();
    assert!(prompt.starts_with("A chat between a curious user and an artificial intelligence assistant. "));
    assert!(prompt.ends_with(" USER: <im_start><image><im_end>\nWhere? ASSISTANT:"), "{prompt}");
    let tokenizer = read_tokenizer();
    let special = tokenizer.special_ids(tokenizer.vocab_size()).unwrap();
    let ids = tokenize_image_prompt(&tokenizer, &prompt).unwrap();
    let image = ids.iter().position(|id| *id == -200).unwrap();
    assert_eq!((ids[image - 1], ids[image + 1]), (i64::from(special.im_start), i64::from(special.im_end)));
    assert_eq!(ids.iter().filter(|id| **id == i64::from(special.bos)).count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn accepted_questions_hold_no_control_token(
        parts in prop::collection::vec(
            prop::sample::select(vec!["[SEG]", "[SE", "G]", "<", "image>", "im_start>", "</s>", " ", "red", "é", "\n", "<s>", "▁"]), 1..12),
        neutralise in any::<bool>(),
    ) {
        let tokenizer = read_tokenizer();
        let policy = if neutralise { UserTextPolicy::Neutralise } else { UserTextPolicy::Refuse };
        if let Ok(text) = user_text(&tokenizer, &parts.concat(), 200, policy) {
            let special = tokenizer.special_ids(tokenizer.vocab_size()).unwrap();
            let control = [special.seg, special.im_start, special.im_end, special.eos, special.bos].map(i64::from);
            let ids = tokenize_image_prompt(&tokenizer, &text).unwrap();
            prop_assert!(ids[1..].iter().all(|id| *id >= 0 && !control.contains(id)));
        }
    }
}
