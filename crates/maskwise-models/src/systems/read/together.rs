use super::ReadModel;
use super::generate::{Generation, PromptBeginning, TokenStep, Writing};
use crate::error::Result;
use crate::llama::KeyValueCache;
use candle_core::{DType, Device};
use maskwise_nn::ops::KeyRanges;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Tokens of an answer that room is made for at a time.
const ROOM: usize = 32;

impl ReadModel {
    /// Whether [`ReadModel::generate_together_after`] writes what [`ReadModel::generate_after`] does: in f32 on a processor. Elsewhere scores are
    /// rounded in another order there.
    pub fn writes_together(&self) -> bool {
        self.language_dtype == DType::F32 && matches!(self.device, Device::Cpu)
    }

    /// As [`ReadModel::generate_after`], of several prompts that begin with what `beginning` has read: what is behind it is read together,
    /// `[1, tokens, width]`, then every pass reads one token of each answer that is not finished, `[1, answers, width]`, so that weights come
    /// from memory once for all of them. `on_token` is told the index of the prompt; breaking ends that answer alone. The generations are in
    /// the order of the prompts.
    ///
    /// In f32 on a processor each is what [`ReadModel::generate_after`] gives, up to the rounding of products with another number of rows. Memory
    /// grows with the number of prompts: keys and values of all that is read behind the beginning are held at the same time.
    ///
    /// # Errors
    /// As there, for all when it is so for one.
    pub fn generate_together_after(
        &self,
        beginning: &mut PromptBeginning,
        prompts: &[Vec<i64>],
        max_new_tokens: usize,
        on_token: &mut dyn FnMut(usize, TokenStep) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>> {
        let shared = beginning.positions();
        let mut answers = self.read_together(beginning, prompts, max_new_tokens)?;
        let vocabulary = self.language_model.config().vocab_size;
        let mut finished = BTreeMap::new();
        while !answers.is_empty() {
            let writings: Vec<&Writing> = answers.iter().map(|answer| &answer.writing).collect();
            let logits = self.last_logits(&writings)?;
            let (mut ids, mut unfinished) = (Vec::new(), Vec::new());
            for (mut answer, logits) in answers.into_iter().zip(logits.chunks_exact(vocabulary)) {
                let index = answer.index;
                match answer.writing.choose(self, logits, &mut |step| on_token(index, step))? {
                    ControlFlow::Continue(id) => {
                        ids.push(id);
                        unfinished.push(answer);
                    }
                    ControlFlow::Break(stop) => {
                        finished.insert(index, answer.writing.finish(stop)?);
                    }
                }
            }
            answers = unfinished;
            if answers.iter().any(|answer| answer.own.is_full()) {
                arrange(&mut beginning.cache, shared, answers.iter_mut().map(|answer| &mut answer.own))?;
            }
            self.read_on(&mut beginning.cache, shared, &ids, answers.iter_mut().map(|answer| (answer, 1)))?;
        }
        // The room is given back.
        arrange(&mut beginning.cache, shared, std::iter::empty())?;
        Ok(finished.into_values().collect())
    }

    /// Reads what comes behind the beginning in each prompt.
    fn read_together(
        &self,
        beginning: &mut PromptBeginning,
        prompts: &[Vec<i64>],
        max_new_tokens: usize,
    ) -> Result<Vec<Answer>> {
        let (shared, context) = (beginning.positions(), self.language_model.config().max_position_embeddings);
        let (mut rests, mut answers) = (Vec::new(), Vec::new());
        for (index, prompt) in prompts.iter().enumerate() {
            let rest = beginning.rest(prompt)?;
            self.language_model.check_positions(shared + rest.len())?;
            let writing = Writing::new(prompt, vec![beginning.hidden.clone()], max_new_tokens)?;
            // The last token that is written is never read.
            let most = rest.len().saturating_add(max_new_tokens - 1).min(context - shared);
            answers.push(Answer {
                index,
                writing,
                own: Stretch { start: 0, filled: 0, room: rest.len(), most },
            });
            rests.push(rest);
        }
        beginning.cache.truncate(shared);
        arrange(&mut beginning.cache, shared, answers.iter_mut().map(|answer| &mut answer.own))?;
        let mut unread = answers.iter_mut().zip(&rests).peekable();
        while unread.peek().is_some() {
            // No more tokens in a pass than one prompt may have: that much memory a pass may take.
            let (mut ids, mut pass) = (Vec::new(), Vec::new());
            while let Some((answer, rest)) = unread.next_if(|(_, rest)| ids.len() + rest.len() <= context) {
                ids.extend_from_slice(rest);
                pass.push((answer, rest.len()));
            }
            self.read_on(&mut beginning.cache, shared, &ids, pass.into_iter())?;
        }
        Ok(answers)
    }

    /// Reads `ids` in one pass, of each answer in turn so many as stand beside it, and adds the states to the answers.
    fn read_on<'a>(
        &self,
        cache: &mut KeyValueCache,
        shared: usize,
        ids: &[i64],
        answers: impl Iterator<Item = (&'a mut Answer, usize)>,
    ) -> Result<()> {
        let Some(embeddings) = self.embed(ids)? else { return Ok(()) };
        let (mut positions, mut ranges, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut parts = Vec::new();
        for (answer, tokens) in answers {
            parts.push((places.len(), tokens, &mut answer.writing.states));
            for _ in 0..tokens {
                let (start, place) = (answer.own.start, answer.own.start + answer.own.filled);
                positions.push((shared + answer.own.filled) as u32);
                ranges.push(KeyRanges {
                    prefix: shared as u32,
                    start: start as u32,
                    end: (place + 1) as u32,
                });
                places.push(place as u32);
                answer.own.filled += 1;
            }
        }
        let states =
            self.language_model.forward_packed_into(&embeddings, &positions, &ranges, cache, &places)?;
        for (first, tokens, of_answer) in parts {
            of_answer.push(states.narrow(1, first, tokens)?);
        }
        Ok(())
    }
}

/// An answer among others that are written at the same time.
struct Answer {
    /// Of its prompt.
    index: usize,
    writing: Writing,
    own: Stretch,
}

/// Consecutive positions of the cache that an answer's own tokens take, those of the question among them: with the beginning they are two ranges
/// of keys, whatever the other answers write.
struct Stretch {
    start: usize,
    filled: usize,
    room: usize,
    /// Tokens that there can be at most.
    most: usize,
}

impl Stretch {
    fn is_full(&self) -> bool {
        self.filled == self.room
    }
}

/// Puts the stretches behind the shared positions, one behind the other and each with room for more tokens. Whatever else the cache holds is
/// forgotten.
fn arrange<'a>(
    cache: &mut KeyValueCache,
    shared: usize,
    stretches: impl Iterator<Item = &'a mut Stretch>,
) -> Result<()> {
    let mut order: Vec<u32> = (0..shared as u32).collect();
    for stretch in stretches {
        let held = stretch.start..stretch.start + stretch.filled;
        stretch.start = order.len();
        stretch.room = (stretch.filled.max(stretch.room) + ROOM).min(stretch.most);
        order.extend(held.map(|position| position as u32));
        // Any position will do where nothing is read before it is written.
        order.resize(stretch.start + stretch.room, 0);
    }
    Ok(cache.arrange(&order)?)
}
