//! Training a vocabulary: what comes out is a model that our reader takes, and that the reference library takes as well.

#![allow(clippy::unwrap_used)] // Helpers outside #[test] functions are test code as well.

use maskwise_data::text::sentencepiece::{PieceKind, SentencePiece, train_bpe};
use proptest::prelude::*;
use serde_json::Value;

/// 400 sentences of a few words, without a generator that could change.
fn corpus() -> Vec<String> {
    let things = ["mug", "hammer", "antlers", "bicycle", "umbrella", "clock", "café"];
    let asked = ["What is", "Please segment", "Where would you find", "Which part of the deer is"];
    (0..400)
        .map(|index| {
            let (thing, question) = (things[index % 7], asked[index / 7 % 4]);
            format!("{question} the {thing} in this image? It's number {index}.")
        })
        .collect()
}

const TEXTS: [&str; 12] = [
    "What is the mug in this image?",
    "Please segment the antlers.",
    "café umbrella 2024",
    "",
    " ",
    "  two  spaces ",
    "unseen wörds: qüx, zzz!",
    "line\nbreak\ttab",
    "🙂 日本",
    "It's (so) 12.5%",
    "[SEG] <s> <0x41>",
    "thethethe",
];

#[test]
fn the_words_of_the_text_become_few_pieces() {
    let model = SentencePiece::from_bytes(&train_bpe(corpus(), 450).unwrap()).unwrap();
    assert!(model.vocab_size() <= 450 && model.vocab_size() > 350, "{}", model.vocab_size());
    for word in ["What", "hammer", "antlers", "bicycle", "umbrella", "image"] {
        assert_eq!(model.encode(word).len(), 1, "{word}");
    }
    assert_eq!(model.encode("café mug").len(), 2);
    // Digits stay alone, and letters do not join with signs.
    assert_eq!(model.encode("1234").len(), 5);
    assert_eq!(model.encode("image?").len(), 2);
    assert_eq!(["<unk>", "<s>", "</s>"].map(|piece| model.piece_to_id(piece)), [Some(0), Some(1), Some(2)]);
    assert_eq!(model.piece_to_id("<0x00>"), Some(3));
    assert_eq!(model.kind_of(3 + 255), Some(PieceKind::Byte));
    assert_eq!(model.kind_of(3 + 256), Some(PieceKind::Normal));
}

#[test]
fn texts_come_back() {
    let model = SentencePiece::from_bytes(&train_bpe(corpus(), 450).unwrap()).unwrap();
    for text in TEXTS {
        assert_eq!(model.decode(&model.encode(text)).unwrap(), text, "{text:?}");
    }
}

#[test]
fn the_order_of_sentences_does_not_matter() {
    let mut reversed = corpus();
    reversed.reverse();
    assert_eq!(train_bpe(corpus(), 400).unwrap(), train_bpe(reversed, 400).unwrap());
}

#[test]
fn a_larger_vocabulary_starts_with_the_smaller_ones_merges() {
    let pieces = |size| {
        let model = SentencePiece::from_bytes(&train_bpe(corpus(), size).unwrap()).unwrap();
        (259..model.vocab_size() as u32)
            .map(|id| model.id_to_piece(id).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (small, large) = (pieces(340), pieces(440));
    let merges = small.iter().take_while(|piece| piece.chars().count() > 1).count();
    assert!(merges > 20);
    assert_eq!(small[..merges], large[..merges]);
}

#[test]
fn a_vocabulary_without_room_is_refused() {
    let error = train_bpe(["ab c"], 262).unwrap_err();
    assert!(error.to_string().contains("take 263"), "{error}");
    let model = SentencePiece::from_bytes(&train_bpe(["ab c"], 1000).unwrap()).unwrap();
    assert_eq!(model.vocab_size(), 263);
    assert_eq!(SentencePiece::from_bytes(&train_bpe([""; 0], 260).unwrap()).unwrap().vocab_size(), 260);
}

/// `trained.model` is what `train_bpe` makes of the corpus above with 400 entries, `trained.json` what PyPI sentencepiece 0.1.99
/// says when it loads that file (`SentencePieceProcessor.encode`, `decode`).
#[test]
fn the_reference_library_encodes_alike() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/text/");
    let bytes = train_bpe(corpus(), 400).unwrap();
    assert!(
        bytes == std::fs::read(format!("{folder}trained.model")).unwrap(),
        "the trainer makes another model"
    );
    let model = SentencePiece::from_bytes(&bytes).unwrap();
    let recorded: Value =
        serde_json::from_slice(&std::fs::read(format!("{folder}trained.json")).unwrap()).unwrap();
    assert_eq!(recorded["size"], model.vocab_size());
    let cases = recorded["cases"].as_array().unwrap();
    assert_eq!(cases.len(), TEXTS.len());
    for (case, text) in cases.iter().zip(TEXTS) {
        assert_eq!(case["text"], text);
        let ids = model.encode(text);
        assert_eq!(case["ids"], serde_json::json!(ids), "{text:?}");
        assert_eq!(case["decoded"], model.decode(&ids).unwrap(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_trains_and_comes_back(sentences in prop::collection::vec("[a-c é▁1.\\t]{0,20}", 0..12), text in ".{0,30}") {
        let model = SentencePiece::from_bytes(&train_bpe(&sentences, 300).unwrap()).unwrap();
        // The space symbol itself reads back as a space.
        prop_assume!(!text.contains('▁'));
        prop_assert_eq!(model.decode(&model.encode(&text)).unwrap(), text);
    }
}
