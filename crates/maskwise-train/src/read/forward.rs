//! The language model on all rows of an item at once.

use super::PreparedRow;
use super::recompute::Recomputed;
use crate::TrainError;
use candle_core::Tensor;
use maskwise_data::text::IMAGE_PLACEHOLDER;
use maskwise_data::text::prompt::IGNORED_LABEL;
use maskwise_models::systems::read::ReadModel;
use maskwise_nn::ops::KeyRanges;

/// How the rows of an item share their beginning: what all of them start with (system prompt and image among it) stands once,
/// then each row's own ids follow. A causal model's states do not depend on what comes later, so this equals running the rows
/// one by one.
pub(super) struct Packing<'a> {
    rows: &'a [PreparedRow],
    /// Ids of the shared beginning, one of them the image placeholder.
    shared: usize,
    /// Index of the image placeholder.
    image: usize,
    image_tokens: usize,
    /// Where each row's own part begins among the packed positions.
    starts: Vec<usize>,
}

/// A labelled id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The position whose state predicts it.
    pub(super) position: u32,
    pub(super) id: u32,
    /// Whether an answer begins with it.
    pub(super) is_first: bool,
}

/// States of packed positions, `[positions, width]`.
pub(super) struct States {
    /// After all layers, normalised.
    pub(super) last: Tensor,
    /// After half of the layers, not normalised; none where layers are recomputed.
    pub(super) halfway: Option<Tensor>,
}

impl<'a> Packing<'a> {
    /// Packs `rows`, of which there is at least one; each holds one image placeholder, at the same index.
    pub(super) fn new(rows: &'a [PreparedRow], image_tokens: usize) -> Self {
        let first = &rows[0].ids;
        let shared = rows.iter().fold(first.len(), |shared, row| {
            let same = first.iter().zip(&row.ids).take_while(|(left, right)| left == right).count();
            shared.min(same)
        });
        let image = first.iter().position(|id| *id == IMAGE_PLACEHOLDER).unwrap_or(0);
        let mut position = shared - 1 + image_tokens;
        let starts = rows.iter().map(|row| {
            let start = position;
            position += row.ids.len() - shared;
            start
        });
        Self { rows, shared, image, image_tokens, starts: starts.collect() }
    }

    /// Positions of the shared beginning, image tokens included.
    fn prefix(&self) -> usize {
        self.shared - 1 + self.image_tokens
    }

    /// The packed position of id `index` of row `row`.
    fn position(&self, row: usize, index: usize) -> usize {
        match index {
            _ if index >= self.shared => self.starts[row] + index - self.shared,
            _ if index > self.image => index - 1 + self.image_tokens,
            _ => index,
        }
    }

    /// The states of all packed positions; with `recomputed` through its layers.
    pub(super) fn states(
        &self,
        model: &ReadModel,
        image_tokens: &Tensor,
        recomputed: Option<&Recomputed>,
    ) -> Result<States, TrainError> {
        let own = |row: &'a PreparedRow| row.ids[self.shared..].iter().copied();
        let mut ids = self.rows[0].ids[..self.shared].to_vec();
        ids.extend(self.rows.iter().flat_map(own));
        let prefix = self.prefix();
        let mut positions: Vec<u32> = (0..prefix as u32).collect();
        let mut ranges: Vec<KeyRanges> = (1..=prefix).map(KeyRanges::up_to).collect();
        for (row, start) in self.rows.iter().zip(&self.starts) {
            for index in 0..row.ids.len() - self.shared {
                positions.push((prefix + index) as u32);
                let (start, end) = (*start as u32, (start + index + 1) as u32);
                ranges.push(KeyRanges { prefix: prefix as u32, start, end });
            }
        }
        let embeddings = model.splice(&ids, image_tokens)?;
        let language_model = &model.language_model;
        let half = language_model.config().num_hidden_layers.div_ceil(2) - 1;
        let mut halfway = None;
        let last = match recomputed {
            Some(recomputed) => recomputed.forward_packed(&embeddings, positions, ranges)?,
            None => language_model.forward_packed_observed(
                &embeddings,
                &positions,
                &ranges,
                &mut |layer, state| {
                    if layer == half {
                        halfway = Some(state.clone());
                    }
                },
            )?,
        };
        let halfway = halfway.map(|state: Tensor| state.squeeze(0)).transpose()?;
        Ok(States { last: last.squeeze(0)?, halfway })
    }

    /// The position of the first image token.
    pub(super) fn image_start(&self) -> usize {
        self.image
    }

    /// Which states predict which labelled ids, row by row.
    pub(super) fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for (row, content) in self.rows.iter().enumerate() {
            for (index, label) in content.labels.iter().enumerate().skip(1) {
                if *label != IGNORED_LABEL {
                    targets.push(Target {
                        position: self.position(row, index - 1) as u32,
                        id: *label as u32,
                        is_first: content.labels[index - 1] == IGNORED_LABEL,
                    });
                }
            }
        }
        targets
    }

    /// The positions that predict the first token of each row's first answer; none for a row without an answer.
    pub(super) fn first_positions(&self) -> Vec<Option<usize>> {
        let first = |(row, content): (usize, &PreparedRow)| {
            let index = content.labels.iter().skip(1).position(|label| *label != IGNORED_LABEL)?;
            Some(self.position(row, index))
        };
        self.rows.iter().enumerate().map(first).collect()
    }

    /// The positions that predict `[SEG]`, in the order of the rows' masks.
    pub(super) fn seg_positions(&self, seg: i64) -> Vec<usize> {
        let mut positions = Vec::new();
        for (row, content) in self.rows.iter().enumerate() {
            let segs = content.ids.iter().enumerate().skip(1).filter(|(_, id)| **id == seg);
            positions.extend(segs.map(|(index, _)| self.position(row, index - 1)));
        }
        positions
    }
}
