use crate::args::BenchArguments;
use crate::exit::Ending;
use crate::ui::Progress;
use maskwise::bench::bench;
use std::io::{self, Write};

pub(crate) fn run(arguments: &BenchArguments, quiet: bool) -> anyhow::Result<Ending> {
    let threads = arguments.threads.unwrap_or(0) as usize;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let spinner = Progress::new(quiet).stages();
    let report = pool.install(|| {
        let on_stage = &mut |stage: &str| spinner.set_message(format!("measuring {stage}"));
        bench(&arguments.options(), on_stage).map_err(anyhow::Error::from)
    })?;
    spinner.finish_and_clear();
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(Ending::Done)
}
