pub(crate) mod beside;
mod together;

pub use beside::THREADS_FOR_BOTH;
pub use together::QUESTIONS_TOGETHER;

use crate::answer::{Answer, AnswerMask, DecoderStates, Outcome, Scores, Timings};
use crate::error::Result;
use crate::segmenter::Segmenter;
use candle_core::{D, DType, Tensor};
use maskwise_data::draw::PointMark;
use maskwise_data::image::RgbImage;
use maskwise_data::mask::Mask;
use maskwise_data::text::prompt::{UserTextPolicy, check_context, tokenize_image_prompt, user_text};
use maskwise_data::text::{Conversation, ConversationTemplate, IMAGE_TOKEN, Speaker};
use maskwise_models::ModelError;
use maskwise_models::heads::similarity_points::{SimilarityPointsConfig, similarity};
use maskwise_models::systems::read::{
    Generation, MaskPrompting, PromptBeginning, SegmentInputs, SegmentedMask, StopReason, TokenStep,
};
use std::ops::ControlFlow;
use std::time::Instant;

/// What happens while a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A stage began.
    Stage(Stage),
    /// The model wrote its n-th token.
    Token(usize),
}

/// What hears of events, and may break off the writing.
pub(crate) type OnEvent<'a> = &'a mut (dyn FnMut(Event) -> ControlFlow<()> + Send);

/// The stages of an answer, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// CLIP and the projector: what the language model sees. Once per image.
    EncodeForLanguage,
    /// The language model reads the prompt and writes the answer.
    Answer,
    /// SAM's image encoder. Once per image, and only if a mask is needed; where it runs beside the language model, nothing is told of it.
    EncodeForMasks,
    /// Points, prompt encoder, mask decoder, resizing.
    Masks,
}

/// How a question is asked.
#[derive(Debug, Clone)]
pub struct AskOptions {
    /// Who writes the answer.
    pub mode: AskMode,
    /// At most this many tokens are written.
    pub max_new_tokens: usize,
    /// What to do with control tokens in the question.
    pub policy: UserTextPolicy,
    /// Earlier turns about the same image.
    pub history: Vec<Turn>,
    /// Encode the image for masks while the first answer about it is written, on processors where the current pool has [`THREADS_FOR_BOTH`] threads and more: a mask
    /// comes earlier then, and an answer without one later. Where many images are asked about at a time, one after the other is faster.
    pub encode_beside: bool,
}

impl Default for AskOptions {
    fn default() -> Self {
        Self {
            mode: AskMode::Generate,
            max_new_tokens: 512,
            policy: UserTextPolicy::Refuse,
            history: Vec::new(),
            encode_beside: true,
        }
    }
}

/// Who writes the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskMode {
    /// The model, greedily.
    Generate,
    /// The caller: the model reads this answer and draws its `[SEG]`, the mode of the published validation tables.
    TeacherForced(String),
}

/// A question and its answer in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What was asked.
    pub question: String,
    /// What was answered.
    pub answer: String,
}

/// An image that questions are asked about; encodings are kept between them.
pub struct Scene<'a> {
    segmenter: &'a Segmenter,
    image: RgbImage,
    image_tokens: Option<Tensor>,
    embedding: Option<EmbeddedImage>,
    /// What the language model has read up to the image.
    beginning: Option<PromptBeginning>,
    /// The last answer, with the positions that predict its `[SEG]`s.
    last: Option<(Read, Vec<usize>)>,
}

struct EmbeddedImage {
    embedding: Tensor,
    input_size: (usize, usize),
    original_size: (usize, usize),
}

impl EmbeddedImage {
    fn of(segmenter: &Segmenter, image: &RgbImage) -> Result<Self> {
        let inputs = segmenter.files.inputs.for_masks(image)?;
        Ok(Self {
            embedding: segmenter.compute(|model| model.encode_for_masks(&inputs.pixels))?,
            input_size: inputs.input_size,
            original_size: inputs.original_size,
        })
    }
}

/// Prompt and answer as ids, with the state of every position.
struct Read {
    ids: Vec<i64>,
    hidden: Tensor,
    text: String,
    /// `[SEG]`s of the prompt, which are not this answer's.
    earlier_segs: usize,
    answer_start: usize,
    /// None where the caller gave the answer.
    stop: Option<StopReason>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(segmenter: &'a Segmenter, image: &RgbImage) -> Result<Self> {
        // Sizes that the preprocessors refuse are refused here, before anything is asked.
        segmenter.files.inputs.sam.resized_size(image)?;
        Ok(Self {
            segmenter,
            image: image.clone(),
            image_tokens: None,
            embedding: None,
            beginning: None,
            last: None,
        })
    }

    /// The image.
    pub fn image(&self) -> &RgbImage {
        &self.image
    }

    /// Asks a question with the default options.
    ///
    /// # Errors
    /// As [`Scene::ask_with`].
    pub fn ask(&mut self, question: &str) -> Result<Answer> {
        self.ask_with(question, &AskOptions::default(), &mut |_| ControlFlow::Continue(()))
    }

    /// Asks a question. `on_event` hears of each stage and token, and may break off the writing.
    ///
    /// With [`AskOptions::encode_beside`] SAM's image encoder may run meanwhile, since writing waits for memory rather than for processors. Whatever ends the writing waits for
    /// the encoder then, and its encoding is kept for the next question; `on_event` is called on another thread than this one.
    ///
    /// # Errors
    /// When the question is empty, holds a control token or does not fit the context; when the model computes something
    /// that no mask can be made of.
    pub fn ask_with(&mut self, question: &str, options: &AskOptions, on_event: OnEvent) -> Result<Answer> {
        let mut timings = Timings::default();
        let prompt = self.prompt(question, options, None)?;
        self.encode_for_language(&mut timings, on_event)?;
        let start = Instant::now();
        let _ = on_event(Event::Stage(Stage::Answer));
        let read = match &options.mode {
            AskMode::Generate => self.generate(prompt, options, on_event)?,
            AskMode::TeacherForced(answer) => self.read_answer(question, prompt, answer, options)?,
        };
        timings.answer = start.elapsed().as_secs_f64();
        self.finish_answer(question, read, timings, on_event)
    }

    /// Draws the masks of what was read or written. `timings` holds the stages up to here.
    fn finish_answer(
        &mut self,
        question: &str,
        read: Read,
        mut timings: Timings,
        on_event: OnEvent,
    ) -> Result<Answer> {
        timings.tokens = read.ids.len() - read.answer_start;
        let positions = self.segmenter.model.seg_positions(&read.ids)?.split_off(read.earlier_segs);
        let masks = if positions.is_empty() {
            Vec::new()
        } else {
            self.encode_for_masks(&mut timings, on_event)?;
            let start = Instant::now();
            let _ = on_event(Event::Stage(Stage::Masks));
            let masks = self.masks(&read, &positions, &self.segmenter.mask_prompting())?;
            timings.masks = start.elapsed().as_secs_f64();
            masks
        };
        let answer = Answer {
            question: question.to_owned(),
            text: read.text.clone(),
            outcome: Outcome::of(&masks),
            masks,
            teacher_forced: read.stop.is_none(),
            stop: read.stop,
            timings,
            model: self.segmenter.identity().clone(),
        };
        self.last = Some((read, positions));
        Ok(answer)
    }

    /// Draws the masks of the last answer once more, prompting SAM otherwise: with other points, without points, or with points alone.
    /// None where nothing was asked yet or the answer has no `[SEG]`.
    ///
    /// # Errors
    /// When no mask can be made of the prompt.
    pub fn draw_again(&self, prompting: &MaskPrompting) -> Result<Vec<AnswerMask>> {
        match &self.last {
            Some((read, positions)) => self.masks(read, positions, prompting),
            None => Ok(Vec::new()),
        }
    }

    /// The mask that SAM draws for points of the image alone, without a question: of its three, the one that it expects most of. Labels are 1
    /// (inside) and 0 (outside).
    ///
    /// # Errors
    /// Without a point, or when no mask can be made of the prompt.
    pub fn segment_points(&mut self, points: &[PointMark]) -> Result<Mask> {
        self.encode_for_masks(&mut Timings::default(), &mut |_| ControlFlow::Continue(()))?;
        let missing = || ModelError::Prompt("the image was not encoded".to_owned());
        let embedded = self.embedding.as_ref().ok_or_else(missing)?;
        let inputs = SegmentInputs {
            embedding: &embedded.embedding,
            input_size: embedded.input_size,
            original_size: embedded.original_size,
        };
        let places: Vec<[f32; 2]> = points.iter().map(|point| [point.x, point.y]).collect();
        let labels: Vec<i32> = points.iter().map(|point| point.label).collect();
        let logits = self.segmenter.model.segment_points(&places, &labels, inputs)?;
        let (height, width) = logits.dims2()?;
        Ok(Mask::from_logits(&logits.flatten_all()?.to_vec1::<f32>()?, height, width)?)
    }

    /// The ids of the conversation so far, this question, and `answer` if it is given.
    fn prompt(&self, question: &str, options: &AskOptions, answer: Option<&str>) -> Result<Vec<i64>> {
        let files = &self.segmenter.files;
        let names = &files.system.conversation;
        let name = match options.mode {
            AskMode::Generate => &names.generate,
            AskMode::TeacherForced(_) => &names.teacher_forced,
        };
        let context = self.segmenter.context();
        let question = user_text(&files.tokenizer, question, context, options.policy)?;
        let mut conversation = Conversation::new(ConversationTemplate::by_name(name)?);
        for (index, turn) in options.history.iter().enumerate() {
            conversation.push(Speaker::User, Some(&with_image(index == 0, &turn.question)));
            conversation.push(Speaker::Assistant, Some(&turn.answer));
        }
        conversation.push(Speaker::User, Some(&with_image(options.history.is_empty(), &question)));
        conversation.push(Speaker::Assistant, answer);
        let prompt = maskwise_data::text::prompt::mark_images(&conversation.prompt()?);
        let ids = tokenize_image_prompt(&files.tokenizer, &prompt)?;
        check_context(ids.len() - 1 + self.segmenter.model.image_tokens(), context)?;
        Ok(ids)
    }

    /// Reads the prompt up to the image, if that was not done for an earlier question; none where each prompt is read as a whole.
    fn read_beginning(&mut self, prompt: &[i64]) -> Result<Option<&mut PromptBeginning>> {
        let is_read = self.beginning.as_ref().is_some_and(|beginning| beginning.begins(prompt));
        if self.segmenter.shares_beginning && !is_read {
            let tokens = self.image_tokens()?;
            let beginning = self.segmenter.compute(|model| model.read_beginning(prompt, tokens))?;
            self.beginning = Some(beginning);
        }
        Ok(self.beginning.as_mut())
    }

    fn generate(&mut self, prompt: Vec<i64>, options: &AskOptions, on_event: OnEvent) -> Result<Read> {
        let (segmenter, tokens) = (self.segmenter, self.image_tokens()?.clone());
        let mut written = 0;
        let mut on_token = |_: TokenStep| {
            written += 1;
            on_event(Event::Token(written))
        };
        let most = options.max_new_tokens;
        self.read_beginning(&prompt)?;
        let mut beginning = self.beginning.take();
        let generation = self.with_encoding_beside(options, || match &mut beginning {
            Some(beginning) => {
                segmenter.compute(|model| model.generate_after(beginning, &prompt, most, &mut on_token))
            }
            None => segmenter.compute(|model| model.generate(&prompt, &tokens, most, &mut on_token)),
        });
        self.beginning = beginning;
        let generation = generation?;
        self.written(&prompt, generation)
    }

    fn written(&self, prompt: &[i64], generation: Generation) -> Result<Read> {
        Ok(Read {
            text: self.decode(generation.answer())?,
            earlier_segs: self.count_segs(prompt),
            answer_start: generation.prompt_ids,
            ids: generation.ids,
            hidden: generation.hidden,
            stop: Some(generation.stop),
        })
    }

    fn read_answer(
        &mut self,
        question: &str,
        prompt: Vec<i64>,
        answer: &str,
        options: &AskOptions,
    ) -> Result<Read> {
        let ids = self.prompt(question, options, Some(answer))?;
        let (segmenter, tokens) = (self.segmenter, self.image_tokens()?.clone());
        let hidden = match self.read_beginning(&ids)? {
            Some(beginning) => segmenter.compute(|model| model.hidden_states_after(beginning, &ids)),
            None => segmenter.compute(|model| model.hidden_states(&ids, &tokens)),
        }?;
        Ok(Read {
            text: answer.to_owned(),
            earlier_segs: self.count_segs(&prompt),
            answer_start: prompt.len().min(ids.len()),
            ids,
            hidden,
            stop: None,
        })
    }

    fn masks(&self, read: &Read, positions: &[usize], prompting: &MaskPrompting) -> Result<Vec<AnswerMask>> {
        let model = &self.segmenter.model;
        let Some(embedded) = &self.embedding else { return Ok(Vec::new()) };
        let inputs = SegmentInputs {
            embedding: &embedded.embedding,
            input_size: embedded.input_size,
            original_size: embedded.original_size,
        };
        let phrases = self.phrases(&read.ids[read.answer_start..])?;
        let mut masks = Vec::with_capacity(positions.len());
        // One by one: the logits of a large image take four times the memory of its mask, and there may be many.
        for (index, position) in positions.iter().enumerate() {
            let segmented =
                model.segment_positions_with(&read.ids, &read.hidden, &[*position], inputs, prompting)?;
            let state = read.hidden.get(*position)?;
            let phrase = phrases.get(index).cloned().unwrap_or_default();
            for segmented in segmented {
                masks.push(self.finish_mask(segmented, &state, phrase.clone(), inputs)?);
            }
        }
        Ok(masks)
    }

    fn finish_mask(
        &self,
        segmented: SegmentedMask,
        state: &Tensor,
        phrase: String,
        inputs: SegmentInputs,
    ) -> Result<AnswerMask> {
        let (height, width) = segmented.logits.dims2()?;
        let logits = segmented.logits.flatten_all()?.to_vec1::<f32>()?;
        let mask = Mask::from_logits(&logits, height, width)?;
        let inside = logits.iter().filter(|logit| **logit > 0.0);
        let total: f64 = inside.map(|logit| 1.0 / (1.0 + f64::from(-logit).exp())).sum();
        let mean_probability = if mask.is_empty() { 0.0 } else { (total / mask.area() as f64) as f32 };
        let points = match &segmented.points {
            None => Vec::new(),
            Some(points) => {
                let coordinates = points.coordinates.to_vec2::<f32>()?;
                let labels = points.labels();
                coordinates
                    .iter()
                    .zip(labels)
                    .map(|(xy, label)| PointMark { x: xy[0], y: xy[1], label })
                    .collect()
            }
        };
        let configured = self.segmenter.files.system.similarity_points.clone();
        let scores = Scores {
            predicted_iou: segmented.predicted_iou,
            mean_probability,
            seg_probability: self.seg_probability(state)?,
        };
        Ok(AnswerMask {
            mask,
            phrase,
            scores,
            points,
            low_resolution: segmented.low_resolution,
            similarity: segmented.similarity,
            projector_similarity: similarity(&self.image_tokens()?.squeeze(0)?, state)?,
            decoder: DecoderStates {
                tokens: segmented.decoder_tokens,
                image: segmented.decoder_image,
                image_size: self.segmenter.model.sam.image_encoder.image_size(),
                input_size: inputs.input_size,
            },
            size: (height, width),
            map_size: configured.unwrap_or_else(SimilarityPointsConfig::read_7b).map_size,
        })
    }

    /// The probability that the language model gives `[SEG]` after `state` `[width]`.
    fn seg_probability(&self, state: &Tensor) -> Result<f32> {
        let model = &self.segmenter.model;
        let logits = model.language_model.logits(&state.unsqueeze(0)?)?.to_dtype(DType::F32)?;
        let probabilities = maskwise_nn::ops::softmax(&logits)?.squeeze(0)?;
        Ok(probabilities.get_on_dim(D::Minus1, model.special.seg as usize)?.to_scalar()?)
    }

    /// The words of the answer before each `[SEG]`, back to the one before it.
    fn phrases(&self, answer: &[i64]) -> Result<Vec<String>> {
        let seg = i64::from(self.segmenter.model.special.seg);
        let parts: Vec<&[i64]> = answer.split(|id| *id == seg).collect();
        parts[..parts.len() - 1].iter().map(|part| self.decode(part)).collect()
    }

    fn decode(&self, ids: &[i64]) -> Result<String> {
        let tokenizer = &self.segmenter.files.tokenizer;
        // Rows that only pad the vocabulary have no words.
        let known = |id: &u32| tokenizer.id_to_token(*id).is_some();
        let ids: Vec<u32> = ids.iter().filter_map(|id| u32::try_from(*id).ok()).filter(known).collect();
        Ok(tokenizer.decode(&ids, true)?.trim().to_owned())
    }

    fn count_segs(&self, ids: &[i64]) -> usize {
        ids.iter().filter(|id| **id == i64::from(self.segmenter.model.special.seg)).count()
    }

    fn image_tokens(&self) -> Result<&Tensor> {
        let missing = || ModelError::Prompt("the image was not encoded".to_owned());
        Ok(self.image_tokens.as_ref().ok_or_else(missing)?)
    }

    fn encode_for_language(&mut self, timings: &mut Timings, on_event: OnEvent) -> Result<()> {
        if self.image_tokens.is_none() {
            let start = Instant::now();
            let _ = on_event(Event::Stage(Stage::EncodeForLanguage));
            let pixels = self.segmenter.files.inputs.for_language(&self.image)?;
            let tokens = self.segmenter.compute(|model| model.encode_for_language(&pixels))?;
            self.image_tokens = Some(tokens);
            timings.encode_for_language = start.elapsed().as_secs_f64();
        }
        Ok(())
    }

    fn encode_for_masks(&mut self, timings: &mut Timings, on_event: OnEvent) -> Result<()> {
        if self.embedding.is_none() {
            let start = Instant::now();
            let _ = on_event(Event::Stage(Stage::EncodeForMasks));
            self.embedding = Some(EmbeddedImage::of(self.segmenter, &self.image)?);
            timings.encode_for_masks = start.elapsed().as_secs_f64();
        }
        Ok(())
    }
}

fn with_image(first: bool, question: &str) -> String {
    if first { format!("{IMAGE_TOKEN}\n{question}") } else { question.to_owned() }
}
