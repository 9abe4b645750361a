//! The SentencePiece reader against the reference library's results on four tiny models, and against damaged models.
//!
//! The models and expected values in `data/text` were made by `data/text/make_models.py` with PyPI sentencepiece 0.1.99.

#![allow(clippy::unwrap_used)] // Helpers outside #[test] functions are test code as well.

use maskwise_data::text::sentencepiece::{ModelKind, PieceKind, SentencePiece, SentencePieceError};
use proptest::prelude::*;
use serde_json::Value;

const MODELS: [(&str, &[u8], &str); 4] = [
    ("bpe", include_bytes!("data/text/bpe.model"), include_str!("data/text/bpe.json")),
    ("bpe_user", include_bytes!("data/text/bpe_user.model"), include_str!("data/text/bpe_user.json")),
    ("unigram", include_bytes!("data/text/unigram.model"), include_str!("data/text/unigram.json")),
    (
        "unigram_bytes",
        include_bytes!("data/text/unigram_bytes.model"),
        include_str!("data/text/unigram_bytes.json"),
    ),
];

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn ids_and_texts_are_those_of_the_reference_library() {
    for (name, bytes, expected) in MODELS {
        let model = SentencePiece::from_bytes(bytes).unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        for case in expected["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let encoded = model.encode(text);
            assert_eq!(encoded, ids(&case["ids"]), "{name}: {text:?}");
            assert_eq!(
                model.decode(&encoded).unwrap(),
                case["decoded"].as_str().unwrap(),
                "{name}: {text:?}"
            );
        }
        for case in expected["loose_ids"].as_array().unwrap() {
            let loose = ids(&case["ids"]);
            assert_eq!(model.decode(&loose).unwrap(), case["decoded"].as_str().unwrap(), "{name}: {loose:?}");
        }
    }
}

#[test]
fn vocabulary_is_a_bijection() {
    for (name, bytes, _) in MODELS {
        let model = SentencePiece::from_bytes(bytes).unwrap();
        assert_eq!(model.kind() == ModelKind::Bpe, name.starts_with("bpe"));
        for id in 0..model.vocab_size() as u32 {
            assert_eq!(model.piece_to_id(model.id_to_piece(id).unwrap()), Some(id));
        }
        let beyond = model.vocab_size() as u32;
        assert_eq!(model.id_to_piece(beyond), None);
        assert_eq!(model.kind_of(model.unknown_id()), Some(PieceKind::Unknown));
        assert!(
            matches!(model.decode(&[beyond]), Err(SentencePieceError::IdOutOfRange { id, .. }) if id == beyond)
        );
    }
}

#[test]
fn contradictory_models_are_refused() {
    // Protobuf by hand: field 1 is a piece of text (1), score (2) and type (3).
    let piece = |text: &str, kind: u8| {
        let mut body = vec![0x0A, text.len() as u8];
        body.extend(text.as_bytes());
        body.extend([0x18, kind]);
        let mut message = vec![0x0A, body.len() as u8];
        message.extend(body);
        message
    };
    let unknown = piece("<unk>", 2);
    let good = [unknown.clone(), piece("a", 1)].concat();
    assert_eq!(SentencePiece::from_bytes(&good).unwrap().encode("a").len(), 2);
    let infinite = vec![0x0A, 8, 0x0A, 1, b'b', 0x15, 0, 0, 0x80, 0x7F];
    for (bad, why) in [
        (vec![], "no unknown piece"),
        ([unknown.clone(), unknown.clone()].concat(), "defined twice"),
        ([unknown.clone(), piece("<u>", 2)].concat(), "two unknown pieces"),
        ([unknown.clone(), piece("", 1)].concat(), "is empty"),
        ([unknown.clone(), piece("a", 9)].concat(), "unknown type"),
        ([unknown.clone(), piece("<0x41>", 6)].concat(), "without byte fallback"),
        ([unknown.clone(), infinite].concat(), "score"),
        ([good.clone(), vec![0x12, 3, 0x98, 0x02, 1]].concat(), "not in the vocabulary"),
        ([good.clone(), vec![0x12, 2, 0x18, 3]].concat(), "WORD"),
        ([good.clone(), vec![0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]].concat(), "longer than what is left"),
        ([good.clone(), vec![0x0B]].concat(), "wire type"),
        ([good.clone(), vec![0x0A, 3, 0x0A, 1, 0xFF]].concat(), "UTF-8"),
        ([good, vec![0x1A, 6, 0x12, 4, 9, 9, 9, 9]].concat(), "precompiled_charsmap"),
    ] {
        let error = SentencePiece::from_bytes(&bad).unwrap_err().to_string();
        assert!(error.contains(why), "{error} should say {why}");
    }
}

proptest! {
    // The model normalises nothing and falls back to bytes, so the only change is that a written "▁" is a blank.
    #[test]
    fn decoding_undoes_encoding(text in "\\PC*|.{0,40}|[ a-z\\n\\t▁é🙂]{0,60}") {
        let model = SentencePiece::from_bytes(MODELS[0].1).unwrap();
        prop_assert_eq!(model.decode(&model.encode(&text)).unwrap(), text.replace('▁', " "));
    }

    #[test]
    fn damaged_models_never_panic(
        which in 0..MODELS.len(),
        cut in 0usize..8000,
        changes in prop::collection::vec((0usize..8000, any::<u8>()), 0..6),
        text in ".{0,20}",
    ) {
        let mut bytes = MODELS[which].1.to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if cut < bytes.len() {
            bytes.truncate(cut);
        }
        if let Ok(model) = SentencePiece::from_bytes(&bytes) {
            let ids = model.encode(&text);
            prop_assert!(ids.iter().all(|id| (*id as usize) < model.vocab_size()));
            prop_assert!(model.decode(&ids).is_ok());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = SentencePiece::from_bytes(&bytes);
    }
}
