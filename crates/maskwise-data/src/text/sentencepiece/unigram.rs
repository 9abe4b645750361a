//! Segmentation by a unigram language model: the path of pieces with the highest sum of log probabilities (Viterbi).

use super::proto::{Piece, PieceKind};
use super::trie::Trie;
use super::{Segment, SentencePiece};

/// How much worse than the rarest piece an unknown character is.
const UNKNOWN_PENALTY: f32 = 10.0;

/// The pieces as a trie, with the score bounds that unknown and user-defined text is judged by.
#[derive(Debug)]
pub(super) struct Lattice {
    trie: Trie,
    highest_score: f32,
    unknown_score: f32,
}

/// The best path that ends at one byte of the text.
#[derive(Clone, Copy, Default)]
struct PathEnd {
    score: f32,
    /// Start of the last piece and its id; `None` while no path ends here.
    last: Option<(usize, u32)>,
}

impl PathEnd {
    /// Takes the candidate if it is the first or better.
    fn offer(&mut self, score: f64, start: usize, id: u32) {
        if self.last.is_none() || score > f64::from(self.score) {
            *self = PathEnd { score: score as f32, last: Some((start, id)) };
        }
    }
}

impl Lattice {
    pub(super) fn new(pieces: &[Piece]) -> Self {
        let scores = pieces.iter().filter(|piece| piece.kind == PieceKind::Normal).map(|piece| piece.score);
        let lowest_score = scores.clone().reduce(f32::min).unwrap_or(0.0);
        let highest_score = scores.reduce(f32::max).unwrap_or(0.0);
        let usable = pieces.iter().zip(0..).filter(|(piece, _)| {
            // Unused pieces are in the vocabulary but never on a path.
            matches!(piece.kind, PieceKind::Normal | PieceKind::UserDefined)
        });
        Self {
            trie: Trie::new(usable.map(|(piece, id)| (&*piece.text, id))),
            highest_score,
            unknown_score: lowest_score - UNKNOWN_PENALTY,
        }
    }

    /// Splits normalised text into pieces and their ids.
    ///
    /// Path scores are kept in single precision and candidates are added up in double, as the reference library does,
    /// so that ties fall the same way.
    pub(super) fn segment<'a>(&self, model: &SentencePiece, text: &'a str) -> Vec<Segment<'a>> {
        let mut ends = vec![PathEnd::default(); text.len() + 1];
        for (start, character) in text.char_indices() {
            let so_far = ends[start].score;
            let mut covered = false;
            for (length, id) in self.trie.prefixes(&text.as_bytes()[start..]) {
                let piece = &model.pieces[id as usize];
                let score = match piece.kind {
                    PieceKind::UserDefined => f64::from(length as f32 * self.highest_score) - 0.1,
                    _ => f64::from(piece.score),
                };
                ends[start + length].offer(score + f64::from(so_far), start, id);
                covered |= length == character.len_utf8();
            }
            if !covered {
                let score = f64::from(self.unknown_score + so_far);
                ends[start + character.len_utf8()].offer(score, start, model.unknown_id);
            }
        }
        let mut segments = Vec::new();
        let mut end = text.len();
        while let Some((start, id)) = ends[end].last {
            segments.push((&text[start..end], id));
            end = start;
        }
        segments.reverse();
        segments
    }
}
