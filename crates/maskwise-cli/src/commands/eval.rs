use crate::args::{Benchmark, EvalArguments};
use crate::exit::Ending;
use crate::ui::Progress;
use maskwise::atomic::write_atomic;
use maskwise::tabletop::QuestionWeights;
use maskwise_eval::tabletop::{TabletopConfig, evaluate, summarize};
use std::io::Write;

pub(crate) fn run(arguments: &EvalArguments, quiet: bool) -> anyhow::Result<Ending> {
    let Benchmark::Tabletop = arguments.benchmark;
    let segmenter = arguments.model.load(|_, _| ())?;
    let config = TabletopConfig {
        world_seed: arguments.world_seed,
        split: arguments.split,
        count: arguments.count,
        questions: if arguments.even { QuestionWeights::even() } else { QuestionWeights::default() },
    };
    let bar = Progress::new(quiet).count("evaluating");
    bar.set_length(arguments.count);
    let samples = evaluate(&segmenter, &config, &|| bar.inc(1))?;
    bar.finish_and_clear();
    if let Some(path) = &arguments.output {
        write_atomic(path, |file| {
            for sample in &samples {
                serde_json::to_writer(&mut *file, sample)?;
                writeln!(file)?;
            }
            Ok(())
        })?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}, tabletop {}, answers generated", segmenter.identity().name, arguments.split)?;
    write!(out, "\n{}", summarize(&samples))?;
    Ok(Ending::Done)
}
