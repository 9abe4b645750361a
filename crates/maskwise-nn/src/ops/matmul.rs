use super::rounds_like_reference;
use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor};

/// Multiplications, over the whole batch, up to which the reference leaves a bf16 product to its plain loops.
const PLAIN: usize = 16 * 16 * 16;
/// Multiplications of one product of a batch below which those loops round whatever the order in memory.
const TINY: usize = 400;

/// `left · right` of two activations, `[.., m, k]` and `[.., k, n]` with the same leading dimensions.
///
/// In bf16 on the CPU rounded as the reference does. Small products round every product of two numbers and every partial sum,
/// unless `right` is transposed in memory and the product not tiny; the others are summed in f32 and rounded once. Linear layers are
/// rounded once in any size and do not come here.
///
/// # Errors
/// When shapes do not fit.
pub fn matmul(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    if !rounds_like_reference(left) {
        return left.matmul(right);
    }
    let (m, k, n) = (left.dim(D::Minus2)?, left.dim(D::Minus1)?, right.dim(D::Minus1)?);
    let (each, all) = (m * k * n, left.elem_count() * n);
    if k == 0 || all > PLAIN || (is_transposed(right) && each >= TINY) {
        return sum_of_products(left, right)?.to_dtype(left.dtype());
    }
    let term =
        |index: usize| left.narrow(D::Minus1, index, 1)?.broadcast_mul(&right.narrow(D::Minus2, index, 1)?);
    (1..k).try_fold(term(0)?, |sum, index| sum + term(index)?)
}

/// `left · right` of bf16 matrices on the CPU, in f32 and not yet rounded, summed in the order of the reference.
///
/// The bf16 instruction that oneDNN uses takes two numbers at a time and adds the second product before the first; its kernel
/// keeps one sum for each result over 512 numbers, or 1024 where there are more than that. The order decides the last bit of one
/// result in some hundreds, which is enough for the later layers to differ in most values. An f32 product sums in sequence, so swapping
/// the numbers of each pair on both sides gives this order at no cost.
pub(crate) fn sum_of_products(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let rows = left.dim(D::Minus2)?;
    let (k, columns) = (left.dim(D::Minus1)?, right.dim(D::Minus1)?);
    // The f32 product keeps one running sum, except in its paths for a single row and for up to 64 rows and columns.
    let enough = if k > 512 && rows <= 64 && columns <= 64 { 65 } else { 2 };
    let left = left.pad_with_zeros(D::Minus2, 0, enough.max(rows) - rows)?;
    let left = left.contiguous()?.apply_op1(WidenSwapped)?;
    let right = if is_transposed(right) {
        let right = right.t()?.contiguous()?.apply_op1(WidenSwapped)?.t()?;
        // Nor may a small product with both sides along k be left to the kernel that splits the sum over lanes.
        if enough.max(rows) * columns <= 256 { right.contiguous()? } else { right }
    } else {
        swap_pairs(right, right.rank() - 2)?.to_dtype(DType::F32)?
    };
    let block = if k > 1024 { 1024 } else { 512 };
    let part = |start: usize| {
        let size = block.min(k - start);
        if size == k {
            return left.matmul(&right);
        }
        left.narrow(D::Minus1, start, size)?.matmul(&right.narrow(D::Minus2, start, size)?)
    };
    let sum = (block..k).step_by(block).try_fold(part(0)?, |sum, start| sum + part(start)?)?;
    if rows < enough { sum.narrow(D::Minus2, 0, rows) } else { Ok(sum) }
}

fn is_transposed(matrix: &Tensor) -> bool {
    matrix.stride()[matrix.rank() - 1] != 1
}

/// Entries 1, 0, 3, 2, … of a dimension; the last of an odd number stays.
pub(super) fn swap_pairs(x: &Tensor, dim: usize) -> Result<Tensor> {
    let size = x.dim(dim)?;
    let other = |index: usize| if index ^ 1 < size { index ^ 1 } else { index };
    let order: Vec<u32> = (0..size).map(|index| other(index) as u32).collect();
    x.contiguous()?.index_select(&Tensor::from_vec(order, size, x.device())?, dim)
}

/// bf16 to f32, with the two numbers of each pair along the last dimension swapped.
struct WidenSwapped;

impl CustomOp1 for WidenSwapped {
    fn name(&self) -> &'static str {
        "widen_swapped"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(candle_core::Error::RequiresContiguous { op: self.name() }.bt());
        };
        let input = &storage.as_slice::<half::bf16>()?[start..end];
        let wide = |value: half::bf16| f32::from_bits(u32::from(value.to_bits()) << 16);
        let mut output = Vec::with_capacity(input.len());
        for row in input.chunks_exact(layout.shape().dim(D::Minus1)?.max(1)) {
            let pairs = row.chunks_exact(2);
            let single = pairs.remainder();
            output.extend(pairs.flat_map(|pair| [wide(pair[1]), wide(pair[0])]));
            output.extend(single.iter().map(|&value| wide(value)));
        }
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(swap_pairs(gradient, gradient.rank() - 1)?.to_dtype(x.dtype())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};

    #[test]
    fn sums_run_in_the_order_of_the_reference() {
        for (rows, k, columns) in [(1, 96, 7), (2, 33, 5), (37, 577, 16), (5, 1300, 64), (300, 64, 90)] {
            let half = |shape: [usize; 2], seed| varied(&shape, seed).to_dtype(DType::BF16).unwrap();
            let (left, weight) = (half([rows, k], 1), half([columns, k], 2));
            let right = weight.t().unwrap();
            let values = |x: &Tensor| x.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
            let (x, w) = (values(&left), values(&weight));
            let block = if k > 1024 { 1024 } else { 512 };
            let expected = |row: &[f32], column: &[f32]| {
                let blocks = row.chunks(block).zip(column.chunks(block)).map(|(row, column)| {
                    let pairs = row.chunks(2).zip(column.chunks(2));
                    pairs.fold(0.0_f32, |sum, (a, b)| {
                        a.iter().zip(b).rev().fold(sum, |sum, (a, b)| a.mul_add(*b, sum))
                    })
                });
                blocks.reduce(|total, sum| total + sum).unwrap()
            };
            let found = [&right, &right.contiguous().unwrap()].map(|right| sum_of_products(&left, right));
            for found in found.map(|found| values(&found.unwrap())) {
                for (row, x) in found.iter().zip(&x) {
                    for (found, w) in row.iter().zip(&w) {
                        assert_eq!(*found, expected(x, w), "{rows}x{k}x{columns}");
                    }
                }
            }
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        let right = varied(&[2, 3, 2], 2);
        assert_gradient("matmul", &[2, 4, 3], |left| matmul(left, &right));
    }

    #[test]
    fn the_ordered_sum_has_gradients() {
        let half = |shape: &[usize], seed| {
            candle_core::Var::from_tensor(&varied(shape, seed).to_dtype(DType::BF16).unwrap()).unwrap()
        };
        let (left, right) = (half(&[20, 33], 1), half(&[33, 40], 2));
        let gradients = |product: Tensor| {
            let gradients = product.to_dtype(DType::F32).unwrap().sqr().unwrap().sum_all().unwrap();
            let gradients = gradients.backward().unwrap();
            [&left, &right].map(|of| gradients.get(of).unwrap().to_dtype(DType::F32).unwrap())
        };
        let ours = gradients(matmul(&left, &right).unwrap());
        let plain = gradients(left.as_tensor().matmul(&right).unwrap());
        for (ours, plain) in ours.iter().zip(&plain) {
            let difference = (ours - plain).unwrap().abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f32>().unwrap() < 0.5, "{difference}");
        }
    }
}
