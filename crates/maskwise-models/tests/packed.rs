//! Several continuations of one prefix, packed into one row, give the states of each alone; so does decoding with a cache, and padding
//! changes nothing. Needs no recorded data.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

mod common;

use candle_core::{Device, Tensor};
use common::tiny;
use maskwise_models::llama::{KeyValueCache, LlamaModel};
use maskwise_nn::ops::KeyRanges;

fn model() -> LlamaModel {
    tiny::build(&tiny::tensors()).language_model
}

fn embeddings(tokens: usize, width: usize, seed: u32) -> Tensor {
    let values: Vec<f32> = (0..tokens * width).map(|index| tiny::varied(index, seed)).collect();
    Tensor::from_vec(values, (1, tokens, width), &Device::Cpu).unwrap()
}

fn assert_equal(left: &Tensor, right: &Tensor) {
    assert_eq!(left.dims(), right.dims());
    let difference = (left - right).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() < 1e-5, "{difference}");
}

#[test]
fn packed_continuations_equal_each_alone() {
    let model = model();
    let width = model.config().hidden_size;
    let prefix = embeddings(9, width, 1);
    let tails = [(1, 2), (5, 3), (3, 4)].map(|(tokens, seed)| embeddings(tokens, width, seed));
    let (mut positions, mut ranges): (Vec<u32>, _) = ((0..9).collect(), KeyRanges::causal(9, 9));
    for tail in &tails {
        let (start, tokens) = (positions.len() as u32, tail.dim(1).unwrap() as u32);
        positions.extend(9..9 + tokens);
        ranges.extend((start..start + tokens).map(|token| KeyRanges { prefix: 9, start, end: token + 1 }));
    }
    let row = Tensor::cat(&[&prefix, &tails[0], &tails[1], &tails[2]], 1).unwrap();
    let packed = model.forward_packed(&row, &positions, &ranges).unwrap();
    let mut start = 9;
    for tail in &tails {
        let alone = model.forward(&Tensor::cat(&[&prefix, tail], 1).unwrap(), None, None).unwrap();
        assert_equal(&packed.narrow(1, 0, 9).unwrap(), &alone.narrow(1, 0, 9).unwrap());
        let tokens = tail.dim(1).unwrap();
        assert_equal(&packed.narrow(1, start, tokens).unwrap(), &alone.narrow(1, 9, tokens).unwrap());
        start += tokens;
    }
}

#[test]
fn a_cache_and_padding_change_nothing() {
    let model = model();
    let width = model.config().hidden_size;
    let all = embeddings(8, width, 1);
    let whole = model.forward(&all, None, None).unwrap();
    let mut cache = KeyValueCache::new(model.config().num_hidden_layers);
    for (start, tokens) in [(0, 5), (5, 1), (6, 2)] {
        let part = model.forward(&all.narrow(1, start, tokens).unwrap(), Some(&mut cache), None).unwrap();
        assert_equal(&part, &whole.narrow(1, start, tokens).unwrap());
    }
    // On the right by ranges of keys, on the left by a mask; positions count from 0 in both.
    let mask = |kept: [u8; 8]| Tensor::new(&kept, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let right = model.forward(&all, None, Some(&mask([1, 1, 1, 1, 1, 1, 0, 0]))).unwrap();
    assert_equal(&right.narrow(1, 0, 6).unwrap(), &whole.narrow(1, 0, 6).unwrap());
    let unmasked = model.forward(&all, None, Some(&mask([1; 8]))).unwrap();
    assert_equal(&unmasked, &whole);
    let left = model.forward(&all, None, Some(&mask([0, 0, 1, 1, 1, 1, 1, 1]))).unwrap();
    let ranges: Vec<KeyRanges> =
        (0..8).map(|token| KeyRanges { prefix: 0, start: 2.min(token), end: token + 1 }).collect();
    let positions: Vec<u32> = (0..8).collect();
    let packed = model.forward_packed(&all, &positions, &ranges).unwrap();
    assert_equal(&left.narrow(1, 2, 6).unwrap(), &packed.narrow(1, 2, 6).unwrap());
}

#[test]
fn wrong_positions_and_ranges_are_errors() {
    let model = model();
    let all = embeddings(6, model.config().hidden_size, 1);
    let positions: Vec<u32> = (0..6).collect();
    let wrong = KeyRanges::full(6, 7);
    assert!(model.forward_packed(&all, &positions, &wrong).is_err());
    assert!(model.forward_packed(&all, &[0, 1, 2, 3, 4, 64], &KeyRanges::causal(6, 6)).is_err());
    let packed = model.forward_packed(&all, &positions, &KeyRanges::causal(6, 6)).unwrap();
    assert_equal(&packed, &model.forward(&all, None, None).unwrap());
}
