use super::human_bytes;
use crate::args::DoctorArguments;
use crate::exit::Ending;
use maskwise::EmbeddedModel;
use maskwise::doctor::{Report, examine};
use maskwise::hub::Environment;
use std::io::{self, Write};

pub(crate) fn run(arguments: &DoctorArguments) -> anyhow::Result<Ending> {
    let report = examine(&Environment::from_env());
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write_text(&mut out, &report)?;
    }
    Ok(Ending::Done)
}

fn write_text(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), human_bytes);
    writeln!(out, "maskwise      {} on {}", report.version, report.platform)?;
    writeln!(out, "cores         {}", report.cores)?;
    writeln!(out, "instructions  {}", report.instruction_sets.join(", "))?;
    writeln!(out, "memory        {}, {} available", bytes(report.memory), bytes(report.memory_available))?;
    writeln!(out, "devices       {}", report.devices.join(", "))?;
    match &report.embedded_model {
        Some(EmbeddedModel { name, version, bytes, .. }) => {
            writeln!(out, "embedded      {name}, version {version}, {}", human_bytes(*bytes))?;
        }
        None => writeln!(out, "embedded      no model; every command needs a --model")?,
    }
    match (&report.cache, &report.cache_problem) {
        (Some(cache), _) => writeln!(out, "hub cache     {}", cache.display())?,
        (None, problem) => writeln!(out, "hub cache     none: {}", problem.as_deref().unwrap_or("unknown"))?,
    }
    if report.offline {
        writeln!(out, "              HF_HUB_OFFLINE is set: nothing is downloaded")?;
    }
    for (name, size) in &report.cached {
        writeln!(out, "              {name}, {}", human_bytes(*size))?;
    }
    if report.cached.is_empty() && report.cache.is_some() {
        writeln!(out, "              no model in it yet; `maskwise pull ORG/NAME` brings one")?;
    }
    Ok(())
}
