use super::{attention, f32_slice, f32_values, on_cpu_in_f32, repeat_key_value};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Tensor};
use maskwise_kernels::attention::{self as kernel, Inputs, KeyRanges, Results, Shape};
use std::sync::OnceLock;

/// `softmax(scale·q·kᵀ)·v` of heads that lie side by side in each token, every query looking at the keys of its ranges.
///
/// `query` `[batch, queries, heads·dim]`, `key` `[batch, keys, key_heads·dim]`, `value` `[batch, keys, key_heads·value_dim]`, result
/// `[batch, queries, heads·value_dim]`. The heads of the query share those of key and value in equal groups. `ranges` holds one entry for
/// each query, for all rows of the batch or row by row. A query that sees no key gives zeros on the CPU in f32 and must not occur
/// elsewhere.
///
/// # Errors
/// When the sizes do not fit each other, or a range ends beyond the keys.
pub fn ranged_attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    heads: usize,
    scale: f64,
    ranges: &[KeyRanges],
) -> Result<Tensor> {
    let shape = shape_of(query, key, value, heads, scale, ranges)?;
    if [query, key, value].into_iter().all(on_cpu_in_f32) {
        let attention = RangedAttention { shape, ranges: ranges.to_vec(), sums: OnceLock::new() };
        return query.contiguous()?.apply_op3(&key.contiguous()?, &value.contiguous()?, attention);
    }
    composed(query, key, value, &shape, ranges)
}

fn shape_of(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    heads: usize,
    scale: f64,
    ranges: &[KeyRanges],
) -> Result<Shape> {
    let ((batch, queries, width), (_, keys, key_width)) = (query.dims3()?, key.dims3()?);
    let value_width = value.dim(2)?;
    let wrong = |what: &str| {
        let dims = [query.dims(), key.dims(), value.dims()];
        Err(candle_core::Error::Msg(format!("attention with {heads} heads of {dims:?}: {what}")).bt())
    };
    if heads == 0 || !width.is_multiple_of(heads) || width == 0 {
        return wrong("the query does not split into its heads");
    }
    let dim = width / heads;
    let key_heads = key_width / dim;
    if key_heads == 0 || key_heads * dim != key_width || !heads.is_multiple_of(key_heads) {
        return wrong("the key does not split into heads as wide as the query's, which share them equally");
    }
    if value.dims()[..2] != [batch, keys] || key.dim(0)? != batch || !value_width.is_multiple_of(key_heads) {
        return wrong("the value does not fit the key");
    }
    if ranges.len() != queries && ranges.len() != batch * queries {
        return wrong(&format!("{} ranges of keys", ranges.len()));
    }
    if ranges.iter().any(|range| range.prefix.max(range.end) as usize > keys) {
        return wrong("a range ends beyond the keys");
    }
    let value_dim = value_width / key_heads;
    Ok(Shape { batch, queries, keys, heads, key_heads, dim, value_dim, scale: scale as f32 })
}

/// The same with candle's operations, for other types and devices.
fn composed(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    shape: &Shape,
    ranges: &[KeyRanges],
) -> Result<Tensor> {
    let split = |x: &Tensor, heads: usize| {
        let (batch, tokens, width) = x.dims3()?;
        x.reshape((batch, tokens, heads, width / heads))?.transpose(1, 2)?.contiguous()
    };
    let groups = shape.heads / shape.key_heads;
    let spread = |x: &Tensor| repeat_key_value(&split(x, shape.key_heads)?, groups);
    let rows = ranges.len() / shape.queries.max(1);
    let keys = shape.keys as u32;
    let mask: Vec<f32> = ranges
        .iter()
        .flat_map(|range| (0..keys).map(move |key| if range.sees(key) { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    let mask = Tensor::from_vec(mask, (rows, 1, shape.queries, shape.keys), query.device())?;
    let mask = mask.to_dtype(query.dtype())?;
    let mixed = attention(&split(query, shape.heads)?, &spread(key)?, &spread(value)?, &|scores, _| {
        super::multiply(&scores, f64::from(shape.scale))?.broadcast_add(&mask)
    })?;
    mixed.transpose(1, 2)?.contiguous()?.flatten_from(2)
}

struct RangedAttention {
    shape: Shape,
    ranges: Vec<KeyRanges>,
    /// The logarithm of each row's sum of powers, from the forward pass.
    sums: OnceLock<Vec<f32>>,
}

impl CustomOp3 for RangedAttention {
    fn name(&self) -> &'static str {
        "ranged_attention"
    }

    fn cpu_fwd(
        &self,
        query: &CpuStorage,
        query_layout: &Layout,
        key: &CpuStorage,
        key_layout: &Layout,
        value: &CpuStorage,
        value_layout: &Layout,
    ) -> Result<(CpuStorage, candle_core::Shape)> {
        let inputs = Inputs {
            query: f32_slice(query, query_layout, self.name())?,
            key: f32_slice(key, key_layout, self.name())?,
            value: f32_slice(value, value_layout, self.name())?,
            ranges: &self.ranges,
        };
        let Shape { batch, queries, heads, value_dim, .. } = self.shape;
        let mut output = vec![0.0; batch * queries * heads * value_dim];
        let mut sums = vec![0.0; batch * queries * heads];
        kernel::forward(&self.shape, inputs, &mut output, &mut sums);
        self.sums.get_or_init(|| sums);
        Ok((CpuStorage::F32(output), (batch, queries, heads * value_dim).into()))
    }

    fn bwd(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(sums) = self.sums.get() else {
            candle_core::bail!("the backward pass of an attention came before its forward pass");
        };
        let gradient = gradient.contiguous()?;
        let gradients = kernel::backward(
            &self.shape,
            Inputs {
                query: &f32_values(query)?,
                key: &f32_values(key)?,
                value: &f32_values(value)?,
                ranges: &self.ranges,
            },
            Results { output: &f32_values(result)?, sums, gradient: &f32_values(&gradient)? },
        );
        let tracked = |values: Vec<f32>, like: &Tensor| {
            like.track_op().then(|| super::f32_tensor(values, like)).transpose()
        };
        Ok((tracked(gradients.query, query)?, tracked(gradients.key, key)?, tracked(gradients.value, value)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};

    #[test]
    fn gradients_match_finite_differences() {
        let ranges = [
            KeyRanges { prefix: 2, start: 4, end: 5 },
            KeyRanges { prefix: 1, start: 0, end: 3 },
            KeyRanges { prefix: 0, start: 3, end: 5 },
        ];
        let [q, k, v] = [varied(&[2, 3, 16], 1), varied(&[2, 5, 8], 2), varied(&[2, 5, 6], 3)];
        let attend = |q: &Tensor, k: &Tensor, v: &Tensor| ranged_attention(q, k, v, 4, 0.6, &ranges);
        assert_gradient("ranged attention of query", &[2, 3, 16], |q| attend(q, &k, &v));
        assert_gradient("ranged attention of key", &[2, 5, 8], |k| attend(&q, k, &v));
        assert_gradient("ranged attention of value", &[2, 5, 6], |v| attend(&q, &k, v));
    }

    #[test]
    fn equals_the_composition() {
        for (queries, keys, heads, key_heads) in
            [(1, 1, 1, 1), (1, 65, 4, 2), (63, 63, 6, 3), (65, 130, 2, 2)]
        {
            let (q, k) = (varied(&[2, queries, heads * 24], 1), varied(&[2, keys, key_heads * 24], 2));
            let v = varied(&[2, keys, key_heads * 8], 3);
            let packed = |query: usize| {
                let start = query / 7 * 7 % keys;
                KeyRanges { prefix: keys.min(3) as u32, start: start as u32, end: (start + 1) as u32 }
            };
            let packed: Vec<KeyRanges> = (0..2 * queries).map(packed).collect();
            for ranges in [KeyRanges::full(queries, keys), KeyRanges::causal(queries, keys), packed] {
                let found = ranged_attention(&q, &k, &v, heads, 0.2, &ranges).unwrap();
                let shape = shape_of(&q, &k, &v, heads, 0.2, &ranges).unwrap();
                let expected = composed(&q, &k, &v, &shape, &ranges).unwrap();
                let difference = (found - expected).unwrap().abs().unwrap().max_all().unwrap();
                assert!(difference.to_scalar::<f32>().unwrap() < 2e-6, "{queries} {keys}");
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_an_error() {
        let x = varied(&[1, 3, 8], 1);
        let attend = |heads: usize, ranges: &[KeyRanges]| ranged_attention(&x, &x, &x, heads, 1.0, ranges);
        let full = KeyRanges::full(3, 3);
        assert!(attend(2, &full).is_ok());
        assert!(attend(3, &full).is_err());
        assert!(attend(2, &full[..2]).unwrap_err().to_string().contains("2 ranges"));
        assert!(attend(2, &KeyRanges::full(3, 4)).unwrap_err().to_string().contains("beyond the keys"));
        assert!(ranged_attention(&x, &x, &varied(&[1, 2, 8], 1), 2, 1.0, &full).is_err());
    }
}
