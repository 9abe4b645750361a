use candle_core::{Result, Tensor};

/// Positions that a cache makes room for at once, at least.
const LEAST_ROOM: usize = 64;

/// Keys and values of the positions that a [`super::LlamaModel`] has seen, layer by layer. Room is made ahead, so that a token is added without
/// moving those before it.
#[derive(Debug)]
pub struct KeyValueCache {
    layers: Vec<Option<Layer>>,
    positions: usize,
}

/// `[batch, room, heads·head_dim]` each, filled from the front.
#[derive(Debug)]
struct Layer {
    keys: Tensor,
    values: Tensor,
}

impl KeyValueCache {
    /// An empty cache for `layers` layers.
    pub fn new(layers: usize) -> Self {
        Self { layers: (0..layers).map(|_| None).collect(), positions: 0 }
    }

    /// How many positions are stored.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Forgets all but the first `positions`, if there are more.
    pub fn truncate(&mut self, positions: usize) {
        self.positions = self.positions.min(positions);
    }

    /// Holds the positions of `order` in that order, each as often as it is named, and no others. What is named once more makes room that
    /// [`super::LlamaModel::forward_packed_into`] writes over.
    ///
    /// # Errors
    /// When a position is not stored.
    pub fn arrange(&mut self, order: &[u32]) -> Result<()> {
        self.check_stored(order)?;
        for layer in self.layers.iter_mut().flatten() {
            let order = Tensor::new(order, layer.keys.device())?;
            layer.keys = layer.keys.index_select(&order, 1)?;
            layer.values = layer.values.index_select(&order, 1)?;
        }
        self.positions = order.len();
        Ok(())
    }

    fn check_stored(&self, positions: &[u32]) -> Result<()> {
        match positions.iter().find(|position| **position as usize >= self.positions) {
            Some(beyond) => candle_core::bail!("position {beyond} is beyond the {} stored", self.positions),
            None => Ok(()),
        }
    }

    pub(super) fn advance(&mut self, positions: usize) {
        self.positions += positions;
    }

    /// Adds `key` and `value` `[batch, tokens, heads·head_dim]` behind the stored positions and returns all that the layer has. What earlier
    /// calls returned for positions that were forgotten since then changes.
    pub(super) fn append(&mut self, layer: usize, key: &Tensor, value: &Tensor) -> Result<(Tensor, Tensor)> {
        let (filled, end) = (self.positions, self.positions + key.dim(1)?);
        let stored = match self.layers[layer].take() {
            Some(layer) if layer.keys.dim(1)? >= end => layer,
            old => {
                let grow = |old: Option<&Tensor>, new: &Tensor| {
                    let (batch, _, width) = new.dims3()?;
                    let room = end + (end / 4).max(LEAST_ROOM);
                    let grown = Tensor::zeros((batch, room, width), new.dtype(), new.device())?;
                    if let (Some(old), true) = (old, filled > 0) {
                        grown.slice_set(&old.narrow(1, 0, filled)?.contiguous()?, 1, 0)?;
                    }
                    Ok::<_, candle_core::Error>(grown)
                };
                Layer {
                    keys: grow(old.as_ref().map(|old| &old.keys), key)?,
                    values: grow(old.as_ref().map(|old| &old.values), value)?,
                }
            }
        };
        stored.keys.slice_set(&key.contiguous()?, 1, filled)?;
        stored.values.slice_set(&value.contiguous()?, 1, filled)?;
        let all = (stored.keys.narrow(1, 0, end)?, stored.values.narrow(1, 0, end)?);
        self.layers[layer] = Some(stored);
        Ok(all)
    }

    /// Writes `key` and `value` `[batch, tokens, heads·head_dim]` over the stored positions `places`, one for each token, and returns all that
    /// the layer has.
    pub(super) fn write_over(
        &self,
        layer: usize,
        key: &Tensor,
        value: &Tensor,
        places: &[u32],
    ) -> Result<(Tensor, Tensor)> {
        self.check_stored(places)?;
        let Some(Layer { keys, values }) = &self.layers[layer] else {
            candle_core::bail!("nothing is stored of layer {layer}");
        };
        if key.dim(1)? != places.len() {
            candle_core::bail!("{} places for {} tokens", places.len(), key.dim(1)?);
        }
        let mut first = 0;
        for run in places.chunk_by(|one, next| one + 1 == *next) {
            for (stored, new) in [(keys, key), (values, value)] {
                stored.slice_set(&new.narrow(1, first, run.len())?.contiguous()?, 1, run[0] as usize)?;
            }
            first += run.len();
        }
        Ok((keys.narrow(1, 0, self.positions)?, values.narrow(1, 0, self.positions)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn tokens(batch: usize, first: usize, count: usize) -> Tensor {
        let end = (first + count) as f32;
        let row = Tensor::arange(first as f32, end, &Device::Cpu).unwrap().reshape((1, count, 1)).unwrap();
        row.broadcast_as((batch, count, 3)).unwrap().contiguous().unwrap()
    }

    #[test]
    fn positions_come_back_in_order_however_they_are_added() {
        for batch in [1, 2] {
            let mut cache = KeyValueCache::new(2);
            let mut first = 0;
            for count in [5, 1, 1, 70, 1, 200, 1] {
                for layer in 0..2 {
                    let new = tokens(batch, first, count);
                    let (keys, values) = cache.append(layer, &new, &(&new * 2.0).unwrap()).unwrap();
                    let expected = tokens(batch, 0, first + count);
                    let difference = |a: Tensor, b: &Tensor| {
                        let difference = (a - b).unwrap().abs().unwrap().sum_all().unwrap();
                        difference.to_dtype(DType::F32).unwrap().to_scalar::<f32>().unwrap()
                    };
                    assert_eq!(difference(keys, &expected), 0.0);
                    assert_eq!(difference(values, &(&expected * 2.0).unwrap()), 0.0);
                }
                cache.advance(count);
                first += count;
            }
            assert_eq!(cache.positions(), first);
        }
    }

    fn first_values(keys: &Tensor) -> Vec<Vec<f32>> {
        keys.narrow(2, 0, 1).unwrap().squeeze(2).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn positions_are_arranged_and_written_over() {
        for batch in [1, 2] {
            let mut cache = KeyValueCache::new(1);
            cache.append(0, &tokens(batch, 0, 6), &tokens(batch, 0, 6)).unwrap();
            cache.advance(6);
            cache.arrange(&[0, 1, 4, 5, 0, 2, 0]).unwrap();
            assert_eq!(cache.positions(), 7);
            let new = tokens(batch, 90, 3);
            let (keys, values) = cache.write_over(0, &new, &(&new * 2.0).unwrap(), &[3, 4, 6]).unwrap();
            assert_eq!(first_values(&keys), vec![vec![0.0, 1.0, 4.0, 90.0, 91.0, 2.0, 92.0]; batch]);
            assert_eq!(first_values(&values), vec![vec![0.0, 1.0, 4.0, 180.0, 182.0, 2.0, 184.0]; batch]);
            assert!(cache.write_over(0, &new, &new, &[3, 4, 7]).is_err(), "a place that is not stored");
            assert!(cache.write_over(0, &new, &new, &[3, 4]).is_err(), "a token without a place");
            assert!(cache.arrange(&[7]).is_err());
            cache.arrange(&[0, 1]).unwrap();
            let (keys, _) = cache.append(0, &tokens(batch, 50, 1), &tokens(batch, 50, 1)).unwrap();
            assert_eq!(first_values(&keys), vec![vec![0.0, 1.0, 50.0]; batch]);
        }
    }

    #[test]
    fn what_is_forgotten_is_written_over() {
        let mut cache = KeyValueCache::new(1);
        cache.append(0, &tokens(1, 0, 10), &tokens(1, 0, 10)).unwrap();
        cache.advance(10);
        cache.truncate(4);
        cache.truncate(6);
        assert_eq!(cache.positions(), 4);
        let (keys, _) = cache.append(0, &tokens(1, 90, 2), &tokens(1, 90, 2)).unwrap();
        assert_eq!(first_values(&keys), [[0.0, 1.0, 2.0, 3.0, 90.0, 91.0]]);
    }
}
