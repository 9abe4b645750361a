//! Questions that are answered together get the answers that each gets alone. Needs no recorded data.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

mod common;

use candle_core::Tensor;
use common::tiny::{self, CLIP_SIZE};
use maskwise_data::text::IMAGE_PLACEHOLDER;
use maskwise_models::systems::read::{Generation, PromptBeginning, ReadModel, StopReason, TokenStep};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// More than the context holds.
const NO_LIMIT: usize = 1000;

struct Asked {
    model: ReadModel,
    image_tokens: Tensor,
}

impl Asked {
    fn new() -> Self {
        let model = tiny::build(&tiny::tensors());
        let image_tokens = model.encode_for_language(&tiny::varied_pixels(CLIP_SIZE, 501)).unwrap();
        Self { model, image_tokens }
    }

    /// An id ends an answer that many of these answers hold, so that they end at different places.
    fn with_frequent_end(mut self, prompts: &[Vec<i64>]) -> Self {
        let mut counts = [0; 20];
        for prompt in prompts {
            let answer = self.alone(prompt, NO_LIMIT);
            answer.answer()[2..]
                .iter()
                .collect::<BTreeSet<_>>()
                .iter()
                .for_each(|id| counts[**id as usize] += 1);
        }
        let half = prompts.len() / 2;
        let id = (0..20).min_by_key(|id| half.abs_diff(counts[*id])).unwrap();
        self.model.special.eos = id as u32;
        self
    }

    fn beginning(&self, prompts: &[Vec<i64>]) -> PromptBeginning {
        self.model.read_beginning(&prompts[0], &self.image_tokens).unwrap()
    }

    fn alone(&self, prompt: &[i64], most: usize) -> Generation {
        self.model.generate(prompt, &self.image_tokens, most, &mut |_| ControlFlow::Continue(())).unwrap()
    }

    fn together(&self, prompts: &[Vec<i64>], most: usize) -> Vec<Generation> {
        let go_on = &mut |_: usize, _: TokenStep<'_>| ControlFlow::Continue(());
        self.model.generate_together_after(&mut self.beginning(prompts), prompts, most, go_on).unwrap()
    }
}

/// A prompt that goes on with `tokens` ids behind the image.
fn prompt(tokens: usize, seed: u32) -> Vec<i64> {
    let id = |index: usize| 3 + (8.0 * (tiny::varied(index, seed) + 1.0)) as i64 % 14;
    [1, 5, IMAGE_PLACEHOLDER].into_iter().chain((0..tokens).map(id)).collect()
}

fn prompts(count: usize) -> Vec<Vec<i64>> {
    (0..count).map(|index| prompt(1 + index * 5 % 11, index as u32)).collect()
}

#[track_caller]
fn assert_equal(together: &Generation, alone: &Generation) {
    assert_eq!((&together.ids, together.prompt_ids), (&alone.ids, alone.prompt_ids));
    assert_eq!(together.stop, alone.stop);
    assert_eq!(together.hidden.dims(), alone.hidden.dims());
    let difference = (&together.hidden - &alone.hidden).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() < 1e-4, "{difference}");
    assert_eq!(together.probabilities.len(), alone.probabilities.len());
    for (one, other) in together.probabilities.iter().zip(&alone.probabilities) {
        assert!((one - other).abs() < 1e-4, "{one} {other}");
    }
}

#[test]
fn together_is_alone() {
    let prompts = prompts(20);
    let asked = Asked::new().with_frequent_end(&prompts);
    assert!(asked.model.writes_together());
    for most in [1, 2, 7, NO_LIMIT] {
        let together = asked.together(&prompts, most);
        assert_eq!(together.len(), prompts.len());
        for (together, prompt) in together.iter().zip(&prompts) {
            assert_equal(together, &asked.alone(prompt, most));
        }
        let stops = |stop| together.iter().filter(|generation| generation.stop == stop).count();
        let lengths: BTreeSet<_> = together.iter().map(|generation| generation.answer().len()).collect();
        match most {
            NO_LIMIT => {
                assert!(stops(StopReason::EndOfSequence) >= 5, "{lengths:?}");
                assert!(stops(StopReason::ContextFull) >= 5, "{lengths:?}");
                // Some go on for longer than room was made for at first.
                assert!(lengths.len() >= 5 && lengths.last() > Some(&33), "{lengths:?}");
            }
            _ => assert!(stops(StopReason::MaxNewTokens) > 0, "{lengths:?}"),
        }
    }
}

#[test]
fn breaking_ends_one_answer_alone() {
    let prompts = prompts(3);
    let asked = Asked::new();
    let mut heard = vec![Vec::new(); 3];
    let together = asked.model.generate_together_after(
        &mut asked.beginning(&prompts),
        &prompts,
        9,
        &mut |index, step| {
            heard[index].push(step.id);
            assert_eq!(step.logits.len(), asked.model.language_model.config().vocab_size);
            if index == 1 && heard[1].len() == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    let together = together.unwrap();
    assert_equal(&together[0], &asked.alone(&prompts[0], 9));
    assert_equal(&together[2], &asked.alone(&prompts[2], 9));
    assert_eq!(together[1].stop, StopReason::Cancelled);
    assert_eq!(together[1].answer(), asked.alone(&prompts[1], 4).answer());
    for (heard, generation) in heard.iter().zip(&together) {
        assert_eq!(heard, generation.answer(), "every token is told once");
    }
}

#[test]
fn none_one_and_the_same_again() {
    let asked = Asked::new();
    let two = prompts(2);
    let mut beginning = asked.beginning(&two);
    let go_on = &mut |_: usize, _: TokenStep<'_>| ControlFlow::Continue(());
    assert!(asked.model.generate_together_after(&mut beginning, &[], 5, go_on).unwrap().is_empty());
    let twice = [two[0].clone(), two[1].clone(), two[0].clone()];
    let together = asked.model.generate_together_after(&mut beginning, &twice, 5, go_on).unwrap();
    let one = asked.model.generate_together_after(&mut beginning, &two[..1], 5, go_on).unwrap();
    assert_equal(&one[0], &asked.alone(&two[0], 5));
    assert_equal(&together[0], &one[0]);
    assert_equal(&together[2], &one[0]);
    // What was read of the beginning is still there for others.
    let after = asked.model.generate_after(&mut beginning, &two[1], 5, &mut |_| ControlFlow::Continue(()));
    assert_equal(&after.unwrap(), &together[1]);
    let mut longer = two[1].clone();
    longer.extend([4, 7]);
    let states = asked.model.hidden_states_after(&mut beginning, &longer).unwrap();
    let expected = asked.model.hidden_states(&longer, &asked.image_tokens).unwrap();
    let difference = (states - expected).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() < 1e-4);
}

#[test]
fn a_prompt_that_does_not_fit_is_an_error() {
    let asked = Asked::new();
    let mut beginning = asked.beginning(&prompts(1));
    let mut fails = |prompts: &[Vec<i64>], most: usize| {
        let go_on = &mut |_: usize, _: TokenStep<'_>| ControlFlow::Continue(());
        let result = asked.model.generate_together_after(&mut beginning, prompts, most, go_on);
        result.unwrap_err().to_string()
    };
    let good = prompt(4, 1);
    let other = vec![1, 6, IMAGE_PLACEHOLDER, 3];
    assert!(fails(&[good.clone(), other], 5).contains("does not go on"));
    assert!(fails(&[good.clone(), good[..3].to_vec()], 5).contains("does not go on"));
    assert!(fails(&[good.clone(), prompt(64, 1)], 5).contains("positions are more than"));
    assert!(fails(&[good.clone(), vec![1, 5, IMAGE_PLACEHOLDER, 99]], 5).contains("vocabulary"));
    assert!(fails(std::slice::from_ref(&good), 0).contains("at least one"));
    // As many positions as there are, and after an error.
    let full = prompt(64 - 2 - asked.model.image_tokens(), 1);
    let pair = [full.clone(), good];
    let go_on = &mut |_: usize, _: TokenStep<'_>| ControlFlow::Continue(());
    let together = asked.model.generate_together_after(&mut beginning, &pair, 5, go_on).unwrap();
    assert_eq!((together[0].stop, together[0].answer().len()), (StopReason::ContextFull, 1));
    for (together, prompt) in together.iter().zip(&pair) {
        assert_equal(together, &asked.alone(prompt, 5));
    }
}

#[test]
fn any_lengths() {
    let asked = Asked::new();
    for seed in 0..24 {
        let number =
            |index: usize, below: f32| 1 + (below * (tiny::varied(index, seed) + 1.0) / 2.0) as usize;
        let prompts: Vec<_> =
            (1..=number(0, 8.0)).map(|index| prompt(number(index, 40.0), seed ^ index as u32)).collect();
        let most = number(9, 50.0);
        for (together, prompt) in asked.together(&prompts, most).iter().zip(&prompts) {
            assert_equal(together, &asked.alone(prompt, most));
        }
    }
}
