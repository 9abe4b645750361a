//! Segmentation by byte-pair encoding: the best-scored pair of neighbours is merged until none is in the vocabulary.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::{Segment, SentencePiece};

/// A stretch of the text, in a list linked both ways; merged-away symbols have length 0.
struct Symbol {
    start: usize,
    length: usize,
    previous: Option<usize>,
    next: Option<usize>,
    /// A user-defined symbol, which never merges.
    frozen: bool,
}

/// Two neighbours that could merge. It is stale when the symbols no longer add up to `length`.
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Ord for Candidate {
    /// Highest score first, the leftmost of equals.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

struct Merger<'a> {
    model: &'a SentencePiece,
    text: &'a str,
    symbols: Vec<Symbol>,
    agenda: BinaryHeap<Candidate>,
    /// For unused pieces that a merge produced: where it was joined, to split it again.
    joints: HashMap<&'a str, usize>,
}

/// Splits normalised text into pieces and their ids.
pub(super) fn segment<'a>(model: &'a SentencePiece, text: &'a str) -> Vec<Segment<'a>> {
    let mut merger = Merger {
        model,
        text,
        symbols: split(model, text),
        agenda: BinaryHeap::new(),
        joints: HashMap::new(),
    };
    for right in 1..merger.symbols.len() {
        merger.propose(Some(right - 1), Some(right));
    }
    while let Some(candidate) = merger.agenda.pop() {
        merger.merge(&candidate);
    }
    let mut segments = Vec::new();
    let mut at = if merger.symbols.is_empty() { None } else { Some(0) };
    while let Some(index) = at {
        merger.resolve(merger.piece(index), &mut segments);
        at = merger.symbols[index].next;
    }
    segments
}

/// One symbol per user-defined symbol or character.
fn split(model: &SentencePiece, text: &str) -> Vec<Symbol> {
    let mut symbols = Vec::with_capacity(text.len());
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        let user_defined = model.user_defined.longest_prefix(&text.as_bytes()[start..]);
        let length = user_defined.map_or(first.len_utf8(), |(length, _)| length);
        let index = symbols.len();
        let next = (start + length < text.len()).then_some(index + 1);
        symbols.push(Symbol {
            start,
            length,
            previous: index.checked_sub(1),
            next,
            frozen: user_defined.is_some(),
        });
        start += length;
    }
    symbols
}

impl<'a> Merger<'a> {
    fn piece(&self, index: usize) -> &'a str {
        let symbol = &self.symbols[index];
        &self.text[symbol.start..symbol.start + symbol.length]
    }

    fn propose(&mut self, left: Option<usize>, right: Option<usize>) {
        let (Some(left), Some(right)) = (left, right) else { return };
        let (first, second) = (&self.symbols[left], &self.symbols[right]);
        if first.frozen || second.frozen {
            return;
        }
        let length = first.length + second.length;
        let piece = &self.text[first.start..first.start + length];
        let Some(id) = self.model.text_ids.get(piece).copied() else { return };
        if self.model.is_unused(id) {
            self.joints.insert(piece, first.length);
        }
        self.agenda.push(Candidate { score: self.model.pieces[id as usize].score, left, right, length });
    }

    fn merge(&mut self, candidate: &Candidate) {
        let (left, right) = (candidate.left, candidate.right);
        let (first, second) = (self.symbols[left].length, self.symbols[right].length);
        if first == 0 || second == 0 || first + second != candidate.length {
            return;
        }
        let next = self.symbols[right].next;
        self.symbols[left].length += second;
        self.symbols[left].next = next;
        self.symbols[right].length = 0;
        if let Some(next) = next {
            self.symbols[next].previous = Some(left);
        }
        self.propose(self.symbols[left].previous, Some(left));
        self.propose(Some(left), next);
    }

    /// Appends a piece, unused ones taken apart along their joints.
    fn resolve(&self, piece: &'a str, segments: &mut Vec<Segment<'a>>) {
        let mut open = vec![piece];
        while let Some(piece) = open.pop() {
            let id = self.model.id_or_unknown(piece);
            match self.joints.get(piece) {
                Some(joint) if self.model.is_unused(id) => {
                    open.push(&piece[*joint..]);
                    open.push(&piece[..*joint]);
                }
                _ => segments.push((piece, id)),
            }
        }
    }
}
