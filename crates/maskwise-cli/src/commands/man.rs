use crate::args::{Cli, ManArguments};
use crate::exit::Ending;
use anyhow::Context;
use clap::CommandFactory;

pub(crate) fn run(arguments: &ManArguments) -> anyhow::Result<Ending> {
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("cannot write man pages into {}", folder.display()))?;
    Ok(Ending::Done)
}
