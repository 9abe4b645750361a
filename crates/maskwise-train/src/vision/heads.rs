use super::{Classes, Group};
use crate::TrainError;
use candle_core::{D, DType, Device, Tensor, Var};
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

    /// The cross entropy of CLIP's cells `[cells, width]` with `labels` `[cells, columns]`: the mean over cells, summed over groups;
    /// and the share of cells that are classified right as to their kind, of those that show mostly one.
    pub(super) fn clip_loss(&self, cells: &Tensor, labels: &Tensor) -> Result<(Tensor, f64), TrainError> {
        self.loss(CLIP, cells, labels)
    }

    /// As [`Heads::clip_loss`], for SAM's cells.
    pub(super) fn sam_loss(&self, cells: &Tensor, labels: &Tensor) -> Result<(Tensor, f64), TrainError> {
        self.loss(SAM, cells, labels)
    }

    fn loss(&self, name: &str, cells: &Tensor, labels: &Tensor) -> Result<(Tensor, f64), TrainError> {
        let (weight, bias) =
            (&self.variables[&format!("{name}.weight")], &self.variables[&format!("{name}.bias")]);
        let scores = cells.matmul(&weight.t()?)?.broadcast_add(bias)?;
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
        let kinds = self.classes.count(Group::Kind);
        let right = right_kinds(&scores.detach().narrow(1, 0, kinds)?, &labels.narrow(1, 0, kinds)?)?;
        total.map(|total| (total, right)).ok_or_else(|| TrainError::setting("heads", "no class to learn"))
    }
}

/// Among the cells mostly covered by one kind of thing, the share whose largest score is that kind's.
fn right_kinds(scores: &Tensor, labels: &Tensor) -> Result<f64, TrainError> {
    let (scores, labels) = (scores.to_vec2::<f32>()?, labels.to_vec2::<f32>()?);
    let largest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0);
    let (mut right, mut count) = (0_u32, 0_u32);
    for (scores, labels) in scores.iter().zip(&labels) {
        let kind = largest(labels);
        if kind > 0 && labels[kind] > 0.5 {
            count += 1;
            right += u32::from(largest(scores) == kind);
        }
    }
    Ok(if count == 0 { 1.0 } else { f64::from(right) / f64::from(count) })
}
