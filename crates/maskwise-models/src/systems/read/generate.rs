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
        let rest = self.embed(beginning.rest(ids)?)?;
        beginning.cache.truncate(beginning.positions());
        let mut states = vec![beginning.hidden.clone()];
        if let Some(rest) = rest {
            states.push(self.language_model.forward(&rest, Some(&mut beginning.cache), None)?);
        }
        Ok(states)
    }

    /// Goes on behind a prompt with these states, which the cache holds.
    fn write(
        &self,
        prompt: &[i64],
        cache: &mut KeyValueCache,
        states: Vec<Tensor>,
        max_new_tokens: usize,
        on_token: &mut dyn FnMut(TokenStep) -> ControlFlow<()>,
    ) -> Result<Generation> {
        let mut writing = Writing::new(prompt, states, max_new_tokens)?;
        let stop = loop {
            let logits = self.last_logits(&[&writing])?;
            let id = match writing.choose(self, &logits, on_token)? {
                ControlFlow::Continue(id) => id,
                ControlFlow::Break(stop) => break stop,
            };
            let Some(embedding) = self.embed(&[id])? else { break StopReason::ContextFull };
            writing.states.push(self.language_model.forward(&embedding, Some(&mut *cache), None)?);
        };
        writing.finish(stop)
    }

    /// The logits of what comes next in each answer, those of one after those of the other.
    pub(super) fn last_logits(&self, writings: &[&Writing]) -> Result<Vec<f32>> {
        let last = |writing: &&Writing| {
            let states = &writing.states[writing.states.len() - 1];
            states.narrow(1, states.dim(1)? - 1, 1)
        };
        let last = writings.iter().map(last).collect::<candle_core::Result<Vec<_>>>()?;
        let logits = self.language_model.logits(&Tensor::cat(&last, 1)?)?;
        Ok(logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
    }
}

/// An answer while it is written.
pub(super) struct Writing {
    ids: Vec<i64>,
    prompt_ids: usize,
    max_new_tokens: usize,
    probabilities: Vec<f32>,
    /// Of all positions that were read, `[1, positions, width]` each; at least one.
    pub(super) states: Vec<Tensor>,
}

impl Writing {
    /// Goes on behind a prompt with these states.
    pub(super) fn new(prompt: &[i64], states: Vec<Tensor>, max_new_tokens: usize) -> Result<Self> {
        if max_new_tokens == 0 {
            return Err(ModelError::Prompt("at least one new token must be allowed".to_owned()));
        }
        let (ids, prompt_ids) = (prompt.to_vec(), prompt.len());
        Ok(Self { ids, prompt_ids, max_new_tokens, probabilities: Vec::new(), states })
    }

    /// Writes the most likely id, which is to be read next, unless writing ends with it.
    pub(super) fn choose(
        &mut self,
        model: &ReadModel,
        logits: &[f32],
        on_token: &mut dyn FnMut(TokenStep) -> ControlFlow<()>,
    ) -> Result<ControlFlow<StopReason, i64>> {
        let (id, probability) = most_likely(logits)?;
        self.ids.push(id);
        self.probabilities.push(probability);
        let is_broken_off = on_token(TokenStep { id, probability, logits }).is_break();
        Ok(if is_broken_off {
            ControlFlow::Break(StopReason::Cancelled)
        } else if id == i64::from(model.special.eos) {
            ControlFlow::Break(StopReason::EndOfSequence)
        } else if self.probabilities.len() == self.max_new_tokens {
            ControlFlow::Break(StopReason::MaxNewTokens)
        } else if self.positions() == model.language_model.config().max_position_embeddings {
            ControlFlow::Break(StopReason::ContextFull)
        } else {
            ControlFlow::Continue(id)
        })
    }

    /// How many positions were read.
    fn positions(&self) -> usize {
        self.states.iter().map(|states| states.dims()[1]).sum()
    }

    pub(super) fn finish(self, stop: StopReason) -> Result<Generation> {
        let Self { ids, prompt_ids, probabilities, states, .. } = self;
        let hidden = Tensor::cat(&states, 1)?.squeeze(0)?;
        Ok(Generation { ids, prompt_ids, hidden, probabilities, stop })
    }
}

/// The beginning of a prompt, up to the image, as the language model has read it.
#[derive(Debug)]
pub struct PromptBeginning {
    ids: Vec<i64>,
    /// `[1, positions, width]`, normalised.
    pub(super) hidden: Tensor,
    /// Of the beginning, and of what was read or written behind it last.
    pub(super) cache: KeyValueCache,
}

impl PromptBeginning {
    /// Whether a prompt begins so, and goes on.
    pub fn begins(&self, prompt: &[i64]) -> bool {
        self.rest(prompt).is_ok()
    }

    /// What comes behind it in a prompt.
    pub(super) fn rest<'a>(&self, prompt: &'a [i64]) -> Result<&'a [i64]> {
        let rest = prompt.strip_prefix(self.ids.as_slice()).filter(|rest| !rest.is_empty());
        rest.ok_or_else(|| {
            ModelError::Prompt("the prompt does not go on behind what was read of it".to_owned())
        })
    }

    /// How many positions were read.
    pub(super) fn positions(&self) -> usize {
        self.hidden.dims()[1]
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
