use crate::run::{ask, work};
use crate::{
    AskConfig, Benchmark, Conventions, DrawnWords, EvalError, Evaluation, Measured, RunFolder, RunRecord,
    Shard, Summary, near_random, write_report,
};
use maskwise::Segmenter;
use maskwise::atomic::write_new_folder;
use maskwise::data::dataset::{IndexCache, ValidationDataset};
use std::path::{Path, PathBuf};

/// An evaluation.
#[derive(Clone, Debug)]
pub struct EvaluateConfig {
    /// What the model is measured on.
    pub benchmark: Benchmark,
    /// Which part of it.
    pub shard: Shard,
    /// How it is asked.
    pub ask: AskConfig,
    /// What the words of the questions were drawn from, where they are not those of the model's templates.
    pub drawn_words: Option<DrawnWords>,
    /// Where everything is written; nowhere if absent.
    pub output: Option<PathBuf>,
    /// Go on with what is in `output`.
    pub resume: bool,
}

/// Asks `segmenter` the questions of the benchmark, opened with its [`Segmenter::question_templates`] as `items`. `on_progress` hears (items done, items in all) first and after each.
///
/// # Errors
/// When the benchmark or the folder cannot be opened, an item fails under [`OnError::Stop`](crate::OnError::Stop), or the system refuses.
/// What the folder holds by then stays, to be resumed.
pub fn evaluate(
    segmenter: &Segmenter,
    items: &dyn ValidationDataset,
    config: &EvaluateConfig,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, EvalError> {
    let record = RunRecord {
        maskwise: env!("CARGO_PKG_VERSION").to_owned(),
        data: config.benchmark.fingerprint()?,
        benchmark: config.benchmark.clone(),
        items: items.len(),
        shard: config.shard,
        model: segmenter.identity().clone(),
        weights: segmenter.fingerprint()?,
        prompting: segmenter.mask_prompting(),
        templates: segmenter.question_templates(),
        drawn_words: config.drawn_words.clone(),
        answers: config.ask.answers,
        max_new_tokens: config.ask.max_new_tokens,
    };
    let total = work(items, config.shard, 0).iter().map(ExactSizeIterator::len).sum();
    let (mut folder, mut done) = match &config.output {
        Some(path) if config.resume => {
            let (folder, done) = RunFolder::resume(path, record.clone())?;
            (Some(folder), done)
        }
        Some(path) => (Some(RunFolder::create(path, record.clone())?), 0),
        None => (None, 0),
    };
    let pictures = work(items, config.shard, done);
    on_progress(done, total);
    let mut samples = Vec::new();
    ask(segmenter, items, &pictures, &config.ask, &mut |measured: Measured| {
        if let Some(folder) = &mut folder {
            folder.add(&measured)?;
        }
        done += 1;
        on_progress(done, total);
        samples.push(measured.sample);
        Ok(())
    })?;
    match &config.output {
        // What was there before belongs to it.
        Some(path) => Evaluation::read(path),
        None => Ok(Evaluation { record, samples }),
    }
}

/// Sums a whole evaluation of `items` up and writes its tables and its report into `output`, where one is given.
///
/// # Errors
/// [`EvalError::NearRandom`] where the figures look like those of random weights and `accept_random` does not say that this is meant;
/// an unfinished evaluation, one without a single sample that counts, conventions that the benchmark does not have; when pictures cannot be
/// read again or the system refuses.
pub fn finish(
    evaluation: &Evaluation,
    items: &dyn ValidationDataset,
    conventions: Conventions,
    output: Option<&Path>,
    accept_random: bool,
) -> Result<Summary, EvalError> {
    let summary = summarize(evaluation, conventions, accept_random)?;
    if let Some(output) = output {
        write_results(evaluation, items, &summary, output)?;
    }
    Ok(summary)
}

/// As [`finish`], of shards that were merged: writes all of the folder, which must be new or empty, or nothing.
///
/// # Errors
/// As [`finish`].
pub fn finish_merged(
    evaluation: &Evaluation,
    conventions: Conventions,
    output: &Path,
    accept_random: bool,
) -> Result<Summary, EvalError> {
    let summary = summarize(evaluation, conventions, accept_random)?;
    let RunRecord { benchmark, data, templates, .. } = &evaluation.record;
    if benchmark.fingerprint()? != *data {
        let reason =
            format!("{} has changed since it was asked; the report cannot show it", benchmark.name());
        return Err(EvalError::Benchmark(reason));
    }
    let items = benchmark.open(templates.clone(), &IndexCache::none())?;
    write_new_folder(output, |part| {
        evaluation.write(part)?;
        write_results(evaluation, items.as_ref(), &summary, part)
    })?;
    Ok(summary)
}

fn summarize(
    evaluation: &Evaluation,
    conventions: Conventions,
    accept_random: bool,
) -> Result<Summary, EvalError> {
    evaluation.check_complete()?;
    let benchmark = &evaluation.record.benchmark;
    if conventions.padded_processes > 1 && !matches!(benchmark, Benchmark::ReasonSeg { .. }) {
        let reason = "padded processes repeat pictures of one question each, which ReasonSeg alone has";
        return Err(EvalError::Benchmark(reason.to_owned()));
    }
    if let (Some(reason), false) = (near_random(&evaluation.samples), accept_random) {
        return Err(EvalError::NearRandom(reason));
    }
    let summary = Summary::new(&evaluation.samples, &benchmark.families(), conventions);
    if summary.all().is_none() {
        let failed = summary.failed;
        return Err(EvalError::Benchmark(format!("no sample counts; {failed} of them failed")));
    }
    Ok(summary)
}

fn write_results(
    evaluation: &Evaluation,
    items: &dyn ValidationDataset,
    summary: &Summary,
    folder: &Path,
) -> Result<(), EvalError> {
    evaluation.write_tables(folder, summary)?;
    write_report(folder, evaluation, summary, items)
}
