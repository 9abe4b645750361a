use super::index_cache;
use crate::args::{
    DatasetArguments, DatasetCheckArguments, DatasetCommand, DatasetConvertArguments, DatasetShowArguments,
    DatasetStatsArguments, TargetLayout, WhichDataset,
};
use crate::exit::{Ending, one_line};
use crate::ui::Progress;
use anyhow::{Context, bail};
use maskwise::data::dataset::{Survey, Target, ValidationDataset, convert, survey};
use maskwise::data::text::QuestionTemplates;
use maskwise::draw::sheet::{arrange, cell};
use maskwise::image::{RgbImage, imageops};
use maskwise::mask::{Mask, png::write_rgb};
use maskwise_eval::Benchmark;
use std::io::Write;

pub(crate) fn run(arguments: &DatasetArguments, quiet: bool) -> anyhow::Result<Ending> {
    match &arguments.command {
        DatasetCommand::Check(check) => run_check(check, quiet),
        DatasetCommand::Stats(stats) => run_stats(stats, quiet),
        DatasetCommand::Show(show) => run_show(show, quiet),
        DatasetCommand::Convert(convert) => run_convert(convert, quiet),
    }
}

fn open(which: &WhichDataset) -> anyhow::Result<(Benchmark, Box<dyn ValidationDataset>)> {
    let Some(benchmark) = which.place.benchmark(&which.layout)? else {
        bail!(
            "tabletop is drawn, not read; write it with maskwise synth and name the layout that you chose there"
        );
    };
    let opened = benchmark.open(QuestionTemplates::bare(), &index_cache());
    let items = match benchmark.origin() {
        Some(origin) => opened.context(format!("cannot open {} ({origin})", benchmark.name()))?,
        None => opened?,
    };
    Ok((benchmark, items))
}

fn look_through(items: &dyn ValidationDataset, quiet: bool) -> Survey {
    let bar = Progress::new(quiet).count("reading");
    bar.set_length(items.len() as u64);
    let survey = survey(items, &mut |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    survey
}

fn run_check(arguments: &DatasetCheckArguments, quiet: bool) -> anyhow::Result<Ending> {
    let (benchmark, items) = open(&arguments.dataset)?;
    let survey = look_through(items.as_ref(), quiet);
    let mut out = std::io::stdout();
    for problem in survey.problems.iter().take(arguments.most) {
        writeln!(out, "question {}: {}", problem.index, one_line(&problem.reason))?;
    }
    let (wrong, all) = (survey.problems.len(), survey.questions);
    if wrong == 0 {
        writeln!(out, "{}: all {all} questions are sound", benchmark.name())?;
        return Ok(Ending::Done);
    }
    if wrong > arguments.most {
        writeln!(out, "… and {} more", wrong - arguments.most)?;
    }
    writeln!(out, "{}: {wrong} problems in {all} questions", benchmark.name())?;
    for (kind, count) in survey.problem_counts() {
        writeln!(out, "  {count} {}", kind.in_words())?;
    }
    if let Some(origin) = benchmark.origin() {
        writeln!(out, "{origin}")?;
    }
    Ok(Ending::SomeFailed)
}

fn run_stats(arguments: &DatasetStatsArguments, quiet: bool) -> anyhow::Result<Ending> {
    let (_, items) = open(&arguments.dataset)?;
    let survey = look_through(items.as_ref(), quiet);
    let mut out = std::io::stdout();
    match arguments.json {
        true => {
            serde_json::to_writer(&mut out, &survey)?;
            writeln!(out)?;
        }
        false => {
            write!(out, "{survey}")?;
            if !survey.problems.is_empty() {
                writeln!(out, "problems      {}; see maskwise dataset check", survey.problems.len())?;
            }
        }
    }
    Ok(Ending::Done)
}

/// Columns of a contact sheet, and the side of the square that a picture is fitted into.
const COLUMNS: usize = 6;
const SIDE: u32 = 256;

fn run_show(arguments: &DatasetShowArguments, quiet: bool) -> anyhow::Result<Ending> {
    let (_, items) = open(&arguments.dataset)?;
    let count = (arguments.count as usize).min(items.len());
    let mut cells = Vec::with_capacity(count);
    for number in 0..count {
        let item = items.item(number * items.len() / count)?;
        let inside: Vec<u8> =
            item.target.iter().map(|value| u8::from(*value != 0 && *value != 255)).collect();
        let mask = Mask::from_values(&inside, item.image.height() as usize, item.image.width() as usize)?;
        let (image, mask) = fit(&item.image, &mask);
        let remark = if item.exists { "" } else { "not there" };
        cells.push(cell(&image, &mask, item.text(), remark));
    }
    write_rgb(&arguments.output, &arrange(&cells, COLUMNS.min(count)))?;
    if !quiet {
        writeln!(std::io::stdout(), "wrote {}", arguments.output.display())?;
    }
    Ok(Ending::Done)
}

/// Picture and mask in the middle of a white square.
fn fit(image: &RgbImage, mask: &Mask) -> (RgbImage, Mask) {
    let scale = f64::from(SIDE) / f64::from(image.width().max(image.height()));
    let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, SIDE);
    let (width, height) = (scaled(image.width()), scaled(image.height()));
    let small = imageops::resize(image, width, height, imageops::FilterType::Triangle);
    let (left, top) = ((SIDE - width) / 2, (SIDE - height) / 2);
    let mut square = RgbImage::from_pixel(SIDE, SIDE, [255; 3].into());
    imageops::replace(&mut square, &small, left.into(), top.into());
    let mut squared = Mask::empty(SIDE as usize, SIDE as usize);
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        let from = |place: u32, of: u32, side: usize| (place as usize * side + side / 2) / of as usize;
        let inside = mask.get(
            from(x, width, mask.width).min(mask.width - 1),
            from(y, height, mask.height).min(mask.height - 1),
        );
        squared.data[((y + top) * SIDE + x + left) as usize] = u8::from(inside);
    }
    (square, squared)
}

fn run_convert(arguments: &DatasetConvertArguments, quiet: bool) -> anyhow::Result<Ending> {
    let (_, items) = open(&arguments.dataset)?;
    let target = match arguments.to {
        TargetLayout::Jsonl => Target::JsonLines,
        TargetLayout::Reasonseg => Target::ReasonSeg,
        TargetLayout::Coco => Target::Coco,
        TargetLayout::Labelme => Target::LabelMe,
    };
    let split = arguments.to_split.as_ref().or(arguments.dataset.place.split.as_ref());
    let split = split.map_or("val", String::as_str);
    let bar = Progress::new(quiet).count("converting");
    bar.set_length(items.len() as u64);
    let converted = convert(items.as_ref(), target, &arguments.output, split, &mut |done| {
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if !quiet {
        let mut out = std::io::stdout();
        writeln!(out, "wrote {} questions into {}", converted.questions, arguments.output.display())?;
        if converted.left_out > 0 {
            writeln!(
                out,
                "left out {} that this layout cannot hold: see maskwise dataset convert --help",
                converted.left_out
            )?;
        }
    }
    Ok(Ending::Done)
}
