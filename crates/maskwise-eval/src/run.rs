//! Asking a model all questions of a benchmark: pictures are read ahead, answers come in order.

use crate::matching::Points;
use crate::{EvalError, Overlap, Pair, Sample, SampleOutcome};
use maskwise::data::dataset::{DatasetError, ValidationDataset, ValidationItem};
use maskwise::mask::Mask;
use maskwise::{Answer, AnswerMask, AskMode, AskOptions, Scene, Segmenter, Timings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Who writes the answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerMode {
    /// The model.
    #[default]
    Generated,
    /// They stand in the prompt with their `[SEG]`, as in the tables of LISA and READ (spec 4.3): the model cannot decline.
    TeacherForced,
}

impl AnswerMode {
    /// How `item` is asked. A denial is no answer to force: it would give away that nothing is there.
    pub(crate) fn of(self, segmenter: &Segmenter, item: &ValidationItem) -> AskMode {
        match self {
            Self::Generated => AskMode::Generate,
            Self::TeacherForced if item.answer.contains("[SEG]") => {
                AskMode::TeacherForced(item.answer.clone())
            }
            Self::TeacherForced => AskMode::TeacherForced(segmenter.question_templates().answer.0),
        }
    }
}

/// The prediction for an item: the first mask of the answer, or the union of as many as are meant. None for an answer without a mask.
pub(crate) fn prediction(masks: &[AnswerMask], item: &ValidationItem) -> Option<Mask> {
    let mut wanted = masks.iter().take(item.masks.max(1));
    let mut union = wanted.next()?.mask.clone();
    for further in wanted {
        union.data.iter_mut().zip(&further.mask.data).for_each(|(pixel, inside)| *pixel |= inside);
    }
    Some(union)
}

/// What becomes of a run when an item cannot be read or the model refuses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It ends with the error.
    #[default]
    Stop,
    /// The item is written down as failed, and the run goes on.
    Skip,
}

/// One of several parts of a benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which part, from 1.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self { number: 1, of: 1 }
    }
}

/// How a model is asked.
#[derive(Clone, Copy, Debug)]
pub struct AskConfig {
    /// Who writes the answers.
    pub answers: AnswerMode,
    /// At most this many tokens are written.
    pub max_new_tokens: usize,
    /// Pictures that are worked on at the same time; no figure depends on it.
    pub jobs: usize,
    /// What becomes of the run when an item fails.
    pub on_error: OnError,
}

/// A sample and how long it took.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What came of the question.
    pub sample: Sample,
    /// How long each stage took.
    pub timings: Timings,
}

/// Items of one picture each, in order: those of `shard`, without the first `done` items of it.
pub(crate) fn work(items: &dyn ValidationDataset, shard: Shard, done: usize) -> Vec<Range<usize>> {
    let mut pictures: Vec<Range<usize>> = Vec::new();
    for index in 0..items.len() {
        match pictures.last_mut() {
            Some(last) if items.picture(last.start) == items.picture(index) => last.end = index + 1,
            _ => pictures.push(index..index + 1),
        }
    }
    let bound = |number: usize| pictures.len() * number / shard.of;
    let mut left = done;
    let mut kept = Vec::new();
    for picture in &pictures[bound(shard.number - 1)..bound(shard.number)] {
        let skipped = left.min(picture.len());
        left -= skipped;
        if skipped < picture.len() {
            kept.push(picture.start + skipped..picture.end);
        }
    }
    kept
}

/// Items of one picture, as they were read.
pub(crate) type PictureItems = Vec<(usize, Result<ValidationItem, DatasetError>)>;
/// A picture's place, and its items.
type Read = (usize, PictureItems);
/// A picture's place, and what came of its items.
type Done<T> = (usize, Result<Vec<T>, EvalError>);

/// Asks `segmenter` the questions of `pictures` and gives `take` what came of them, in their order.
///
/// # Errors
/// What `take` returns; under [`OnError::Stop`] what reading an item or asking the model returns.
pub(crate) fn ask(
    segmenter: &Segmenter,
    items: &dyn ValidationDataset,
    pictures: &[Range<usize>],
    config: &AskConfig,
    take: &mut dyn FnMut(Measured) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let work = |content| measure_picture(segmenter, items.name(), config, content);
    each_picture(items, pictures, config.jobs, &work, take)
}

/// Reads the items of `pictures` ahead, has `jobs` threads `work` on a picture each, and gives `take` what came of each item, in their
/// order.
///
/// # Errors
/// The first that `work` or `take` returns.
pub(crate) fn each_picture<T: Send>(
    items: &dyn ValidationDataset,
    pictures: &[Range<usize>],
    jobs: usize,
    work: &(dyn Fn(PictureItems) -> Result<Vec<T>, EvalError> + Sync),
    take: &mut dyn FnMut(T) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let jobs = jobs.max(1);
    let (read, waiting) = sync_channel::<Read>(2 * jobs);
    let (finish, finished) = sync_channel::<Done<T>>(2 * jobs);
    let waiting = Mutex::new(waiting);
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let is_over = &failed;
        scope.spawn(move || read_ahead(items, pictures, &read, is_over));
        for _ in 0..jobs {
            let (waiting, finish) = (&waiting, finish.clone());
            scope.spawn(move || work_off(work, waiting, &finish));
        }
        drop(finish);
        let result = in_order(&finished, pictures.len(), take);
        // The workers end when nobody takes what they make, the reader when it sees the flag; what it holds ready is taken from it.
        failed.store(result.is_err(), Ordering::Relaxed);
        drop(finished);
        let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.recv().is_ok() {}
        result
    })
}

fn read_ahead(
    items: &dyn ValidationDataset,
    pictures: &[Range<usize>],
    read: &SyncSender<Read>,
    is_over: &AtomicBool,
) {
    for (place, picture) in pictures.iter().enumerate() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let content = picture.clone().map(|index| (index, items.item(index))).collect();
        if read.send((place, content)).is_err() {
            return;
        }
    }
}

fn work_off<T>(
    work: &(dyn Fn(PictureItems) -> Result<Vec<T>, EvalError> + Sync),
    waiting: &Mutex<Receiver<Read>>,
    finish: &SyncSender<Done<T>>,
) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((place, content)) = next else { return };
        if finish.send((place, work(content))).is_err() {
            return;
        }
    }
}

fn in_order<T>(
    finished: &Receiver<Done<T>>,
    count: usize,
    take: &mut dyn FnMut(T) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    while next < count {
        let Ok((place, measured)) = finished.recv() else {
            return Err(EvalError::Benchmark("a worker ended before its pictures were done".to_owned()));
        };
        early.insert(place, measured);
        while let Some(measured) = early.remove(&next) {
            measured?.into_iter().try_for_each(&mut *take)?;
            next += 1;
        }
    }
    Ok(())
}

fn measure_picture(
    segmenter: &Segmenter,
    benchmark: &str,
    config: &AskConfig,
    content: PictureItems,
) -> Result<Vec<Measured>, EvalError> {
    let readable: Vec<&ValidationItem> = content.iter().filter_map(|(_, item)| item.as_ref().ok()).collect();
    let mut answers = answers(segmenter, config, &readable).into_iter();
    let mut all = Vec::with_capacity(content.len());
    for (index, item) in content {
        let id = item.as_ref().map_or_else(|_| format!("{benchmark} {index}"), |item| item.id.clone());
        let measured = match item {
            Ok(item) => match answers.next() {
                Some(Ok(answer)) => measure(index, item, answer),
                Some(Err(source)) => Err(EvalError::Model { id: id.clone(), source }),
                None => Err(EvalError::Benchmark(format!("`{id}` was not answered"))),
            },
            Err(error) => Err(EvalError::Dataset(error)),
        };
        all.push(match (measured, config.on_error) {
            (Ok(measured), _) => measured,
            (Err(error), OnError::Stop) => return Err(error),
            (Err(error), OnError::Skip) => Measured::failed(index, id, &error),
        });
    }
    Ok(all)
}

/// An answer to each of the items of one picture; those that the model writes are written together.
fn answers(
    segmenter: &Segmenter,
    config: &AskConfig,
    items: &[&ValidationItem],
) -> Vec<Result<Answer, Box<maskwise::Error>>> {
    let options = |item: &ValidationItem| AskOptions {
        mode: config.answers.of(segmenter, item),
        max_new_tokens: config.max_new_tokens,
        encode_beside: false,
        ..AskOptions::default()
    };
    let ask = |scene: &mut Scene<'_>, item: &ValidationItem| {
        scene.ask_with(&item.question, &options(item), &mut |_| ControlFlow::Continue(())).map_err(Box::new)
    };
    let Some(first) = items.first() else { return Vec::new() };
    let Ok(mut scene) = segmenter.look(&first.image) else {
        // Each item has the error for itself.
        let look = |item: &ValidationItem| segmenter.look(&item.image).map_err(Box::new);
        return items.iter().map(|item| ask(&mut look(item)?, item)).collect();
    };
    match config.answers {
        AnswerMode::Generated => {
            let questions: Vec<&str> = items.iter().map(|item| item.question.as_str()).collect();
            let answers = scene.ask_all(&questions, &options(first), &mut |_, _| ControlFlow::Continue(()));
            answers.into_iter().map(|answer| answer.map_err(Box::new)).collect()
        }
        AnswerMode::TeacherForced => items.iter().map(|item| ask(&mut scene, item)).collect(),
    }
}

fn measure(index: usize, item: ValidationItem, answer: Answer) -> Result<Measured, EvalError> {
    let failed = |error| EvalError::Model { id: item.id.clone(), source: Box::new(error) };
    let pairs = match item.instances.is_empty() {
        true => Vec::new(),
        false => {
            let (width, height) = (item.image.width() as usize, item.image.height() as usize);
            let points = Points::new(index as u64, width, height);
            // One by one: the logits of a large picture take four times the memory of its mask.
            let predict = |mask: &AnswerMask| Ok(points.predict(&mask.logits().map_err(failed)?));
            let predictions = answer.masks.iter().map(predict).collect::<Result<Vec<_>, EvalError>>()?;
            points.pairs(&predictions, &item.instances)
        }
    };
    Ok(Measured { timings: answer.timings, sample: sample(index, item, answer, pairs) })
}

fn sample(index: usize, item: ValidationItem, answer: Answer, pairs: Vec<Pair>) -> Sample {
    let mask = prediction(&answer.masks, &item);
    let nothing = vec![0; item.target.len()];
    let predicted = mask.as_ref().map_or(&nothing, |mask| &mask.data);
    let outcome = match &mask {
        None => SampleOutcome::Declined,
        Some(mask) if mask.is_empty() => SampleOutcome::Empty,
        Some(_) => SampleOutcome::Segmented,
    };
    Sample {
        index,
        outcome,
        error: None,
        exists: item.exists,
        overlap: Overlap::of(predicted, &item.target),
        tokens: answer.timings.tokens,
        mask: mask.filter(|mask| !mask.is_empty()).map(|mask| mask.to_rle()),
        answer: answer.text,
        pairs,
        id: item.id,
        family: item.family,
        question: item.question,
    }
}

impl Measured {
    fn failed(index: usize, id: String, error: &EvalError) -> Self {
        let sample = Sample {
            index,
            id,
            family: String::new(),
            question: String::new(),
            answer: String::new(),
            outcome: SampleOutcome::Failed,
            error: Some(error.to_string()),
            exists: false,
            overlap: Overlap::default(),
            tokens: 0,
            mask: None,
            pairs: Vec::new(),
        };
        Self { sample, timings: Timings::default() }
    }
}
