use super::index_cache;
use crate::args::{
    EvalArguments, EvalCommand, EvalCompareArguments, EvalMergeArguments, EvalRunArguments, OnErrorChoice,
};
use crate::exit::Ending;
use crate::ui::Progress;
use anyhow::bail;
use maskwise::Segmenter;
use maskwise::data::dataset::{DrawnTemplates, Templates};
use maskwise::data::fingerprint::of_paths;
use maskwise_eval::{
    AskConfig, Comparison, DrawnWords, EvaluateConfig, Evaluation, OnError, Summary, evaluate, finish,
    finish_merged, merge,
};
use std::io::Write;

pub(crate) fn run(arguments: &EvalArguments, quiet: bool) -> anyhow::Result<Ending> {
    match &arguments.command {
        Some(EvalCommand::Merge(merging)) => merge_shards(merging),
        Some(EvalCommand::Compare(comparing)) => compare(comparing),
        None => measure(&arguments.run, quiet),
    }
}

fn measure(arguments: &EvalRunArguments, quiet: bool) -> anyhow::Result<Ending> {
    let Some(name) = &arguments.benchmark else {
        bail!("name a benchmark, or merge, or compare; see maskwise eval --help");
    };
    let benchmark = arguments.tabletop.benchmark(name, &arguments.place)?;
    let segmenter = arguments.model.load(|_, _| ())?;
    let mut items = benchmark.open(segmenter.question_templates(), &index_cache())?;
    let mut drawn_words = None;
    if let Some(file) = &arguments.templates {
        let seed = arguments.template_seed;
        drawn_words = Some(DrawnWords { pools: of_paths(&[file.as_path()])?, seed });
        items = Box::new(DrawnTemplates::new(
            items,
            segmenter.question_templates(),
            Templates::read(file)?,
            seed,
        ));
    }
    let config = EvaluateConfig {
        benchmark,
        shard: arguments.shard.unwrap_or_default(),
        ask: AskConfig {
            answers: arguments.answers.into(),
            max_new_tokens: arguments.max_new_tokens,
            jobs: arguments.jobs.unwrap_or_else(|| jobs(&segmenter)),
            on_error: match arguments.on_error {
                OnErrorChoice::Stop => OnError::Stop,
                OnErrorChoice::Skip => OnError::Skip,
            },
        },
        drawn_words,
        output: arguments.output.clone(),
        resume: arguments.resume,
    };
    let bar = Progress::new(quiet).count("evaluating");
    let evaluation = evaluate(&segmenter, items.as_ref(), &config, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if config.shard.of > 1 {
        // The figures of a part are nobody's figures.
        let mut out = std::io::stdout();
        writeln!(
            out,
            "{} items of {} done; merge the parts",
            evaluation.samples.len(),
            evaluation.record.items
        )?;
        return Ok(Ending::Done);
    }
    let scoring = &arguments.scoring;
    let summary = finish(
        &evaluation,
        items.as_ref(),
        scoring.conventions(),
        config.output.as_deref(),
        scoring.accept_random,
    )?;
    print(&evaluation, &summary)
}

/// A small model leaves cores idle that a large one uses for one picture.
pub(crate) fn jobs(segmenter: &Segmenter) -> usize {
    const SMALL: u64 = 100_000_000;
    match segmenter.parameters() {
        small if small < SMALL => std::thread::available_parallelism().map_or(1, usize::from),
        _ => 1,
    }
}

fn merge_shards(arguments: &EvalMergeArguments) -> anyhow::Result<Ending> {
    let evaluation = merge(&arguments.shards)?;
    let scoring = &arguments.scoring;
    let summary =
        finish_merged(&evaluation, scoring.conventions(), &arguments.output, scoring.accept_random)?;
    print(&evaluation, &summary)
}

fn compare(arguments: &EvalCompareArguments) -> anyhow::Result<Ending> {
    let (first, second) = (Evaluation::read(&arguments.first)?, Evaluation::read(&arguments.second)?);
    let comparison = Comparison::new(&first, &second, &arguments.conventions.conventions())?;
    let mut out = std::io::stdout();
    match arguments.json {
        true => {
            serde_json::to_writer(&mut out, &comparison)?;
            writeln!(out)?;
        }
        false => write!(out, "{comparison}")?,
    }
    Ok(Ending::Done)
}

fn print(evaluation: &Evaluation, summary: &Summary) -> anyhow::Result<Ending> {
    let mut out = std::io::stdout();
    write!(out, "{}\n\n{summary}", evaluation.record.title())?;
    Ok(if summary.failed > 0 { Ending::SomeFailed } else { Ending::Done })
}
