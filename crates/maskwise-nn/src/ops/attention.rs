use super::{matmul, softmax};
use candle_core::{DType, Device, Result, Tensor};

/// Scores held at once; above this the heads are taken in groups, so that SAM's global attention
/// (16 heads × 4096 × 4096) does not hold a gigabyte per temporary.
const SCORES_AT_ONCE: usize = 1 << 25;

/// Changes the raw scores `[batch, count, queries, keys]` of the heads from `start` on: scales, masks, adds positions.
pub type AdjustScores<'a> = &'a dyn Fn(Tensor, usize) -> Result<Tensor>;

/// `softmax(adjust(q·kᵀ))·v` for `query` `[batch, heads, queries, dim]`, `key` and `value` `[batch, heads, keys, dim]`.
///
/// The softmax is computed in f32 and rounded to the dtype. The result is `[batch, heads, queries, dim of value]`.
pub fn attention(query: &Tensor, key: &Tensor, value: &Tensor, adjust: AdjustScores) -> Result<Tensor> {
    let (batch, heads, queries, _) = query.dims4()?;
    let per_head = batch * queries * key.dim(2)?;
    let group = (SCORES_AT_ONCE / per_head.max(1)).clamp(1, heads.max(1));
    let of_group = |start: usize| {
        let part = |tensor: &Tensor| tensor.narrow(1, start, group.min(heads - start))?.contiguous();
        let scores = matmul(&part(query)?, &part(key)?.t()?)?;
        matmul(&softmax(&adjust(scores, start)?)?, &part(value)?)
    };
    let outputs = (0..heads).step_by(group).map(of_group).collect::<Result<Vec<_>>>()?;
    if outputs.len() == 1 { Ok(outputs[0].clone()) } else { Tensor::cat(&outputs, 1) }
}

/// The additive causal mask `[queries, keys]`: 0 where a query may look, the dtype's lowest finite value elsewhere.
/// The last query stands at the last key.
pub fn causal_mask(queries: usize, keys: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let lowest = match dtype {
        DType::BF16 => f32::from_bits(0xff7f_0000),
        DType::F16 => -65_504.0,
        _ => f32::MIN,
    };
    let offset = keys - queries;
    let allowed = |index: usize| index % keys <= index / keys + offset;
    let values: Vec<f32> =
        (0..queries * keys).map(|index| if allowed(index) { 0.0 } else { lowest }).collect();
    Tensor::from_vec(values, (queries, keys), device)?.to_dtype(dtype)
}

/// Repeats each of the key or value heads of `x` `[batch, heads, tokens, dim]` `times` times, for grouped-query attention.
pub fn repeat_key_value(x: &Tensor, times: usize) -> Result<Tensor> {
    if times == 1 {
        return Ok(x.clone());
    }
    let (batch, heads, tokens, dim) = x.dims4()?;
    x.unsqueeze(2)?.broadcast_as((batch, heads, times, tokens, dim))?.reshape((
        batch,
        heads * times,
        tokens,
        dim,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};

    fn attend(query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let mask = causal_mask(query.dim(2)?, key.dim(2)?, DType::F32, &Device::Cpu)?;
        attention(query, key, value, &|scores, _| scores.broadcast_add(&mask))
    }

    #[test]
    fn gradients_match_finite_differences() {
        let [q, k, v] = [1, 2, 3].map(|seed| varied(&[1, 2, 3, 4], seed));
        assert_gradient("attention of query", &[1, 2, 3, 4], |q| attend(q, &k, &v));
        assert_gradient("attention of key", &[1, 2, 3, 4], |k| attend(&q, k, &v));
        assert_gradient("attention of value", &[1, 2, 3, 4], |v| attend(&q, &k, v));
    }

    #[test]
    fn a_later_key_does_not_change_an_earlier_query() {
        let [q, k, v] = [1, 2, 3].map(|seed| varied(&[1, 2, 5, 4], seed));
        let cut = |tensor: &Tensor| tensor.narrow(2, 0, 3).unwrap();
        let whole = attend(&q, &k, &v).unwrap();
        let part = attend(&cut(&q), &cut(&k), &cut(&v)).unwrap();
        let difference =
            (cut(&whole) - part).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 1e-6);
    }

    #[test]
    fn heads_are_repeated_in_place() {
        let x = varied(&[1, 2, 3, 4], 1);
        let twice = repeat_key_value(&x, 2).unwrap();
        for head in 0..4 {
            let difference = (twice.narrow(1, head, 1).unwrap() - x.narrow(1, head / 2, 1).unwrap()).unwrap();
            assert_eq!(difference.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
        }
    }
}
