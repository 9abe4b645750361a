//! Trains a byte-pair vocabulary (Sennrich et al. 2016) and writes it as `tokenizer.model` of the kind that LLaMA has: byte
//! fallback, no character map, dummy prefix, whitespace escaped and kept.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use super::SentencePieceError;
use super::normalizer::SPACE_SYMBOL;

/// Longest piece in characters, the space symbol included; SentencePiece's default.
const LONGEST_PIECE: usize = 16;
/// `<unk>`, `<s>`, `</s>` and the 256 bytes.
const RESERVED: usize = 3 + 256;

/// Trains on `sentences`; the bytes of a `tokenizer.model` with at most `vocab_size` entries.
///
/// Ids 0 to 2 are `<unk>`, `<s>` and `</s>`, then come the 256 bytes, the pieces in the order of their merges, and the single
/// characters of the text. Pieces do not cross words, digits stay alone, letters do not join with other characters. There are fewer
/// entries where no pair occurs twice any more. The result depends on the multiset of words only, whatever their order.
///
/// # Errors
/// [`SentencePieceError::Invalid`] if `vocab_size` has no room for the bytes and the characters.
pub fn train_bpe<S: AsRef<str>>(
    sentences: impl IntoIterator<Item = S>,
    vocab_size: usize,
) -> Result<Vec<u8>, SentencePieceError> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for sentence in sentences {
        for segment in segments(sentence.as_ref()) {
            *counts.entry(segment).or_default() += 1;
        }
    }
    let texts = counts.keys().map(String::as_str).chain([SPACE_SYMBOL]);
    let characters: BTreeSet<char> = texts.flat_map(str::chars).collect();
    let smallest = RESERVED + characters.len();
    let Some(room) = vocab_size.checked_sub(smallest) else {
        let reason = format!(
            "a vocabulary of {vocab_size} entries is too small: the bytes and the characters of the text take {smallest}"
        );
        return Err(SentencePieceError::Invalid(reason));
    };
    let merges = Trainer::new(counts).merges(room);
    Ok(model(&merges, &characters))
}

/// The parts of a sentence that pieces stay within, the space symbol before the first of each word.
///
/// Control characters separate; the model writes them in bytes.
fn segments(sentence: &str) -> Vec<String> {
    let mut segments = Vec::new();
    for line in sentence.split(char::is_control).filter(|line| !line.is_empty()) {
        for word in line.split(' ') {
            let mut segment = SPACE_SYMBOL.to_owned();
            let mut previous = Class::Space;
            for character in word.chars() {
                let class = Class::of(character);
                let joins = match previous {
                    Class::Space => class != Class::Digit,
                    Class::Digit => false,
                    _ => class == previous,
                };
                if !joins {
                    segments.push(std::mem::take(&mut segment));
                }
                segment.push(character);
                previous = class;
            }
            segments.push(segment);
        }
    }
    segments
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Space,
    Letter,
    Digit,
    Other,
}

impl Class {
    fn of(character: char) -> Self {
        match character {
            _ if character.is_alphabetic() => Self::Letter,
            _ if character.is_numeric() => Self::Digit,
            _ => Self::Other,
        }
    }
}

/// A segment, how often it occurs, and where its present pieces end, in bytes.
struct Segment {
    text: String,
    count: u64,
    ends: Vec<usize>,
}

impl Segment {
    /// The texts of neighbouring pieces, joined.
    fn pairs(&self) -> impl Iterator<Item = &str> {
        (1..self.ends.len()).map(|right| &self.text[self.start(right - 1)..self.ends[right]])
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |previous| self.ends[previous])
    }

    /// Joins all neighbours that together are `piece`, from the left.
    fn join(&mut self, piece: &str) {
        let mut index = 1;
        while index < self.ends.len() {
            if &self.text[self.start(index - 1)..self.ends[index]] == piece {
                self.ends.remove(index - 1);
            }
            index += 1;
        }
    }
}

/// A possible piece: how often it would be made now, and the segments that may hold it.
#[derive(Default)]
struct Candidate {
    count: u64,
    segments: Vec<usize>,
}

struct Trainer {
    segments: Vec<Segment>,
    candidates: HashMap<String, Candidate>,
    /// The most frequent first, the smaller text among equals. Entries whose count has changed since are stale.
    agenda: BinaryHeap<(u64, Reverse<String>)>,
}

impl Trainer {
    fn new(counts: BTreeMap<String, u64>) -> Self {
        let segment = |(text, count): (String, u64)| {
            let ends = text.char_indices().map(|(start, character)| start + character.len_utf8()).collect();
            Segment { text, count, ends }
        };
        let mut trainer = Self {
            segments: counts.into_iter().map(segment).collect(),
            candidates: HashMap::new(),
            agenda: BinaryHeap::new(),
        };
        for index in 0..trainer.segments.len() {
            trainer.add_pairs(index);
        }
        let all = trainer.candidates.iter().map(|(text, candidate)| (candidate.count, Reverse(text.clone())));
        trainer.agenda = all.collect();
        trainer
    }

    /// The pieces in the order in which they are made, `room` at most.
    fn merges(mut self, room: usize) -> Vec<String> {
        let mut merges = Vec::new();
        let mut made = HashSet::new();
        while merges.len() < room
            && let Some((count, Reverse(piece))) = self.agenda.pop()
            && count >= 2
        {
            let current = self.candidates.get(&piece).map_or(0, |candidate| candidate.count);
            if current == count && piece.chars().count() <= LONGEST_PIECE {
                self.merge(&piece);
                // The same text can come up again from other halves.
                if made.insert(piece.clone()) {
                    merges.push(piece);
                }
            }
        }
        merges
    }

    fn merge(&mut self, piece: &str) {
        let Some(candidate) = self.candidates.remove(piece) else { return };
        let affected: BTreeSet<usize> = candidate.segments.into_iter().collect();
        let mut changed = BTreeSet::new();
        for index in affected {
            let segment = &mut self.segments[index];
            for pair in segment.pairs() {
                if let Some(candidate) = self.candidates.get_mut(pair) {
                    candidate.count -= segment.count;
                    changed.insert(pair.to_owned());
                }
            }
            segment.join(piece);
            changed.extend(self.segments[index].pairs().map(str::to_owned));
            self.add_pairs(index);
        }
        for pair in changed {
            let count = self.candidates.get(&pair).map_or(0, |candidate| candidate.count);
            self.agenda.push((count, Reverse(pair)));
        }
    }

    fn add_pairs(&mut self, index: usize) {
        let segment = &self.segments[index];
        for pair in segment.pairs() {
            if !self.candidates.contains_key(pair) {
                self.candidates.insert(pair.to_owned(), Candidate::default());
            }
            if let Some(candidate) = self.candidates.get_mut(pair) {
                candidate.count += segment.count;
                if candidate.segments.last() != Some(&index) {
                    candidate.segments.push(index);
                }
            }
        }
    }
}

/// The protobuf message (`ModelProto`): pieces, `trainer_spec`, `normalizer_spec`.
fn model(merges: &[String], characters: &BTreeSet<char>) -> Vec<u8> {
    let mut message = Vec::new();
    let mut size = 0;
    let mut piece = |text: &str, score: f32, kind: u64| {
        let mut inner = Vec::new();
        bytes_field(&mut inner, 1, text.as_bytes());
        varint(&mut inner, 2 << 3 | 5);
        inner.extend(score.to_le_bytes());
        varint_field(&mut inner, 3, kind);
        bytes_field(&mut message, 1, &inner);
        size += 1;
    };
    piece("<unk>", 0.0, 2);
    piece("<s>", 0.0, 3);
    piece("</s>", 0.0, 3);
    for byte in 0..=255u8 {
        piece(&format!("<0x{byte:02X}>"), 0.0, 6);
    }
    let texts = merges.iter().cloned().chain(characters.iter().map(char::to_string));
    for (index, text) in texts.enumerate() {
        piece(&text, -(index as f32), 1);
    }
    let mut trainer = Vec::new();
    varint_field(&mut trainer, 3, 2); // model_type BPE
    varint_field(&mut trainer, 4, size);
    varint_field(&mut trainer, 25, 1); // split_digits
    varint_field(&mut trainer, 35, 1); // byte_fallback
    bytes_field(&mut message, 2, &trainer);
    let mut normalizer = Vec::new();
    bytes_field(&mut normalizer, 1, b"identity");
    varint_field(&mut normalizer, 3, 1); // add_dummy_prefix
    varint_field(&mut normalizer, 4, 0); // remove_extra_whitespaces
    varint_field(&mut normalizer, 5, 1); // escape_whitespaces
    bytes_field(&mut message, 3, &normalizer);
    message
}

fn bytes_field(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(message, number << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn varint_field(message: &mut Vec<u8>, number: u64, value: u64) {
    varint(message, number << 3);
    varint(message, value);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}
