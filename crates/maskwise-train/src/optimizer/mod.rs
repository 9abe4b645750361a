//! How parameters are updated: AdamW, and Muon for the matrices that a recipe gives it.

mod adamw;
mod muon;

pub use muon::MuonConfig;

use crate::{Gradients, Parameters, TrainError};
use adamw::Moments;
use candle_core::{DType, Tensor, Var};
use maskwise_kernels::optimizer;
use muon::{Momentum, Update};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The `[optimizer]` section: the constants of AdamW, and what is updated otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Decay of AdamW's first and second moment, each in 0..1.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, not negative.
    pub weight_decay: f64,
    /// The global norm to which gradients are clipped before an update, above 0; `inf` for no clipping.
    pub max_gradient_norm: f64,
    /// Parameters that are treated differently; the first group whose pattern fits counts.
    pub groups: Vec<ParameterGroup>,
    /// What Muon updates; nothing without this section.
    pub muon: Option<MuonConfig>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.95],
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_gradient_norm: 1.0,
            groups: Vec::new(),
            muon: None,
        }
    }
}

/// Parameters with a learning rate of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterGroup {
    /// A part of the parameters' names.
    pub name_contains: String,
    /// By what the schedule's rate is multiplied, not negative.
    pub learning_rate_multiplier: f64,
}

/// The state of all parameters. AdamW is as PyTorch computes it: decoupled decay, bias correction, state in f32. A parameter without
/// gradient is left as it is, and its step count with it.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    states: Vec<ParameterState>,
}

#[derive(Debug)]
struct ParameterState {
    name: String,
    multiplier: f64,
    steps: u64,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    AdamW(Moments),
    Muon(Momentum),
}

/// The state of one parameter, as a checkpoint keeps it.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Updates that this parameter has had.
    pub steps: u64,
    /// Mean of the gradient, or Muon's momentum; f32, of the parameter's shape.
    pub first: Tensor,
    /// Mean of the gradient's square, f32, of the parameter's shape; Muon has none.
    pub second: Option<Tensor>,
}

impl Optimizer {
    /// With no update made yet.
    ///
    /// # Errors
    /// [`TrainError::Setting`] when a constant is out of range, a group fits no parameter, or a parameter is not contiguous f32.
    pub fn new(config: OptimizerConfig, parameters: &Parameters) -> Result<Self, TrainError> {
        check(&config, parameters)?;
        let states = parameters
            .iter()
            .map(|(name, variable)| {
                let group = config.groups.iter().find(|group| name.contains(&group.name_contains));
                let rule = match &config.muon {
                    Some(muon) if muon.takes(name, variable) => Rule::Muon(Momentum::zeros(variable)),
                    _ => Rule::AdamW(Moments::zeros(variable)?),
                };
                Ok(ParameterState {
                    name: name.to_owned(),
                    multiplier: group.map_or(1.0, |group| group.learning_rate_multiplier),
                    steps: 0,
                    rule,
                })
            })
            .collect::<Result<_, TrainError>>()?;
        Ok(Self { config, states })
    }

    /// Updates the parameters in place. `rate` is the schedule's; the gradients are multiplied by `gradient_scale`, which holds the
    /// clipping coefficient and the division by the number of micro-batches.
    ///
    /// # Errors
    /// When `gradients` does not belong to `parameters`, or the device refuses.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        rate: f64,
        gradient_scale: f64,
    ) -> Result<(), TrainError> {
        if gradients.len() != self.states.len() {
            let reason = format!("{} gradients for {} parameters", gradients.len(), self.states.len());
            return Err(TrainError::setting("gradients", reason));
        }
        let config = &self.config;
        let mut matrices = Vec::new();
        for ((state, (_, variable)), gradient) in self.states.iter_mut().zip(parameters.iter()).zip(gradients)
        {
            let Some(gradient) = gradient else { continue };
            if gradient.shape() != variable.shape() {
                let reason =
                    format!("the gradient is {:?}, the parameter {:?}", gradient.shape(), variable.shape());
                return Err(TrainError::setting(&state.name, reason));
            }
            state.steps += 1;
            let learning_rate = rate * state.multiplier;
            let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
            match &mut state.rule {
                Rule::AdamW(moments) => {
                    let [beta1, beta2] = config.betas;
                    let update = optimizer::AdamW {
                        learning_rate,
                        beta1,
                        beta2,
                        epsilon: config.epsilon,
                        weight_decay: config.weight_decay,
                        step: state.steps,
                    };
                    moments.update(variable, &gradient, update, gradient_scale)?;
                }
                Rule::Muon(momentum) => matrices.push((momentum, variable, gradient, learning_rate)),
            }
        }
        let (momentum, multiplier) =
            config.muon.as_ref().map_or((0.0, 1.0), |muon| (muon.momentum, muon.learning_rate_multiplier));
        matrices.into_par_iter().try_for_each(|(state, variable, gradient, learning_rate)| {
            let learning_rate = learning_rate * multiplier;
            let update =
                Update { learning_rate, momentum, weight_decay: config.weight_decay, gradient_scale };
            state.update(variable, &gradient, &update)
        })?;
        Ok(())
    }

    /// How often each parameter was updated, by name.
    pub fn steps(&self) -> impl Iterator<Item = (&str, u64)> {
        self.states.iter().map(|state| (state.name.as_str(), state.steps))
    }

    /// Whether the state of parameter `name` has a second moment.
    pub fn has_second_moment(&self, name: &str) -> bool {
        let state = self.states.iter().find(|state| state.name == name);
        state.is_some_and(|state| matches!(state.rule, Rule::AdamW(_)))
    }

    /// A copy of the state of parameter `name`, whose variable is given.
    ///
    /// # Errors
    /// When there is no such parameter.
    pub fn moment(&self, name: &str, variable: &Var) -> Result<Moment, TrainError> {
        let state = self
            .states
            .iter()
            .find(|state| state.name == name)
            .ok_or_else(|| TrainError::setting(name, "no such parameter is trained"))?;
        let tensor = |values: &[f32]| Tensor::from_slice(values, variable.shape(), variable.device());
        let (first, second) = match &state.rule {
            Rule::AdamW(Moments::Cpu { first, second }) => (tensor(first)?, Some(tensor(second)?)),
            Rule::AdamW(Moments::Device { first, second }) => (first.clone(), Some(second.clone())),
            Rule::Muon(momentum) => (tensor(&momentum.0)?, None),
        };
        Ok(Moment { steps: state.steps, first, second })
    }

    /// Puts back the state of parameter `name`.
    ///
    /// # Errors
    /// When there is no such parameter, or its size or its rule differs.
    pub fn restore(&mut self, name: &str, moment: &Moment) -> Result<(), TrainError> {
        let state = self
            .states
            .iter_mut()
            .find(|state| state.name == name)
            .ok_or_else(|| TrainError::setting(name, "no such parameter is trained"))?;
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let other = |what: &str| Err(TrainError::setting(name, format!("the kept moments {what}")));
        match (&mut state.rule, &moment.second) {
            (Rule::AdamW(Moments::Cpu { first, second }), Some(kept)) => {
                if moment.first.elem_count() != first.len() || kept.elem_count() != second.len() {
                    return other("have another size");
                }
                (*first, *second) = (flat(&moment.first)?, flat(kept)?);
            }
            (Rule::AdamW(Moments::Device { first, second }), Some(kept)) => {
                (*first, *second) = (moment.first.clone(), kept.clone());
            }
            (Rule::Muon(momentum), None) => {
                if moment.first.elem_count() != momentum.0.len() {
                    return other("have another size");
                }
                momentum.0 = flat(&moment.first)?;
            }
            _ => return other("are of another optimiser"),
        }
        state.steps = moment.steps;
        Ok(())
    }
}

impl OptimizerConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`TrainError::Setting`] with the key at fault.
    pub fn check(&self) -> Result<(), TrainError> {
        if self.betas.iter().any(|beta| !(0.0..1.0).contains(beta)) {
            return Err(TrainError::setting("optimizer.betas", format!("{:?} must lie in 0..1", self.betas)));
        }
        let not_negative =
            [("optimizer.epsilon", self.epsilon), ("optimizer.weight_decay", self.weight_decay)];
        for (field, value) in not_negative {
            if !(value.is_finite() && value >= 0.0) {
                return Err(TrainError::setting(field, format!("{value} must be zero or a positive number")));
            }
        }
        if self.max_gradient_norm.is_nan() || self.max_gradient_norm <= 0.0 {
            let reason = "must be above zero; `inf` clips nothing";
            return Err(TrainError::setting("optimizer.max_gradient_norm", reason));
        }
        Ok(())
    }
}

fn check(config: &OptimizerConfig, parameters: &Parameters) -> Result<(), TrainError> {
    config.check()?;
    for group in &config.groups {
        let field = format!("optimizer.groups `{}`", group.name_contains);
        if !(group.learning_rate_multiplier.is_finite() && group.learning_rate_multiplier >= 0.0) {
            return Err(TrainError::setting(
                field,
                "learning_rate_multiplier must be zero or a positive number",
            ));
        }
        if !parameters.iter().any(|(name, _)| name.contains(&group.name_contains)) {
            return Err(TrainError::setting(field, "fits no trained parameter; correct or remove it"));
        }
    }
    if let Some(muon) = &config.muon {
        if !(0.0..1.0).contains(&muon.momentum) {
            let reason = format!("{} must lie in 0..1", muon.momentum);
            return Err(TrainError::setting("optimizer.muon.momentum", reason));
        }
        if !(muon.learning_rate_multiplier.is_finite() && muon.learning_rate_multiplier >= 0.0) {
            let reason = format!("{} must be zero or a positive number", muon.learning_rate_multiplier);
            return Err(TrainError::setting("optimizer.muon.learning_rate_multiplier", reason));
        }
        let fits = |part: &String| {
            parameters.iter().any(|(name, variable)| name.contains(part) && muon.takes(name, variable))
        };
        if let Some(part) = muon.name_contains.iter().find(|part| !fits(part)) {
            let field = format!("optimizer.muon.name_contains `{part}`");
            return Err(TrainError::setting(field, "fits no trained matrix; correct or remove it"));
        }
    }
    match parameters.iter().find(|(_, variable)| variable.dtype() != DType::F32 || !variable.is_contiguous())
    {
        Some((name, variable)) => {
            let reason = format!("is {:?}; trained parameters are contiguous f32", variable.dtype());
            Err(TrainError::setting(name, reason))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
