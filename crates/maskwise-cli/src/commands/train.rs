use crate::args::{MergeArguments, TrainArguments};
use crate::exit::Ending;
use crate::ui::Progress;
use indicatif::ProgressBar;
use maskwise_train::StepReport;
use maskwise_train::session::{Begin, Recipe, Watcher, merge};
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;

/// What libraries read once, when a process starts, and what training wants of it: each of its threads computes a batch of its own, so
/// a library's own threads would only wait in their way (the tensor library's spin while they do), and memory that one step gives back is
/// needed again in the next.
const AT_START: [(&str, &str); 2] = [("RAYON_NUM_THREADS", "1"), ("MIMALLOC_PURGE_DELAY", "-1")];

/// Starts this command again with [`AT_START`], where somebody has not set it already. Only Unix can put a process in another's place;
/// elsewhere training is slower by what these settings save.
#[cfg(unix)]
fn start_with_settings() -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;
    if AT_START.iter().all(|(name, _)| std::env::var_os(name).is_some()) {
        return Ok(());
    }
    let missing = AT_START.iter().filter(|(name, _)| std::env::var_os(name).is_none());
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).envs(missing.copied());
    Err(anyhow::Error::new(command.exec()).context("cannot start again with the settings for training"))
}

#[cfg(not(unix))]
fn start_with_settings() -> anyhow::Result<()> {
    Ok(())
}

pub(crate) fn run(arguments: &TrainArguments, quiet: bool) -> anyhow::Result<Ending> {
    start_with_settings()?;
    let mut recipe = Recipe::read(&arguments.config)?;
    if let Some(folder) = &arguments.output {
        recipe.run_mut().folder = folder.clone();
    }
    if let Some(threads) = arguments.threads {
        recipe.run_mut().threads = threads;
    }
    if arguments.dry_run {
        write!(std::io::stdout(), "{}", recipe.plan()?)?;
        return Ok(Ending::Done);
    }
    let begin = if arguments.resume { Begin::Resume } else { Begin::New };
    let bar = Progress::new(quiet).steps();
    bar.set_length(recipe.run().steps);
    let mut watcher = Terminal { bar: bar.clone(), quiet };
    let progress = recipe.train(begin, &mut watcher)?;
    bar.finish_and_clear();
    if !quiet {
        let mut out = std::io::stdout();
        writeln!(out, "{} steps, in {}", progress.step, recipe.run().folder.display())?;
        if let Some(best) = &progress.best {
            writeln!(out, "best {} {:.4} after step {}", best.score, best.value, best.step)?;
        }
    }
    Ok(Ending::Done)
}

pub(crate) fn merge_run(arguments: &MergeArguments, quiet: bool) -> anyhow::Result<Ending> {
    let bar = Progress::new(quiet).count("merging");
    let dtype = arguments.dtype.map(Into::into);
    merge(&arguments.run, arguments.checkpoint.into(), &arguments.output, dtype, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if !quiet {
        writeln!(std::io::stdout(), "wrote {}", arguments.output.display())?;
    }
    Ok(Ending::Done)
}

/// Shows a run on a terminal: a bar, and a line for each validation.
struct Terminal {
    bar: ProgressBar,
    quiet: bool,
}

impl Watcher for Terminal {
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let terms: Vec<String> =
            report.terms.0.iter().map(|(name, value)| format!("{} {value:.4}", short(name))).collect();
        let memory =
            report.resident_bytes.map_or(String::new(), |bytes| format!(" {}", super::human_bytes(bytes)));
        self.bar.set_message(format!(
            "{} rate {:.2e} {:.2} samples/s{memory} {} left",
            terms.join(" "),
            report.learning_rate,
            report.samples_per_second,
            human_time(report.remaining)
        ));
        self.bar.set_position(report.step);
        ControlFlow::Continue(())
    }

    fn validated(&mut self, step: u64, scores: &[(String, f64)]) {
        if self.quiet {
            return;
        }
        let scores: Vec<String> = scores.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        self.bar.suspend(|| {
            // Where nobody reads, the run goes on; the log has it too.
            let _ = writeln!(std::io::stdout(), "step {step}: {}", scores.join(", "));
        });
    }

    fn notice(&mut self, text: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "maskwise: {text}");
        });
    }
}

fn short(name: &str) -> &str {
    name.strip_suffix("_loss").unwrap_or(name)
}

/// `3h12m`, `4m05s`, `17s`.
fn human_time(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_as_a_person_reads_it() {
        let of = |seconds| human_time(Duration::from_secs(seconds));
        assert_eq!([of(17), of(245), of(11_520)], ["17s", "4m05s", "3h12m"]);
    }
}
