use super::{AskMode, AskOptions, Event, Read, Scene, Stage};
use crate::answer::{Answer, Timings};
use crate::error::Result;
use maskwise_models::systems::read::TokenStep;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

/// Questions that [`Scene::ask_all`] answers at the same time, at most: the keys and values that the language model keeps of their answers take
/// memory for each.
pub const QUESTIONS_TOGETHER: usize = 8;

impl Scene<'_> {
    /// Asks several questions, each by itself: none sees another or its answer. The answers, or why there is none, are in the order of the
    /// questions.
    ///
    /// Where the language model computes in f32 on a processor, its weights in fewer bits or not, up to [`QUESTIONS_TOGETHER`] answers are written
    /// at the same time, so that its weights come from memory once for all of them. They are those that [`Scene::ask_with`] gives, up to the
    /// rounding of products with another number of rows; in [`NumericMode::Fast`](crate::NumericMode::Fast) that is bf16's, since products
    /// of three rows or more round what they multiply with the weights there, and an answer alone has one row. Elsewhere, where the caller gives the answer, and
    /// where one question is left, they are asked one after the other.
    ///
    /// `on_event` is told which question, by its index, an event is about, and may break off the writing of that answer. Stages that several
    /// questions share are told once, of the first of them. Questions that could not be answered together, because the model computed
    /// something that no answer can be made of, are told of again as each is asked alone.
    pub fn ask_all<S: AsRef<str>>(
        &mut self,
        questions: &[S],
        options: &AskOptions,
        on_event: &mut (dyn FnMut(usize, Event) -> ControlFlow<()> + Send),
    ) -> Vec<Result<Answer>> {
        let mut answers = Vec::with_capacity(questions.len());
        for group in questions.chunks(QUESTIONS_TOGETHER) {
            let (group, first): (Vec<&str>, _) = (group.iter().map(AsRef::as_ref).collect(), answers.len());
            let on_event = &mut |index: usize, event| on_event(first + index, event);
            // An error of all is found again, for each.
            let mut written = self.write_together(&group, options, on_event).unwrap_or_default();
            for (index, question) in group.into_iter().enumerate() {
                let on_event = &mut |event| on_event(index, event);
                answers.push(match written.remove(&index) {
                    Some((read, timings)) => self.finish_answer(question, read, timings, on_event),
                    None => self.ask_with(question, options, on_event),
                });
            }
        }
        answers
    }

    /// What the language model wrote, by the index of the question; nothing of those that are to be asked alone.
    fn write_together(
        &mut self,
        questions: &[&str],
        options: &AskOptions,
        on_event: &mut (dyn FnMut(usize, Event) -> ControlFlow<()> + Send),
    ) -> Result<BTreeMap<usize, (Read, Timings)>> {
        let segmenter = self.segmenter;
        if options.mode != AskMode::Generate || !segmenter.model.writes_together() {
            return Ok(BTreeMap::new());
        }
        // What is wrong with a question is found again when it is asked alone.
        let prompt =
            |(index, question): (usize, &&str)| Some((index, self.prompt(question, options, None).ok()?));
        let (indices, prompts): (Vec<usize>, Vec<Vec<i64>>) =
            questions.iter().enumerate().filter_map(prompt).unzip();
        let ([first, _, ..], [prompt, ..]) = (&indices[..], &prompts[..]) else { return Ok(BTreeMap::new()) };

        let mut timings = Timings::default();
        self.encode_for_language(&mut timings, &mut |event| on_event(*first, event))?;
        let start = Instant::now();
        let _ = on_event(*first, Event::Stage(Stage::Answer));
        self.read_beginning(prompt)?;
        let Some(mut beginning) = self.beginning.take() else { return Ok(BTreeMap::new()) };
        let mut tokens = vec![0; prompts.len()];
        let on_token = &mut |place: usize, _: TokenStep| {
            tokens[place] += 1;
            on_event(indices[place], Event::Token(tokens[place]))
        };
        let most = options.max_new_tokens;
        let generations = self.with_encoding_beside(options, || {
            segmenter.compute(|model| model.generate_together_after(&mut beginning, &prompts, most, on_token))
        });
        self.beginning = Some(beginning);
        let generations = generations?;
        let seconds = start.elapsed().as_secs_f64() / tokens.iter().sum::<usize>() as f64;

        let mut written = BTreeMap::new();
        for (place, generation) in generations.into_iter().enumerate() {
            timings.answer = seconds * tokens[place] as f64;
            written.insert(indices[place], (self.written(&prompts[place], generation)?, timings));
            timings.encode_for_language = 0.0;
        }
        Ok(written)
    }
}
