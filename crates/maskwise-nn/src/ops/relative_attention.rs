use super::{f32_slice, f32_tensor, f32_values};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Tensor};
use maskwise_kernels::attention::Results;
use maskwise_kernels::relative_attention::{self as kernel, Operands, Shape};
use std::sync::OnceLock;

/// SAM's attention with decomposed relative positions, for f32 on the CPU: `softmax(scale·q·kᵀ + q·rows + q·columns)·v`.
///
/// `qkv` `[batch, height, width, 3·heads·dim]`, `rows` `[height, height, dim]` for a query's and a key's row, `columns` `[width, width, dim]`;
/// result `[batch, height, width, heads·dim]`.
///
/// # Errors
/// When the sizes do not fit each other, or a tensor is of another type or device.
pub fn relative_attention(qkv: &Tensor, rows: &Tensor, columns: &Tensor, scale: f64) -> Result<Tensor> {
    let (batch, height, width, inner) = qkv.dims4()?;
    let dim = rows.dim(2)?;
    let fits = rows.dims() == [height, height, dim] && columns.dims() == [width, width, dim];
    if !fits || dim == 0 || !inner.is_multiple_of(3 * dim) {
        let dims = [qkv.dims(), rows.dims(), columns.dims()];
        candle_core::bail!("relative positions do not fit queries, keys and values: {dims:?}");
    }
    let shape = Shape { batch, height, width, heads: inner / 3 / dim, dim, scale: scale as f32 };
    let operation = RelativeAttention { shape, sums: OnceLock::new() };
    qkv.contiguous()?.apply_op3(&rows.contiguous()?, &columns.contiguous()?, operation)
}

struct RelativeAttention {
    shape: Shape,
    /// The logarithm of each row's sum of powers, from the forward pass.
    sums: OnceLock<Vec<f32>>,
}

impl CustomOp3 for RelativeAttention {
    fn name(&self) -> &'static str {
        "relative_attention"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        qkv_layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
        columns: &CpuStorage,
        columns_layout: &Layout,
    ) -> Result<(CpuStorage, candle_core::Shape)> {
        let operands = Operands {
            qkv: f32_slice(qkv, qkv_layout, self.name())?,
            rows: f32_slice(rows, rows_layout, self.name())?,
            columns: f32_slice(columns, columns_layout, self.name())?,
        };
        let Shape { batch, height, width, heads, dim, .. } = self.shape;
        let mut output = vec![0.0; batch * height * width * heads * dim];
        let mut sums = vec![0.0; batch * height * width * heads];
        kernel::forward(&self.shape, operands, &mut output, &mut sums);
        self.sums.get_or_init(|| sums);
        Ok((CpuStorage::F32(output), (batch, height, width, heads * dim).into()))
    }

    fn bwd(
        &self,
        qkv: &Tensor,
        rows: &Tensor,
        columns: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(sums) = self.sums.get() else {
            candle_core::bail!("the backward pass of an attention came before its forward pass");
        };
        let gradient = gradient.contiguous()?;
        let operands =
            Operands { qkv: &f32_values(qkv)?, rows: &f32_values(rows)?, columns: &f32_values(columns)? };
        let results = Results { output: &f32_values(result)?, sums, gradient: &f32_values(&gradient)? };
        let gradients = kernel::backward(&self.shape, operands, results);
        let tracked =
            |values: Vec<f32>, like: &Tensor| like.track_op().then(|| f32_tensor(values, like)).transpose();
        Ok((
            tracked(gradients.qkv, qkv)?,
            tracked(gradients.rows, rows)?,
            tracked(gradients.columns, columns)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};

    #[test]
    fn gradients_match_finite_differences() {
        let (qkv, rows, columns) = (varied(&[2, 2, 3, 24], 1), varied(&[2, 2, 4], 2), varied(&[3, 3, 4], 3));
        let attend =
            |qkv: &Tensor, rows: &Tensor, columns: &Tensor| relative_attention(qkv, rows, columns, 0.5);
        assert_gradient("relative attention of qkv", &[2, 2, 3, 24], |qkv| attend(qkv, &rows, &columns));
        assert_gradient("relative attention of rows", &[2, 2, 4], |rows| attend(&qkv, rows, &columns));
        assert_gradient("relative attention of columns", &[3, 3, 4], |columns| attend(&qkv, &rows, columns));
    }

    #[test]
    fn sizes_that_do_not_fit_are_an_error() {
        let (qkv, rows, columns) = (varied(&[1, 2, 3, 24], 1), varied(&[2, 2, 4], 2), varied(&[3, 3, 4], 3));
        assert!(relative_attention(&qkv, &rows, &columns, 1.0).is_ok());
        assert!(relative_attention(&qkv, &columns, &rows, 1.0).is_err());
        assert!(relative_attention(&varied(&[1, 2, 3, 20], 1), &rows, &columns, 1.0).is_err());
    }
}
