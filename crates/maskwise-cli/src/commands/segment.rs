use super::human_bytes;
use crate::args::SegmentArguments;
use crate::batch::{Answered, Answerer, OutputLine, cut_off, ending, without_mask};
use crate::exit::{Ending, describe, one_line};
use crate::output::Output;
use crate::questions::{Item, Items};
use crate::ui::{self, Progress};
use maskwise::doctor::peak_memory;
use maskwise::{AskMode, AskOptions, Timings};
use std::io::{self, Write};
use std::time::{Duration, Instant};

pub(crate) fn run(arguments: &SegmentArguments, quiet: bool) -> anyhow::Result<Ending> {
    let mut items = Items::open(&arguments.input, &arguments.questions, &arguments.output)?;
    if !items.batch && !arguments.input.exists() {
        anyhow::bail!("no such image: {}", arguments.input.display());
    }
    let output = Output {
        folder: arguments.output.clone(),
        similarity: arguments.save_all,
        labelme: arguments.save_all || arguments.labelme,
        pictures: !arguments.no_files,
    };
    output.prepare()?;
    let progress = Progress::new(quiet);
    let bar = progress.bytes("loading");
    let shown = bar.clone();
    let loading = Instant::now();
    let segmenter = arguments.model.load(move |read, total| {
        shown.set_length(total);
        shown.set_position(read);
    })?;
    bar.finish_and_clear();
    ui::name_embedded_model(&arguments.model.model, quiet)?;
    let loaded = loading.elapsed();

    let mode = arguments.answer.teacher_forced.clone().map_or(AskMode::Generate, AskMode::TeacherForced);
    let options =
        AskOptions { mode, max_new_tokens: arguments.answer.max_new_tokens, ..AskOptions::default() };
    let stages = progress.stages();
    let decode = arguments.image.options();
    let mut answerer = Answerer::new(&segmenter, decode, output, arguments.polygons, options, stages.clone());
    let json = arguments.json || items.batch;
    let mut out = io::stdout().lock();
    let mut worst = Ending::Done;
    while let Some(group) = items.next_group() {
        let answers: Vec<(Option<Item>, anyhow::Result<Answered>)> = match group {
            Ok(items) => {
                let answers = answerer.answer(&items);
                items.into_iter().map(Some).zip(answers).collect()
            }
            Err(error) => vec![(None, Err(error))],
        };
        for (item, answered) in &answers {
            worst = worst.max(match answered {
                Ok(answered) => ending(answered.answer.outcome),
                Err(_) => Ending::SomeFailed,
            });
            stages.suspend(|| match (answered, json) {
                (Ok(answered), true) => {
                    let id = item.as_ref().and_then(|item| item.id.as_ref());
                    write_line(&mut out, &OutputLine::Answered { id, record: &answered.record })
                }
                (Ok(answered), false) => write_text(&mut out, answered, quiet),
                (Err(error), true) => write_line(&mut out, &OutputLine::failed(item.as_ref(), error)),
                (Err(error), false) => writeln!(io::stderr(), "error: {}", describe(error)),
            })?;
            if let (true, Ok(answered)) = (arguments.timings, answered) {
                write_timings(loaded, &answered.answer.timings)?;
            }
        }
    }
    stages.finish_and_clear();
    Ok(worst)
}

/// Stage by stage, on the error stream: results stay clean.
fn write_timings(loaded: Duration, timings: &Timings) -> io::Result<()> {
    let Timings { encode_for_language, answer, encode_for_masks, masks, tokens } = timings;
    let memory = peak_memory().map_or_else(|| "unknown".to_owned(), human_bytes);
    writeln!(
        io::stderr(),
        "load {:.2} s, encode for language {encode_for_language:.2} s, answer {answer:.2} s ({tokens} tokens), \
         encode for masks {encode_for_masks:.2} s, masks {masks:.2} s, peak memory {memory}",
        loaded.as_secs_f64()
    )
}

fn write_line(out: &mut impl Write, line: &OutputLine) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn write_text(out: &mut impl Write, answered: &Answered, quiet: bool) -> io::Result<()> {
    let answer = &answered.answer;
    writeln!(out, "{}", one_line(&answer.text))?;
    if quiet {
        return Ok(());
    }
    if let Some(reason) = without_mask(answer.outcome) {
        writeln!(out, "  {reason}")?;
    }
    if let Some(reason) = cut_off(answer.stop) {
        writeln!(out, "  {reason}")?;
    }
    let total = f64::from(answered.record.size[0]) * f64::from(answered.record.size[1]);
    for (entry, mask) in answered.record.masks.iter().zip(&answer.masks) {
        let share = 100.0 * entry.area as f64 / total;
        writeln!(
            out,
            "  mask: {} pixels ({share:.1} %), predicted IoU {:.2}, {} points",
            entry.area,
            entry.scores.predicted_iou,
            mask.points.len()
        )?;
    }
    for file in &answered.files {
        writeln!(out, "  wrote {}", file.display())?;
    }
    Ok(())
}
