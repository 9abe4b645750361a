//! Which keys a block of queries sees, and what becomes of their scores.

use super::KeyRanges;
use crate::work::{Fma, fold, largest};
use std::ops::Range;

/// The keys `first..first + length`, whose scores stand from `column` on.
pub(super) struct Span {
    pub(super) first: usize,
    pub(super) length: usize,
    pub(super) column: usize,
}

/// The keys that the queries of a block see together: at most two spans.
pub(super) struct Spans(pub(super) Vec<Span>);

impl Spans {
    pub(super) fn of(ranges: &[KeyRanges]) -> Self {
        let prefix = ranges.iter().map(|range| range.prefix as usize).max().unwrap_or(0);
        let second = ranges.iter().filter(|range| range.end > range.start);
        let bounds = second.fold(None, |bounds: Option<(u32, u32)>, range| {
            let (start, end) = bounds.unwrap_or((range.start, range.end));
            Some((start.min(range.start), end.max(range.end)))
        });
        let (start, end) = bounds.map_or((0, 0), |(start, end)| (start as usize, end as usize));
        let spans = if start <= prefix {
            vec![Span { first: 0, length: prefix.max(end), column: 0 }]
        } else {
            let first = Span { first: 0, length: prefix, column: 0 };
            vec![first, Span { first: start, length: end - start, column: prefix }]
        };
        Self(spans.into_iter().filter(|span| span.length > 0).collect())
    }

    pub(super) fn columns(&self) -> usize {
        self.0.last().map_or(0, |span| span.column + span.length)
    }

    /// Where the visible keys of one query stand in its row of scores.
    pub(super) fn seen(&self, range: &KeyRanges) -> Seen {
        let prefix = range.prefix as usize;
        // Both ends of the second range fall into the last span where it is not empty.
        let (start, end) = (range.start.max(range.prefix) as usize, range.end as usize);
        let shift = self.0.last().map_or(0, |span| span.first - span.column);
        if end <= start {
            return Seen { prefix, start: prefix, end: prefix };
        }
        Seen { prefix, start: start - shift, end: end - shift }
    }
}

/// The visible columns of a row of scores: `..prefix` and `start..end`, with `prefix <= start`.
pub(super) struct Seen {
    prefix: usize,
    start: usize,
    end: usize,
}

impl Seen {
    /// The two parts. What is done with them is written as a loop: a closure that is called twice is not compiled for wide vectors.
    #[inline(always)]
    pub(super) fn parts(&self) -> [Range<usize>; 2] {
        [0..self.prefix, self.start..self.end]
    }

    /// Zero where the query does not look.
    #[inline(always)]
    pub(super) fn hide(&self, row: &mut [f32]) {
        row[self.prefix..self.start].fill(0.0);
        row[self.end..].fill(0.0);
    }
}

/// Turns the visible scores into powers of e, relative to the largest, and the others into zeros; returns their sum and the
/// logarithm of the sum of the powers that are not relative.
#[inline(always)]
pub(super) fn exponentiate(fma: Fma, row: &mut [f32], seen: &Seen) -> (f32, f32) {
    let mut maximum = f32::NEG_INFINITY;
    for part in seen.parts() {
        maximum = maximum.max(largest(&row[part]));
    }
    let mut sum = 0.0;
    for part in seen.parts() {
        let visible = &mut row[part];
        for x in visible.iter_mut() {
            *x = fma.exp(*x - maximum);
        }
        sum += fold(visible, |power| power);
    }
    seen.hide(row);
    (sum, maximum + sum.ln())
}
