use super::*;
use crate::matmul::Precision;
use proptest::prelude::*;

fn varied(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
}

/// The definition, apart from [`KeyRanges::sees`].
fn sees(range: &KeyRanges, key: usize) -> bool {
    key < range.prefix as usize || (range.start as usize..range.end as usize).contains(&key)
}

/// The definition in f64.
fn reference(shape: &Shape, inputs: &Inputs) -> Vec<f64> {
    let mut output = vec![0.0; shape.batch * shape.queries * shape.output_width()];
    for row in 0..shape.batch {
        let ranges = inputs.ranges_of(row, shape.queries);
        for query in 0..shape.queries {
            for head in 0..shape.heads {
                let key_head = head / shape.group();
                let q = &inputs.query[((row * shape.queries + query) * shape.heads + head) * shape.dim..];
                let keys = (0..shape.keys).filter(|&key| sees(&ranges[query], key));
                let powers: Vec<(usize, f64)> = keys
                    .map(|key| {
                        let k = &inputs.key
                            [((row * shape.keys + key) * shape.key_heads + key_head) * shape.dim..];
                        let score: f64 = (0..shape.dim).map(|i| f64::from(q[i]) * f64::from(k[i])).sum();
                        (key, (score * f64::from(shape.scale)).exp())
                    })
                    .collect();
                let total: f64 = powers.iter().map(|(_, power)| power).sum();
                for (key, power) in powers {
                    let at = ((row * shape.keys + key) * shape.key_heads + key_head) * shape.value_dim;
                    for i in 0..shape.value_dim {
                        output[((row * shape.queries + query) * shape.heads + head) * shape.value_dim + i] +=
                            power / total * f64::from(inputs.value[at + i]);
                    }
                }
            }
        }
    }
    output
}

struct Case {
    shape: Shape,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    ranges: Vec<KeyRanges>,
}

impl Case {
    fn new(shape: Shape, per_row: bool, kind: usize) -> Self {
        let count = if per_row { shape.batch * shape.queries } else { shape.queries };
        let keys = shape.keys as u32;
        let range = |index: usize| match kind {
            0 => KeyRanges::up_to(shape.keys),
            1 => KeyRanges::up_to((index * 5 + 1) % (shape.keys + 1)),
            _ => {
                let index = index as u32;
                let start = (index * 7 + 3) % (keys + 1);
                KeyRanges { prefix: (index / 3) % (keys / 2 + 1), start, end: (start + index % 9).min(keys) }
            }
        };
        Self {
            query: varied(shape.batch * shape.queries * shape.query_width(), 1),
            key: varied(shape.batch * shape.keys * shape.key_width(), 2),
            value: varied(shape.batch * shape.keys * shape.value_width(), 3),
            ranges: (0..count).map(range).collect(),
            shape,
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs { query: &self.query, key: &self.key, value: &self.value, ranges: &self.ranges }
    }

    fn forward(&self) -> (Vec<f32>, Vec<f32>) {
        let shape = &self.shape;
        // Rubbish that has to be overwritten.
        let mut output = vec![9.0; shape.batch * shape.queries * shape.output_width()];
        let mut sums = vec![9.0; shape.batch * shape.queries * shape.heads];
        forward(shape, self.inputs(), &mut output, &mut sums);
        (output, sums)
    }

    fn backward(&self) -> Gradients {
        let (output, sums) = self.forward();
        let gradient = varied(output.len(), 4);
        backward(&self.shape, self.inputs(), Results { output: &output, sums: &sums, gradient: &gradient })
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let size = prop_oneof![Just(1_usize), Just(7), Just(63), Just(65), Just(130), 1_usize..20];
    (1_usize..3, size.clone(), size, 1_usize..3, 1_usize..3, 1_usize..9, 1_usize..9).prop_map(
        |(batch, queries, keys, key_heads, group, dim, value_dim)| Shape {
            batch,
            queries,
            keys,
            heads: key_heads * group,
            key_heads,
            dim,
            value_dim,
            scale: 0.7,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn matches_double_precision(shape in shapes(), per_row: bool, kind in 0_usize..3) {
        let case = Case::new(shape, per_row, kind);
        let expected = reference(&shape, &case.inputs());
        for (found, expected) in case.forward().0.iter().zip(expected) {
            prop_assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}

/// The gradients of a few values against central differences of the definition.
#[test]
fn gradients_match_finite_differences() {
    let shape =
        Shape { batch: 2, queries: 67, keys: 70, heads: 4, key_heads: 2, dim: 3, value_dim: 5, scale: 0.7 };
    for kind in 0..3 {
        let mut case = Case::new(shape, true, kind);
        let gradients = case.backward();
        let cotangent = varied(shape.batch * shape.queries * shape.output_width(), 4);
        let objective = |case: &Case| -> f64 {
            reference(&shape, &case.inputs()).iter().zip(&cotangent).map(|(y, &g)| y * f64::from(g)).sum()
        };
        for part in 0..3 {
            let analytic = [&gradients.query, &gradients.key, &gradients.value][part].clone();
            for index in (0..analytic.len()).step_by(analytic.len() / 5) {
                let mut moved = |offset: f32| {
                    let values = [&mut case.query, &mut case.key, &mut case.value];
                    let [query, key, value] = values;
                    let target = &mut [query, key, value][part][index];
                    let before = *target;
                    *target += offset;
                    // What the value really moved by, after rounding.
                    let step = f64::from(*target) - f64::from(before);
                    let result = objective(&case);
                    *[&mut case.query, &mut case.key, &mut case.value][part].get_mut(index).unwrap() = before;
                    (result, step)
                };
                let ((above, up), (below, down)) = (moved(1e-3), moved(-1e-3));
                let numeric = (above - below) / (up - down);
                let found = f64::from(analytic[index]);
                assert!(
                    (found - numeric).abs() < 1e-4 * (1.0 + numeric.abs()),
                    "{kind} {part} {index}: {found} {numeric}"
                );
            }
        }
    }
}

/// A few queries are scored in f32 whatever the precision, in both directions. Were their scores rounded in the backward pass alone, the gradient of
/// the query would be off by a third here, and that of the key by a hundredth.
#[test]
fn reduced_gradients_of_few_queries_stay_close() {
    let shape =
        Shape { batch: 1, queries: 6, keys: 200, heads: 2, key_heads: 1, dim: 32, value_dim: 16, scale: 4.0 };
    let case = Case::new(shape, false, 0);
    let exact = case.backward();
    let reduced = with_precision(Precision::Medium, || case.backward());
    let norm = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    for (exact, reduced, bound) in [(&exact.query, &reduced.query, 0.2), (&exact.key, &reduced.key, 0.002)] {
        let difference: Vec<f32> = exact.iter().zip(reduced).map(|(a, b)| a - b).collect();
        let error = norm(&difference) / norm(exact);
        assert!(error < bound, "{error}");
    }
}

#[test]
fn what_no_query_sees_may_be_anything() {
    let shape =
        Shape { batch: 1, queries: 2, keys: 64, heads: 1, key_heads: 1, dim: 8, value_dim: 8, scale: 1.0 };
    let mut case = Case::new(shape, false, 0);
    case.ranges = vec![KeyRanges::up_to(10), KeyRanges { prefix: 2, start: 5, end: 9 }];
    let expected = case.forward().0;
    case.value[10 * 8..].fill(f32::NAN);
    case.key[10 * 8..].fill(f32::NAN);
    assert_eq!(case.forward().0, expected);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let shape = Shape {
        batch: 2,
        queries: 131,
        keys: 200,
        heads: 4,
        key_heads: 2,
        dim: 24,
        value_dim: 16,
        scale: 0.2,
    };
    let case = Case::new(shape, false, 2);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let gradients = case.backward();
            (case.forward(), gradients.query, gradients.key, gradients.value)
        })
    };
    assert!(on(1) == on(3));
}

#[test]
fn a_query_that_sees_nothing_gives_zeros_and_no_gradient() {
    let shape =
        Shape { batch: 1, queries: 2, keys: 3, heads: 1, key_heads: 1, dim: 2, value_dim: 2, scale: 1.0 };
    let mut case = Case::new(shape, false, 0);
    case.ranges[1] = KeyRanges { prefix: 0, start: 2, end: 2 };
    assert_eq!(case.forward().0[2..], [0.0, 0.0]);
    assert_eq!(case.backward().query[2..], [0.0, 0.0]);
    case.ranges[0] = case.ranges[1];
    assert!(case.backward().value.iter().all(|gradient| *gradient == 0.0));
}
