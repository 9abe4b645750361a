//! The maskwise command line: argument types, commands, progress, exit codes. What a library user would miss is in `maskwise`.

mod args;
mod batch;
mod commands;
mod decode;
mod exit;
mod output;
mod panics;
mod questions;
mod ui;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    panics::install();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let result = maskwise::check_instructions().map_err(anyhow::Error::from).and_then(|()| run(&cli));
    exit::finish(result)
}

fn run(cli: &Cli) -> anyhow::Result<exit::Ending> {
    match &cli.command {
        Command::Segment(arguments) => commands::segment::run(arguments, cli.quiet),
        Command::Chat(arguments) => commands::chat::run(arguments, cli.quiet),
        Command::Train(arguments) => commands::train::run(arguments, cli.quiet),
        Command::Merge(arguments) => commands::train::merge_run(arguments, cli.quiet),
        Command::Eval(arguments) => commands::eval::run(arguments, cli.quiet),
        Command::Analyze(arguments) => commands::analyze::run(arguments, cli.quiet),
        Command::Dataset(arguments) => commands::dataset::run(arguments, cli.quiet),
        Command::Convert(arguments) => commands::convert::run(arguments, cli.quiet),
        Command::Inspect(arguments) => commands::inspect::run(arguments),
        Command::Pull(arguments) => commands::pull::run(arguments, cli.quiet),
        Command::Synth(arguments) => commands::synth::run(arguments, cli.quiet),
        Command::Bench(arguments) => commands::bench::run(arguments, cli.quiet),
        Command::Doctor(arguments) => commands::doctor::run(arguments),
        Command::Completions(arguments) => commands::completions::run(arguments),
        Command::Man(arguments) => commands::man::run(arguments),
    }
}
