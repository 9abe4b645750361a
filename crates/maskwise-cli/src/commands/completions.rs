use crate::args::{Cli, CompletionsArguments};
use crate::exit::Ending;
use clap::CommandFactory;
use std::io::Write;

pub(crate) fn run(arguments: &CompletionsArguments) -> anyhow::Result<Ending> {
    // Through a buffer: the generator itself panics when the reader goes away.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "maskwise", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Ending::Done)
}
