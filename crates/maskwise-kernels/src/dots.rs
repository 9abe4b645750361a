//! Dot products of one row with several others.

/// Rows of memory that are read side by side: a processor fetches several streams faster than one.
pub(crate) const STREAMS: usize = 8;

/// The sums of products of `row` with each of `others`.
///
/// # Panics
/// When one of these is shorter.
#[inline(always)]
pub(crate) fn dots<S: pulp::Simd, const COUNT: usize>(
    simd: S,
    row: &[f32],
    others: [&[f32]; COUNT],
) -> [f32; COUNT] {
    let (wide, rest) = S::as_simd_f32s(row);
    let beyond = row.len() - rest.len();
    let mut sums = [simd.splat_f32s(0.0); COUNT];
    let others = others.map(|other| (S::as_simd_f32s(&other[..beyond]).0, &other[beyond..row.len()]));
    for (number, row) in wide.iter().enumerate() {
        for (sum, other) in sums.iter_mut().zip(&others) {
            *sum = simd.mul_add_e_f32s(*row, other.0[number], *sum);
        }
    }
    let mut dots = [0.0; COUNT];
    for (index, dot) in dots.iter_mut().enumerate() {
        for (row, other) in rest.iter().zip(others[index].1) {
            *dot += row * other;
        }
        *dot += sum_of_lanes(pulp::bytemuck::cast_slice(&sums[index..=index]));
    }
    dots
}

/// By halves, which takes few steps one after the other; there are at most 16.
#[inline(always)]
fn sum_of_lanes(lanes: &[f32]) -> f32 {
    let mut sums = [0.0; 16];
    sums[..lanes.len()].copy_from_slice(lanes);
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use pulp::Simd;

    struct Three<'a>(&'a [f32], [&'a [f32]; 3]);

    impl pulp::WithSimd for Three<'_> {
        type Output = [f32; 3];

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, simd: S) -> [f32; 3] {
            dots(simd, self.0, self.1)
        }
    }

    proptest! {
        #[test]
        fn equal_plain_sums(values in prop::collection::vec(-1.0_f32..1.0, 0..300), unaligned in 0_usize..4) {
            let length = values.len().saturating_sub(unaligned) / 4;
            let part = |index: usize| &values[unaligned.min(values.len())..][index * length..][..length];
            let others = [part(1), part(2), part(3)];
            for found in [pulp::Arch::new().dispatch(Three(part(0), others)), pulp::Scalar::new().vectorize(Three(part(0), others))] {
                for (found, other) in found.iter().zip(others) {
                    let exact: f64 = part(0).iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    prop_assert!((f64::from(*found) - exact).abs() < 1e-4, "{found} {exact}");
                }
            }
        }
    }
}
