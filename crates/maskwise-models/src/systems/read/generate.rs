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
        let embeddings = self.splice(prompt, image_tokens)?;
        let mut cache = KeyValueCache::new(self.language_model.config().num_hidden_layers);
        let states = vec![self.language_model.forward(&embeddings, Some(&mut cache), None)?];
        self.write(prompt, &mut cache, states, max_new_tokens, on_token)
    }

    /// As [`ReadModel::generate`], of a prompt that begins with what `beginning` has read, and goes on behind it.
    ///
    /// # Errors
    /// As there, or when it begins otherwise.
    pub fn generate_after(
        &self,
        beginning: &mut PromptBeginning,
        prompt: &[i64],
        max_new_tokens: usize,
        on_token: &mut dyn FnMut(TokenStep) -> ControlFlow<()>,
    ) -> Result<Generation> {
        let states = self.read_after(beginning, prompt)?;
        self.write(prompt, &mut beginning.cache, states, max_new_tokens, on_token)
    }

    /// Reads the part of `prompt` that all questions about an image share, up to the image.
    ///
    /// # Errors
    /// As [`ReadModel::splice`], or when it is longer than the context.
    pub fn read_beginning(&self, prompt: &[i64], image_tokens: &Tensor) -> Result<PromptBeginning> {
        let ids = prompt[..=placeholder_position(prompt)?].to_vec();
        let embeddings = self.splice(&ids, image_tokens)?;
        let mut cache = KeyValueCache::new(self.language_model.config().num_hidden_layers);
        let hidden = self.language_model.forward(&embeddings, Some(&mut cache), None)?;
        Ok(PromptBeginning { ids, hidden, cache })
    }

    /// As [`ReadModel::hidden_states`], of a prompt that begins with what `beginning` has read, and goes on behind it.
    ///
    /// # Errors
    /// As there, or when it begins otherwise.
    pub fn hidden_states_after(&self, beginning: &mut PromptBeginning, ids: &[i64]) -> Result<Tensor> {
        Ok(Tensor::cat(&self.read_after(beginning, ids)?, 1)?.squeeze(0)?)
    }

    /// The hidden states of the beginning, and of the rest of `ids`.
    fn read_after(&self, beginning: &mut PromptBeginning, ids: &[i64]) -> Result<Vec<Tensor>> {
        let rest = ids.strip_prefix(beginning.ids.as_slice());
        let rest = rest.map(|rest| self.embed(rest)).transpose()?.flatten();
        let Some(rest) = rest else {
            return Err(ModelError::Prompt(
                "the prompt does not go on behind what was read of it".to_owned(),
            ));
        };
        beginning.cache.truncate(beginning.hidden.dim(1)?);
        let states = self.language_model.forward(&rest, Some(&mut beginning.cache), None)?;
        Ok(vec![beginning.hidden.clone(), states])
    }

    /// Goes on behind a prompt with these states, which the cache holds.
    fn write(
        &self,
        prompt: &[i64],
        cache: &mut KeyValueCache,
        mut states: Vec<Tensor>,
        max_new_tokens: usize,
        on_token: &mut dyn FnMut(TokenStep) -> ControlFlow<()>,
    ) -> Result<Generation> {
        if max_new_tokens == 0 {
            return Err(ModelError::Prompt("at least one new token must be allowed".to_owned()));
        }
        let context = self.language_model.config().max_position_embeddings;
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
            states.push(self.language_model.forward(&embedding, Some(&mut *cache), None)?);
        };
        let hidden = Tensor::cat(&states, 1)?.squeeze(0)?;
        Ok(Generation { ids, prompt_ids: prompt.len(), hidden, probabilities, stop })
    }
}

/// The beginning of a prompt, up to the image, as the language model has read it.
#[derive(Debug)]
pub struct PromptBeginning {
    ids: Vec<i64>,
    /// `[1, positions, width]`, normalised.
    hidden: Tensor,
    /// Of the beginning, and of what was read or written behind it last.
    cache: KeyValueCache,
}

impl PromptBeginning {
    /// Whether a prompt begins so, and goes on.
    pub fn begins(&self, prompt: &[i64]) -> bool {
        prompt.len() > self.ids.len() && prompt.starts_with(&self.ids)
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
