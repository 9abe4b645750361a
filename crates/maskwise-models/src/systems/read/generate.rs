use super::ReadModel;
use super::model::placeholder_position;
use crate::error::{ModelError, Result};
use crate::llama::KeyValueCache;
use candle_core::{DType, Tensor};
use std::ops::ControlFlow;

/// What greedy decoding wrote, with every state that masks need.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Prompt and answer; the answer ends with the end-of-sequence id where the model wrote it.
    pub ids: Vec<i64>,
    /// How many of `ids` are the prompt.
    pub prompt_ids: usize,
    /// The normalised hidden states `[ids − 2 + image tokens, width]`: the last id is never fed.
    pub hidden: Tensor,
    /// The probability of each id of the answer when it was chosen.
    pub probabilities: Vec<f32>,
    /// Why decoding ended.
    pub stop: StopReason,
}

impl Generation {
    /// The ids that the model wrote.
    pub fn answer(&self) -> &[i64] {
        &self.ids[self.prompt_ids..]
    }
}

/// Why decoding ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The model wrote the end of the sequence.
    EndOfSequence,
    /// The limit of new tokens was reached.
    MaxNewTokens,
    /// The model's context was full.
    ContextFull,
    /// The caller asked for it.
    Cancelled,
}

/// One decoding step as the caller may watch it.
#[derive(Debug)]
pub struct TokenStep<'a> {
    /// The id that was chosen.
    pub id: i64,
    /// Its probability.
    pub probability: f32,
    /// The logits `[vocab]` in f32 that it was chosen from.
    pub logits: &'a [f32],
}

impl ReadModel {
    /// Greedy decoding with a cache of keys and values (spec 4.3): stops at the end of the sequence, after `max_new_tokens`, when the
    /// context is full, or when `on_token` breaks.
    ///
    /// # Errors
    /// As [`ReadModel::splice`]; [`ModelError::Prompt`] when the prompt alone is longer than the context or `max_new_tokens` is 0.
    pub fn generate(
        &self,
        prompt: &[i64],
        image_tokens: &Tensor,
        max_new_tokens: usize,
        on_token: &mut dyn FnMut(TokenStep) -> ControlFlow<()>,
    ) -> Result<Generation> {
        if max_new_tokens == 0 {
            return Err(ModelError::Prompt("at least one new token must be allowed".to_owned()));
        }
        placeholder_position(prompt)?;
        let context = self.language_model.config().max_position_embeddings;
        let embeddings = self.splice(prompt, image_tokens)?;
        let mut cache = KeyValueCache::new(self.language_model.config().num_hidden_layers);
        let mut states = vec![self.language_model.forward(&embeddings, Some(&mut cache), None)?];
        let (mut ids, mut probabilities) = (prompt.to_vec(), Vec::new());
        let stop = loop {
            let last = states[states.len() - 1].narrow(1, states[states.len() - 1].dim(1)? - 1, 1)?;
            let logits =
                self.language_model.logits(&last)?.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            let (id, probability) = most_likely(&logits)?;
            ids.push(id);
            probabilities.push(probability);
            if on_token(TokenStep { id, probability, logits: &logits }).is_break() {
                break StopReason::Cancelled;
            }
            if id == i64::from(self.special.eos) {
                break StopReason::EndOfSequence;
            }
            if probabilities.len() == max_new_tokens {
                break StopReason::MaxNewTokens;
            }
            if cache.positions() == context {
                break StopReason::ContextFull;
            }
            let Some(embedding) = self.embed(&[id])? else { break StopReason::ContextFull };
            states.push(self.language_model.forward(&embedding, Some(&mut cache), None)?);
        };
        let hidden = Tensor::cat(&states, 1)?.squeeze(0)?;
        Ok(Generation { ids, prompt_ids: prompt.len(), hidden, probabilities, stop })
    }
}

/// The first id of the largest logit, and its probability.
fn most_likely(logits: &[f32]) -> Result<(i64, f32)> {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if logit.is_nan() {
            return Err(ModelError::Prompt(
                "the language model computed NaN; the weights are damaged, or the dtype is too narrow for them".to_owned(),
            ));
        }
        if *logit > logits[best] {
            best = id;
        }
    }
    let total: f32 = logits.iter().map(|logit| (logit - logits[best]).exp()).sum();
    Ok((best as i64, 1.0 / total))
}
