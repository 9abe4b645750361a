use crate::run::{ask, work};
use crate::{
    AskConfig, Benchmark, Conventions, EvalError, Evaluation, Measured, RunFolder, RunRecord, Shard, Summary,
    near_random, write_report,
};
use maskwise::Segmenter;
use std::path::PathBuf;

/// An evaluation.
#[derive(Clone, Debug)]
pub struct EvaluateConfig {
    /// What the model is measured on.
    pub benchmark: Benchmark,
    /// Which part of it.
    pub shard: Shard,
    /// How it is asked.
    pub ask: AskConfig,
    /// Where everything is written; nowhere if absent.
    pub output: Option<PathBuf>,
    /// Go on with what is in `output`.
    pub resume: bool,
}

/// Asks `segmenter` the questions of the benchmark. `on_progress` hears (items done, items in all) first and after each.
///
/// # Errors
/// When the benchmark or the folder cannot be opened, an item fails under [`OnError::Stop`](crate::OnError::Stop), or the system refuses.
/// What the folder holds by then stays, to be resumed.
pub fn evaluate(
    segmenter: &Segmenter,
    config: &EvaluateConfig,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, EvalError> {
    let templates = segmenter.question_templates();
    let items = config.benchmark.open(templates.clone())?;
    let record = RunRecord {
        maskwise: env!("CARGO_PKG_VERSION").to_owned(),
        data: config.benchmark.fingerprint()?,
        benchmark: config.benchmark.clone(),
        items: items.len(),
        shard: config.shard,
        model: segmenter.identity().clone(),
        weights: segmenter.fingerprint()?,
        templates,
        answers: config.ask.answers,
        max_new_tokens: config.ask.max_new_tokens,
    };
    let total = work(items.as_ref(), config.shard, 0).iter().map(ExactSizeIterator::len).sum();
    let (mut folder, mut done) = match &config.output {
        Some(path) if config.resume => {
            let (folder, done) = RunFolder::resume(path, record.clone())?;
            (Some(folder), done)
        }
        Some(path) => (Some(RunFolder::create(path, record.clone())?), 0),
        None => (None, 0),
    };
    let pictures = work(items.as_ref(), config.shard, done);
    on_progress(done, total);
    let mut samples = Vec::new();
    ask(segmenter, items.as_ref(), &pictures, &config.ask, &mut |measured: Measured| {
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

/// Sums a whole evaluation up and writes its tables and its report into `output`, where one is given.
///
/// # Errors
/// [`EvalError::NearRandom`] where the figures look like those of random weights and `accept_random` does not say that this is meant;
/// when pictures cannot be read again or the system refuses.
pub fn finish(
    evaluation: &Evaluation,
    conventions: Conventions,
    output: Option<&std::path::Path>,
    accept_random: bool,
) -> Result<Summary, EvalError> {
    if let (Some(reason), false) = (near_random(&evaluation.samples), accept_random) {
        return Err(EvalError::NearRandom(reason));
    }
    let benchmark = &evaluation.record.benchmark;
    let summary = Summary::new(&evaluation.samples, &benchmark.families(), conventions);
    if let Some(output) = output {
        evaluation.write_tables(output, &summary)?;
        let items = benchmark.open(evaluation.record.templates.clone())?;
        write_report(output, evaluation, &summary, items.as_ref())?;
    }
    Ok(summary)
}
