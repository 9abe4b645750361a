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
    let tensor = |values: &&[f32]| (!values.is_empty()).then(|| Tensor::new(*values, &Device::Cpu).unwrap());
    values.iter().map(tensor).collect()
}

/// The values of `a` and `b` after each step: `tests/golden/adamw.py` with torch 2.15.0.
const AFTER: [([f32; 4], [f32; 3]); 4] = [
    ([0.499_698_52, -1.249_696_3, 1.999_994, 0.000_727_269_74], [0.749_697_74, -0.499_698_52, 3.999_688_1]),
    ([0.499_698_52, -1.249_696_3, 1.999_994, 0.000_727_269_74], [0.749_697_74, -0.499_698_52, 3.999_688_1]),
    ([0.490_203_44, -1.240_126_3, 1.999_794, -0.008_305_763], [0.740_823_15, -0.490_848_93, 3.990_489_7]),
    ([0.488_311_95, -1.238_219_7, 1.999_754, -0.010_122_331], [0.739_169_96, -0.489_200_74, 3.988_771_7]),
];

#[test]
fn updates_are_those_of_pytorch() {
    let parameters = parameters(&[0.5, -1.25, 2.0, 1e-3], &[0.75, -0.5, 4.0]);
    let config = OptimizerConfig { weight_decay: 0.01, ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(config, &parameters).unwrap();
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
    let config = OptimizerConfig { weight_decay: 0.01, ..OptimizerConfig::default() };
    let mut by_slices = Optimizer::new(config.clone(), &slices).unwrap();
    let mut by_tensors = Optimizer::new(config, &tensors).unwrap();
    for (state, (_, variable)) in by_tensors.states.iter_mut().zip(tensors.iter()) {
        let zeros = || Tensor::zeros(variable.shape(), DType::F32, &Device::Cpu).unwrap();
        state.rule = Rule::AdamW(Moments::Device { first: zeros(), second: zeros() });
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
            |optimizer: &Optimizer, of: &Parameters| optimizer.moment(name, of.get(name).unwrap()).unwrap();
        let second = |moment: Moment| moment.second.unwrap().to_vec1::<f32>().unwrap()[0];
        let (left, right) = (second(moment(&by_slices, &slices)), second(moment(&by_tensors, &tensors)));
        assert!((left - right).abs() <= 4e-7 * left, "{left} {right}");
    }
}

#[test]
fn the_scale_of_the_gradients_is_applied_before_the_moments() {
    let scaled = parameters(&[1.0, 2.0], &[3.0]);
    let plain = parameters(&[1.0, 2.0], &[3.0]);
    let config = OptimizerConfig { epsilon: 0.1, ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(config.clone(), &scaled).unwrap();
    optimizer.step(&scaled, &gradients(&[&[0.5, -4.0], &[8.0]]), 0.1, 0.25).unwrap();
    let mut optimizer = Optimizer::new(config, &plain).unwrap();
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
    let config = OptimizerConfig { groups: vec![group("b", 0.5)], ..OptimizerConfig::default() };
    Optimizer::new(config, &grouped)
        .unwrap()
        .step(&grouped, &gradients(&[&[1.0], &[1.0]]), 0.5, 1.0)
        .unwrap();
    assert!((values(&grouped, "a")[0] - 0.5).abs() < 1e-6 && (values(&grouped, "b")[0] - 0.75).abs() < 1e-6);

    for (wrong, reason) in [(group("c", 1.0), "fits no trained parameter"), (group("a", -1.0), "multiplier")]
    {
        let config = OptimizerConfig { groups: vec![wrong], ..OptimizerConfig::default() };
        assert!(Optimizer::new(config, &grouped).unwrap_err().to_string().contains(reason));
    }
}

#[test]
fn restored_state_continues_bit_for_bit() {
    let step = |optimizer: &mut Optimizer, parameters: &Parameters, value: f32| {
        let gradient: Vec<f32> = (0..40_000).map(|index| value * (index % 13) as f32).collect();
        optimizer.step(parameters, &gradients(&[&gradient, &[]]), 0.1, 1.0).unwrap();
    };
    let long = vec![1.0; 40_000];
    let whole = parameters(&long, &[0.0]);
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), &whole).unwrap();
    step(&mut optimizer, &whole, 0.3);
    let continued = parameters(&values(&whole, "a"), &[0.0]);
    let mut other = Optimizer::new(OptimizerConfig::default(), &continued).unwrap();
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
    let refused = |config: OptimizerConfig| Optimizer::new(config, &parameters).unwrap_err().to_string();
    assert!(refused(OptimizerConfig { betas: [0.9, 1.0], ..Default::default() }).contains("optimizer.betas"));
    assert!(
        refused(OptimizerConfig { weight_decay: -0.1, ..Default::default() })
            .contains("optimizer.weight_decay")
    );
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), &parameters).unwrap();
    let error = optimizer.step(&parameters, &gradients(&[&[1.0], &[1.0, 2.0]]), 0.1, 1.0).unwrap_err();
    assert!(error.to_string().starts_with("b:"), "{error}");
    assert!(optimizer.step(&parameters, &gradients(&[&[1.0]]), 0.1, 1.0).is_err());
}

#[test]
fn muon_takes_matrices_and_walks_along_an_orthogonal_one() {
    let matrix = Var::new(&[[1.0_f32, 0.0, 2.0], [0.5, -1.0, 0.0]], &Device::Cpu).unwrap();
    let bias = Var::new(&[1.0_f32, 2.0], &Device::Cpu).unwrap();
    let named = [("layers.0.bias".to_owned(), bias), ("layers.0.weight".to_owned(), matrix)];
    let parameters = Parameters::new(named.into());
    let muon = MuonConfig {
        name_contains: vec!["layers.".to_owned()],
        momentum: 0.9,
        learning_rate_multiplier: 1.0,
    };
    let config = OptimizerConfig { muon: Some(muon), weight_decay: 0.1, ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(config, &parameters).unwrap();
    assert!(optimizer.has_second_moment("layers.0.bias") && !optimizer.has_second_moment("layers.0.weight"));
    let gradient = Tensor::new(&[[3.0_f32, 0.0, 0.0], [0.0, 0.0, 2.0]], &Device::Cpu).unwrap();
    let gradients = vec![Some(Tensor::new(&[1.0_f32, 1.0], &Device::Cpu).unwrap()), Some(gradient)];
    optimizer.step(&parameters, &gradients, 0.5, 1.0).unwrap();
    let found = parameters.get("layers.0.weight").unwrap().to_vec2::<f32>().unwrap();
    // The gradient's own directions, each about 1 long, times rate and 0.2·√3; what it has no part in only decays.
    let step = 0.5 * 0.2 * 3.0_f32.sqrt();
    let moved = [(1.0 * 0.95 - found[0][0]) / step, (0.0 - found[1][2]) / step];
    assert!(moved.iter().all(|length| (0.6..1.3).contains(length)), "{moved:?}");
    assert!((found[0][2] - 1.9).abs() < 1e-6 && (found[1][1] + 0.95).abs() < 1e-6, "{found:?}");

    let moment = optimizer.moment("layers.0.weight", parameters.get("layers.0.weight").unwrap()).unwrap();
    assert!(moment.second.is_none() && moment.steps == 1);
    optimizer.restore("layers.0.weight", &moment).unwrap();
    let of_bias = optimizer.moment("layers.0.bias", parameters.get("layers.0.bias").unwrap()).unwrap();
    assert!(optimizer.restore("layers.0.weight", &of_bias).unwrap_err().to_string().contains("another"));

    let unknown =
        MuonConfig { name_contains: vec!["bias".to_owned()], momentum: 0.9, learning_rate_multiplier: 1.0 };
    let config = OptimizerConfig { muon: Some(unknown), ..OptimizerConfig::default() };
    assert!(Optimizer::new(config, &parameters).unwrap_err().to_string().contains("fits no trained matrix"));
}
