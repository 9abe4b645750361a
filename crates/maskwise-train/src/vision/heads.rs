use super::{Classes, Group, Region};
use crate::TrainError;
use candle_core::{D, DType, Device, Tensor, Var};
use maskwise_nn::ops;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::collections::BTreeMap;

/// What only this stage needs: classifiers of cells, and a prompt for each name.
pub(super) struct Heads {
    classes: Classes,
    variables: BTreeMap<String, Var>,
}

const CLIP: &str = "heads.clip";
const SAM: &str = "heads.sam";
const TEXT: &str = "heads.text.weight";

impl Heads {
    pub(super) fn new(clip_width: usize, dim: usize, seed: u64, device: &Device) -> Result<Self, TrainError> {
        let classes = Classes::default();
        let mut generator = Pcg64Mcg::seed_from_u64(seed);
        let mut variables = BTreeMap::new();
        let mut uniform = |rows: usize, columns: usize, bound: f32| -> Result<Var, TrainError> {
            let values: Vec<f32> =
                (0..rows * columns).map(|_| generator.random_range(-bound..bound)).collect();
            Ok(Var::from_vec(values, (rows, columns), device)?)
        };
        for (name, width) in [(CLIP, clip_width), (SAM, dim)] {
            let weight = uniform(classes.columns(), width, 1.0 / (width as f32).sqrt())?;
            variables.insert(format!("{name}.weight"), weight);
            let bias = Var::zeros(classes.columns(), DType::F32, device)?;
            variables.insert(format!("{name}.bias"), bias);
        }
        variables.insert(TEXT.to_owned(), uniform(classes.texts(), dim, 1.0)?);
        Ok(Self { classes, variables })
    }

    pub(super) fn classes(&self) -> &Classes {
        &self.classes
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (String, Var)> {
        self.variables.iter().map(|(name, variable)| (name.clone(), variable.clone()))
    }

    /// The prompts `[texts, 1, dim]` of names.
    pub(super) fn texts(&self, names: &[usize]) -> Result<Tensor, TrainError> {
        let names: Vec<u32> = names.iter().map(|name| *name as u32).collect();
        let table = self.variables[TEXT].as_tensor();
        let names = Tensor::from_slice(&names, names.len(), table.device())?;
        Ok(table.index_select(&names, 0)?.unsqueeze(1)?)
    }

    /// The cross entropy of CLIP's cells `[cells, width]` with `labels` `[cells, columns]`: the mean over cells, summed over groups.
    pub(super) fn clip_loss(&self, cells: &Tensor, labels: &Tensor) -> Result<Tensor, TrainError> {
        self.dense_loss(&self.scores(CLIP, cells)?, labels)
    }

    /// As [`Heads::clip_loss`], for SAM's cells.
    pub(super) fn sam_loss(&self, cells: &Tensor, labels: &Tensor) -> Result<Tensor, TrainError> {
        self.dense_loss(&self.scores(SAM, cells)?, labels)
    }

    /// The cross entropy of regions, whose states are the means over CLIP's cells `[cells, width]` of an image: the mean over the
    /// regions of a group, summed over groups; with the share of regions that are classified right as to their kind. None without a
    /// region.
    pub(super) fn region_loss(
        &self,
        states: &Tensor,
        regions: &[&Region],
    ) -> Result<(Tensor, f64), TrainError> {
        let scores = self.scores(CLIP, states)?;
        let mut total: Option<Tensor> = None;
        let mut right = 1.0;
        for group in Group::ALL {
            let (start, count) = (self.classes.start(group), self.classes.count(group));
            let targets: Vec<Option<u32>> =
                regions.iter().map(|region| region.class(group).map(|class| class as u32)).collect();
            if targets.iter().all(Option::is_none) {
                continue;
            }
            let scores = scores.narrow(1, start, count)?.contiguous()?;
            if group == Group::Kind {
                right = right_share(&scores.detach(), &targets)?;
            }
            let loss = ops::cross_entropy(&scores, &targets)?;
            total = Some(match total {
                Some(total) => (total + loss)?,
                None => loss,
            });
        }
        total
            .map(|total| (total, right))
            .ok_or_else(|| TrainError::setting("vision", "no picture shows a thing"))
    }

    fn scores(&self, name: &str, states: &Tensor) -> Result<Tensor, TrainError> {
        let (weight, bias) =
            (&self.variables[&format!("{name}.weight")], &self.variables[&format!("{name}.bias")]);
        Ok(ops::linear(states, weight.as_tensor(), Some(bias.as_tensor()))?)
    }

    fn dense_loss(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TrainError> {
        let mut total: Option<Tensor> = None;
        for group in Group::ALL {
            let (start, count) = (self.classes.start(group), self.classes.count(group));
            let (scores, labels) = (scores.narrow(1, start, count)?, labels.narrow(1, start, count)?);
            let highest = scores.max_keepdim(D::Minus1)?.detach();
            let scores = scores.broadcast_sub(&highest)?;
            let log = scores.broadcast_sub(&scores.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
            let loss = (log * labels)?.sum(1)?.mean_all()?.neg()?;
            total = Some(match total {
                Some(total) => (total + loss)?,
                None => loss,
            });
        }
        total.ok_or_else(|| TrainError::setting("heads", "no class to learn"))
    }
}

impl Region {
    fn class(&self, group: Group) -> Option<usize> {
        self.classes.iter().find(|(other, _)| *other == group).map(|(_, class)| *class)
    }
}

/// Of the rows with a target, the share whose largest score is the target's.
fn right_share(scores: &Tensor, targets: &[Option<u32>]) -> Result<f64, TrainError> {
    let scores = scores.to_vec2::<f32>()?;
    let largest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0);
    let (mut right, mut count) = (0_u32, 0_u32);
    for (row, target) in scores.iter().zip(targets).filter_map(|(row, target)| Some((row, (*target)?))) {
        count += 1;
        right += u32::from(largest(row) == target as usize);
    }
    Ok(f64::from(right) / f64::from(count.max(1)))
}
