use crate::gradients::{f32_slice, f32_slice_mut};
use crate::{Gradients, Parameters, TrainError};
use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Storage, Tensor, Var};
use maskwise_kernels::optimizer;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// The constants of AdamW: the `[optimizer]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the first and the second moment, each in 0..1.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, not negative.
    pub weight_decay: f64,
    /// The global norm to which gradients are clipped before an update, above 0; `inf` for no clipping.
    pub max_gradient_norm: f64,
    /// Parameters that are treated differently; the first group whose pattern fits counts.
    pub groups: Vec<ParameterGroup>,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.95],
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_gradient_norm: 1.0,
            groups: Vec::new(),
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

/// AdamW as PyTorch computes it: decoupled decay, bias correction, state in f32. A parameter without gradient is left as it is, and
/// its step count with it.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    states: Vec<ParameterState>,
}

#[derive(Debug)]
struct ParameterState {
    name: String,
    multiplier: f64,
    steps: u64,
    moments: Moments,
}

/// Running means of the gradient and of its square.
#[derive(Debug)]
enum Moments {
    Cpu { first: Vec<f32>, second: Vec<f32> },
    Device { first: Tensor, second: Tensor },
}

/// The state of one parameter, as a checkpoint keeps it.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Updates that this parameter has had.
    pub steps: u64,
    /// Mean of the gradient, f32, of the parameter's shape.
    pub first: Tensor,
    /// Mean of the gradient's square, f32, of the parameter's shape.
    pub second: Tensor,
}

impl AdamW {
    /// With no update made yet.
    ///
    /// # Errors
    /// [`TrainError::Setting`] when a constant is out of range, a group fits no parameter, or a parameter is not contiguous f32.
    pub fn new(config: AdamWConfig, parameters: &Parameters) -> Result<Self, TrainError> {
        check(&config, parameters)?;
        let states = parameters
            .iter()
            .map(|(name, variable)| {
                let group = config.groups.iter().find(|group| name.contains(&group.name_contains));
                Ok(ParameterState {
                    name: name.to_owned(),
                    multiplier: group.map_or(1.0, |group| group.learning_rate_multiplier),
                    steps: 0,
                    moments: Moments::zeros(variable)?,
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
        for ((state, (_, variable)), gradient) in self.states.iter_mut().zip(parameters.iter()).zip(gradients)
        {
            let Some(gradient) = gradient else { continue };
            if gradient.shape() != variable.shape() {
                let reason =
                    format!("the gradient is {:?}, the parameter {:?}", gradient.shape(), variable.shape());
                return Err(TrainError::setting(&state.name, reason));
            }
            state.steps += 1;
            let [beta1, beta2] = self.config.betas;
            let update = optimizer::AdamW {
                learning_rate: rate * state.multiplier,
                beta1,
                beta2,
                epsilon: self.config.epsilon,
                weight_decay: self.config.weight_decay,
                step: state.steps,
            };
            let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
            state.moments.update(variable, &gradient, update, gradient_scale)?;
        }
        Ok(())
    }

    /// How often each parameter was updated, by name.
    pub fn steps(&self) -> impl Iterator<Item = (&str, u64)> {
        self.states.iter().map(|state| (state.name.as_str(), state.steps))
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
        let (first, second) = match &state.moments {
            Moments::Cpu { first, second } => {
                let tensor = |values: &[f32]| Tensor::from_slice(values, variable.shape(), variable.device());
                (tensor(first)?, tensor(second)?)
            }
            Moments::Device { first, second } => (first.clone(), second.clone()),
        };
        Ok(Moment { steps: state.steps, first, second })
    }

    /// Puts back the state of parameter `name`.
    ///
    /// # Errors
    /// When there is no such parameter, or its size differs.
    pub fn restore(&mut self, name: &str, moment: &Moment) -> Result<(), TrainError> {
        let state = self
            .states
            .iter_mut()
            .find(|state| state.name == name)
            .ok_or_else(|| TrainError::setting(name, "no such parameter is trained"))?;
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        match &mut state.moments {
            Moments::Cpu { first, second } => {
                if moment.first.elem_count() != first.len() || moment.second.elem_count() != second.len() {
                    return Err(TrainError::setting(name, "the kept moments have another size"));
                }
                (*first, *second) = (flat(&moment.first)?, flat(&moment.second)?);
            }
            Moments::Device { first, second } => {
                (*first, *second) = (moment.first.clone(), moment.second.clone());
            }
        }
        state.steps = moment.steps;
        Ok(())
    }
}

impl AdamWConfig {
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

fn check(config: &AdamWConfig, parameters: &Parameters) -> Result<(), TrainError> {
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
    match parameters.iter().find(|(_, variable)| variable.dtype() != DType::F32 || !variable.is_contiguous())
    {
        Some((name, variable)) => {
            let reason = format!("is {:?}; trained parameters are contiguous f32", variable.dtype());
            Err(TrainError::setting(name, reason))
        }
        None => Ok(()),
    }
}

impl Moments {
    fn zeros(variable: &Var) -> candle_core::Result<Self> {
        if variable.device().is_cpu() {
            let zeros = || vec![0.0; variable.elem_count()];
            return Ok(Self::Cpu { first: zeros(), second: zeros() });
        }
        Ok(Self::Device { first: variable.zeros_like()?.detach(), second: variable.zeros_like()?.detach() })
    }

    /// One update with `gradient` times `scale`.
    fn update(
        &mut self,
        variable: &Var,
        gradient: &Tensor,
        update: optimizer::AdamW,
        scale: f64,
    ) -> candle_core::Result<()> {
        match self {
            Self::Cpu { first, second } => {
                let (storage, layout) = gradient.storage_and_layout();
                let Storage::Cpu(storage) = &*storage else {
                    candle_core::bail!("the gradient left the CPU")
                };
                let gradient = f32_slice(storage, layout)?;
                let moments = RefCell::new((first.as_mut_slice(), second.as_mut_slice()));
                variable.inplace_op1(&UpdateInPlace { update, gradient, scale: scale as f32, moments })
            }
            Self::Device { first, second } => {
                let optimizer::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay, step } = update;
                // The exponent passes an f64 exactly up to 2^53 steps.
                let correction = |beta: f64| 1.0 - beta.powf(step as f64);
                let gradient = (gradient * scale)?;
                *first = ((&*first * beta1)? + (&gradient * (1.0 - beta1))?)?;
                *second = ((&*second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
                let denominator = ((second.sqrt()? / correction(beta2).sqrt())? + epsilon)?;
                let change = (first.div(&denominator)? * (learning_rate / correction(beta1)))?;
                let kept = (variable.as_detached_tensor() * (1.0 - learning_rate * weight_decay))?;
                variable.set(&(kept - change)?)
            }
        }
    }
}

struct UpdateInPlace<'a> {
    update: optimizer::AdamW,
    gradient: &'a [f32],
    scale: f32,
    moments: RefCell<(&'a mut [f32], &'a mut [f32])>,
}

impl InplaceOp1 for UpdateInPlace<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let parameters = f32_slice_mut(storage, layout)?;
        let (first, second) = &mut *self.moments.borrow_mut();
        self.update.update(parameters, first, second, self.gradient, self.scale);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn parameters(a: &[f32], b: &[f32]) -> Parameters {
        let variable = |values: &[f32]| Var::new(values, &Device::Cpu).unwrap();
        Parameters::new([("a".to_owned(), variable(a)), ("b".to_owned(), variable(b))].into())
    }

    fn values(parameters: &Parameters, name: &str) -> Vec<f32> {
        parameters.get(name).unwrap().to_vec1().unwrap()
    }

    fn gradients(values: &[&[f32]]) -> Gradients {
        let tensor =
            |values: &&[f32]| (!values.is_empty()).then(|| Tensor::new(*values, &Device::Cpu).unwrap());
        values.iter().map(tensor).collect()
    }

    /// The values of `a` and `b` after each step: `tests/golden/adamw.py` with torch 2.15.0.
    const AFTER: [([f32; 4], [f32; 3]); 4] = [
        (
            [0.499_698_52, -1.249_696_3, 1.999_994, 0.000_727_269_74],
            [0.749_697_74, -0.499_698_52, 3.999_688_1],
        ),
        (
            [0.499_698_52, -1.249_696_3, 1.999_994, 0.000_727_269_74],
            [0.749_697_74, -0.499_698_52, 3.999_688_1],
        ),
        ([0.490_203_44, -1.240_126_3, 1.999_794, -0.008_305_763], [0.740_823_15, -0.490_848_93, 3.990_489_7]),
        ([0.488_311_95, -1.238_219_7, 1.999_754, -0.010_122_331], [0.739_169_96, -0.489_200_74, 3.988_771_7]),
    ];

    #[test]
    fn updates_are_those_of_pytorch() {
        let parameters = parameters(&[0.5, -1.25, 2.0, 1e-3], &[0.75, -0.5, 4.0]);
        let config = AdamWConfig { weight_decay: 0.01, ..AdamWConfig::default() };
        let mut optimizer = AdamW::new(config, &parameters).unwrap();
        for (index, rate) in [3e-4, 0.0, 1e-2, 2e-3].into_iter().enumerate() {
            let step = index as f32 + 1.0;
            let a = [0.1 * step, -2.0 * step, 0.0, 1e-7 * step];
            let b = [1.0 / step, -0.25 / step, 1e-4 / step];
            let b: &[f32] = if index == 1 { &[] } else { &b };
            optimizer.step(&parameters, &gradients(&[&a, b]), rate, 1.0).unwrap();
            let found = [values(&parameters, "a"), values(&parameters, "b")].concat();
            let expected = [AFTER[index].0.as_slice(), AFTER[index].1.as_slice()].concat();
            for (found, expected) in found.iter().zip(&expected) {
                // A few roundings of f32 values of this size.
                assert!(
                    (found - expected).abs() <= 2e-7 * expected.abs() + 2e-9,
                    "step {step}: {found} {expected}"
                );
            }
        }
        let steps: Vec<(&str, u64)> = optimizer.steps().collect();
        assert_eq!(steps, [("a", 4), ("b", 3)]);
    }

    #[test]
    fn other_devices_compute_the_same() {
        let (slices, tensors) = (parameters(&[0.5, -1.25], &[4.0]), parameters(&[0.5, -1.25], &[4.0]));
        let config = AdamWConfig { weight_decay: 0.01, ..AdamWConfig::default() };
        let mut by_slices = AdamW::new(config.clone(), &slices).unwrap();
        let mut by_tensors = AdamW::new(config, &tensors).unwrap();
        for (state, (_, variable)) in by_tensors.states.iter_mut().zip(tensors.iter()) {
            let zeros = || Tensor::zeros(variable.shape(), DType::F32, &Device::Cpu).unwrap();
            state.moments = Moments::Device { first: zeros(), second: zeros() };
        }
        for step in [1.0, -3.0, 0.5] {
            let gradients = gradients(&[&[step, 0.2], &[1e-3 * step]]);
            by_slices.step(&slices, &gradients, 0.1, 0.5).unwrap();
            by_tensors.step(&tensors, &gradients, 0.1, 0.5).unwrap();
        }
        for name in ["a", "b"] {
            for (left, right) in values(&slices, name).iter().zip(values(&tensors, name)) {
                assert!((left - right).abs() <= 4e-7 * left.abs(), "{name}: {left} {right}");
            }
            let moment =
                |optimizer: &AdamW, of: &Parameters| optimizer.moment(name, of.get(name).unwrap()).unwrap();
            let second = |moment: Moment| moment.second.to_vec1::<f32>().unwrap()[0];
            let (left, right) = (second(moment(&by_slices, &slices)), second(moment(&by_tensors, &tensors)));
            assert!((left - right).abs() <= 4e-7 * left, "{left} {right}");
        }
    }

    #[test]
    fn the_scale_of_the_gradients_is_applied_before_the_moments() {
        let scaled = parameters(&[1.0, 2.0], &[3.0]);
        let plain = parameters(&[1.0, 2.0], &[3.0]);
        let config = AdamWConfig { epsilon: 0.1, ..AdamWConfig::default() };
        let mut optimizer = AdamW::new(config.clone(), &scaled).unwrap();
        optimizer.step(&scaled, &gradients(&[&[0.5, -4.0], &[8.0]]), 0.1, 0.25).unwrap();
        let mut optimizer = AdamW::new(config, &plain).unwrap();
        optimizer.step(&plain, &gradients(&[&[0.125, -1.0], &[2.0]]), 0.1, 1.0).unwrap();
        assert_eq!(values(&scaled, "a"), values(&plain, "a"));
        assert_eq!(values(&scaled, "b"), values(&plain, "b"));
        assert!(values(&plain, "a")[1] > 2.0);
    }

    #[test]
    fn a_group_has_its_own_rate() {
        let group = |pattern: &str, learning_rate_multiplier| ParameterGroup {
            name_contains: pattern.to_owned(),
            learning_rate_multiplier,
        };
        let grouped = parameters(&[1.0], &[1.0]);
        let config = AdamWConfig { groups: vec![group("b", 0.5)], ..AdamWConfig::default() };
        AdamW::new(config, &grouped)
            .unwrap()
            .step(&grouped, &gradients(&[&[1.0], &[1.0]]), 0.5, 1.0)
            .unwrap();
        assert!(
            (values(&grouped, "a")[0] - 0.5).abs() < 1e-6 && (values(&grouped, "b")[0] - 0.75).abs() < 1e-6
        );

        for (wrong, reason) in
            [(group("c", 1.0), "fits no trained parameter"), (group("a", -1.0), "multiplier")]
        {
            let config = AdamWConfig { groups: vec![wrong], ..AdamWConfig::default() };
            assert!(AdamW::new(config, &grouped).unwrap_err().to_string().contains(reason));
        }
    }

    #[test]
    fn restored_state_continues_bit_for_bit() {
        let step = |optimizer: &mut AdamW, parameters: &Parameters, value: f32| {
            let gradient: Vec<f32> = (0..40_000).map(|index| value * (index % 13) as f32).collect();
            optimizer.step(parameters, &gradients(&[&gradient, &[]]), 0.1, 1.0).unwrap();
        };
        let long = vec![1.0; 40_000];
        let whole = parameters(&long, &[0.0]);
        let mut optimizer = AdamW::new(AdamWConfig::default(), &whole).unwrap();
        step(&mut optimizer, &whole, 0.3);
        let continued = parameters(&values(&whole, "a"), &[0.0]);
        let mut other = AdamW::new(AdamWConfig::default(), &continued).unwrap();
        for (name, variable) in whole.iter() {
            other.restore(name, &optimizer.moment(name, variable).unwrap()).unwrap();
        }
        step(&mut optimizer, &whole, -0.2);
        step(&mut other, &continued, -0.2);
        assert_eq!(values(&whole, "a"), values(&continued, "a"));
        assert!(other.restore("a", &optimizer.moment("b", whole.get("b").unwrap()).unwrap()).is_err());
    }

    #[test]
    fn bad_settings_and_gradients_are_refused() {
        let parameters = parameters(&[1.0], &[1.0]);
        let refused = |config: AdamWConfig| AdamW::new(config, &parameters).unwrap_err().to_string();
        assert!(refused(AdamWConfig { betas: [0.9, 1.0], ..Default::default() }).contains("optimizer.betas"));
        assert!(
            refused(AdamWConfig { weight_decay: -0.1, ..Default::default() })
                .contains("optimizer.weight_decay")
        );
        let mut optimizer = AdamW::new(AdamWConfig::default(), &parameters).unwrap();
        let error = optimizer.step(&parameters, &gradients(&[&[1.0], &[1.0, 2.0]]), 0.1, 1.0).unwrap_err();
        assert!(error.to_string().starts_with("b:"), "{error}");
        assert!(optimizer.step(&parameters, &gradients(&[&[1.0]]), 0.1, 1.0).is_err());
    }
}
