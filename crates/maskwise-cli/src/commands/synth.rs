use crate::args::SynthArguments;
use crate::exit::Ending;
use crate::ui::Progress;
use maskwise::mask::png::write_rgb;
use maskwise::tabletop::{SceneConfig, World, contact_sheet, write_layout};
use std::io::Write;

/// Pictures of a dataset, and of a contact sheet, where the command does not say how many.
const DATASET: u64 = 1000;
const SHEET: u64 = 24;
/// Most pictures of a contact sheet, which is held in memory.
const SHEET_LIMIT: u64 = 400;
/// Its columns.
const COLUMNS: usize = 6;

pub(crate) fn run(arguments: &SynthArguments, quiet: bool) -> anyhow::Result<Ending> {
    let scenes = SceneConfig { size: arguments.size, ..SceneConfig::default() };
    let world = World::new(arguments.seed, arguments.split, scenes)?;
    let written = if let (Some(folder), Some(layout)) = (&arguments.output, arguments.layout) {
        let count = arguments.count.unwrap_or(DATASET);
        let bar = Progress::new(quiet).count("drawing");
        bar.set_length(count);
        write_layout(&world, layout, folder, count, &mut |done| bar.set_position(done))?;
        bar.finish_and_clear();
        folder
    } else if let Some(file) = &arguments.show {
        let count = arguments.count.unwrap_or(SHEET);
        if !(1..=SHEET_LIMIT).contains(&count) {
            anyhow::bail!("a contact sheet of {count} pictures cannot be drawn: choose 1 to {SHEET_LIMIT}");
        }
        write_rgb(file, &contact_sheet(&world, count, COLUMNS.min(count as usize))?)?;
        file
    } else {
        anyhow::bail!("give --output with --layout, or --show");
    };
    if !quiet {
        writeln!(std::io::stdout(), "wrote {}", written.display())?;
    }
    Ok(Ending::Done)
}
