//! Telling weights that were never trained, or were damaged, from those that were.

use std::fmt;

use candle_core::{DType, Device};

use super::error::WeightsError;
use super::source::TensorSource;

/// Why a tensor does not look trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Problem {
    /// Every element is zero.
    AllZero,
    /// Every element has this one value.
    Constant(f32),
    /// This many elements are infinite or not a number.
    NonFinite(usize),
}

/// A tensor that does not look trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The tensor.
    pub name: String,
    /// What is wrong with its values.
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem {
            Problem::AllZero => write!(formatter, "`{}` is all zero", self.name),
            Problem::Constant(value) => write!(formatter, "`{}` is {value} everywhere", self.name),
            Problem::NonFinite(count) => {
                write!(formatter, "`{}` holds {count} values that are infinite or not a number", self.name)
            }
        }
    }
}

/// Examines the tensors `names`, one after the other, and reports those whose values cannot come from training.
///
/// Biases and norm weights may rightly be constant, so only weight matrices that training must have moved should
/// be named here. A tensor of one element is never called constant. Holds one tensor as f32 at a time.
///
/// # Errors
/// [`WeightsError::Missing`] for a name that the source lacks, and whatever reading meets.
pub fn looks_untrained<'a>(
    source: &dyn TensorSource,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Finding>, WeightsError> {
    let mut findings = Vec::new();
    for name in names {
        if !source.tensors().contains_key(name) {
            return Err(WeightsError::Missing { name: name.to_string() });
        }
        let values: Vec<f32> = source
            .read(name, DType::F32, &Device::Cpu)?
            .flatten_all()
            .and_then(|tensor| tensor.to_vec1())
            .map_err(|error| WeightsError::tensor(name, error))?;
        if let Some(problem) = examine(&values) {
            findings.push(Finding { name: name.to_string(), problem });
        }
    }
    Ok(findings)
}

fn examine(values: &[f32]) -> Option<Problem> {
    let non_finite = values.iter().filter(|value| !value.is_finite()).count();
    if non_finite > 0 {
        return Some(Problem::NonFinite(non_finite));
    }
    let (&first, rest) = values.split_first()?;
    if rest.iter().any(|&value| value != first) {
        None
    } else if first == 0.0 {
        Some(Problem::AllZero)
    } else if rest.is_empty() {
        None
    } else {
        Some(Problem::Constant(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_trained_values_from_untrained_ones() {
        assert_eq!(examine(&[0.0, -0.0, 0.0]), Some(Problem::AllZero));
        assert_eq!(examine(&[0.5, 0.5]), Some(Problem::Constant(0.5)));
        assert_eq!(examine(&[0.5, f32::NAN, f32::INFINITY]), Some(Problem::NonFinite(2)));
        assert_eq!(examine(&[0.5, 0.25]), None);
        assert_eq!(examine(&[0.5]), None);
        assert_eq!(examine(&[]), None);
    }
}
