use super::rounds_like_reference;
use candle_core::{D, Result, Tensor};

/// Multiplications, over the whole batch, up to which the reference leaves a bf16 product to its plain loops (above, oneDNN
/// accumulates in f32 and rounds once).
const PLAIN: usize = 16 * 16 * 16;
/// Multiplications of one product of a batch below which those loops round whatever the order in memory.
const TINY: usize = 400;

/// `left · right` of two activations, `[.., m, k]` and `[.., k, n]` with the same leading dimensions.
///
/// In bf16 on the CPU small products round as the reference's do: every product of two numbers and every partial sum, unless `right` is
/// transposed in memory and the product not tiny. Linear layers are rounded once in any size and do not come here.
///
/// # Errors
/// When shapes do not fit.
pub fn matmul(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    if !rounds_like_reference(left) {
        return left.matmul(right);
    }
    let (m, k, n) = (left.dim(D::Minus2)?, left.dim(D::Minus1)?, right.dim(D::Minus1)?);
    let each = m * k * n;
    let all = left.elem_count() * n;
    let transposed = right.stride()[right.rank() - 1] != 1;
    if k == 0 || all > PLAIN || (transposed && each >= TINY) {
        return left.matmul(right);
    }
    let term =
        |index: usize| left.narrow(D::Minus1, index, 1)?.broadcast_mul(&right.narrow(D::Minus2, index, 1)?);
    (1..k).try_fold(term(0)?, |sum, index| sum + term(index)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};

    #[test]
    fn gradient_matches_finite_differences() {
        let right = varied(&[2, 3, 2], 2);
        assert_gradient("matmul", &[2, 4, 3], |left| matmul(left, &right));
    }
}
