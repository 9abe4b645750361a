use super::human_bytes;
use crate::args::PullArguments;
use crate::exit::Ending;
use crate::ui::Progress as Bars;
use maskwise::hub::{Environment, Progress, PullOptions, Snapshot, pull};
use std::io::Write;

pub(crate) fn run(arguments: &PullArguments, quiet: bool) -> anyhow::Result<Ending> {
    let bar = Bars::new(quiet).bytes("finding");
    let reference = arguments.repository.parse()?;
    let snapshot =
        pull(
            &Environment::from_env(),
            &reference,
            &PullOptions::default(),
            &mut |progress| match progress {
                Progress::FileStarted { file, bytes, already } => {
                    bar.set_length(bytes);
                    bar.set_position(already);
                    bar.set_message(file.to_owned());
                }
                Progress::FileAdvanced { done, .. } => bar.set_position(done),
                Progress::Waiting { file } => bar.set_message(format!("{file} (another process fetches it)")),
                Progress::Retrying { what, attempt, reason, .. } => {
                    bar.println(format!("{what}: {reason}; attempt {attempt} follows"));
                }
                Progress::VisionTowerSkipped { name } => {
                    bar.println(format!(
                        "the vision tower `{name}` is no repository of the hub and was not downloaded"
                    ));
                }
                _ => {}
            },
        )?;
    bar.finish_and_clear();
    if !quiet {
        let mut out = std::io::stdout();
        for snapshot in
            std::iter::successors(Some(&snapshot), |snapshot: &&Snapshot| snapshot.vision_tower.as_deref())
        {
            let fetched = human_bytes(snapshot.fetched_bytes);
            writeln!(out, "{} at {} ({fetched} downloaded)", snapshot.repo, snapshot.path.display())?;
        }
    }
    Ok(Ending::Done)
}
