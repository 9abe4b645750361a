use super::eval::jobs;
use super::index_cache;
use crate::args::{
    AnalysisArguments, AnalyzeArguments, AnalyzeCommand, AnalyzeCompareArguments, AnalyzePointsArguments,
    AnalyzeSegTokenArguments,
};
use crate::exit::Ending;
use crate::ui::Progress;
use anyhow::Context;
use indicatif::ProgressBar;
use maskwise::Segmenter;
use maskwise::atomic::{write_atomic, write_json};
use maskwise::data::dataset::ValidationDataset;
use maskwise::image::RgbImage;
use maskwise::mask::png::write_rgb;
use maskwise_eval::{
    AnalysisConfig, MaskRow, PointsGrid, Table, ablation, compare_sheets, masks_chart, points, points_chart,
    positives_chart, seg_token, similarity_sheets,
};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Questions that pictures are made of, where nothing else is said.
const PICTURED: usize = 12;
/// At most this many tokens are written for an answer.
const MOST_TOKENS: usize = 512;

pub(crate) fn run(arguments: &AnalyzeArguments, quiet: bool) -> anyhow::Result<Ending> {
    match &arguments.command {
        AnalyzeCommand::Points(arguments) => run_points(arguments, quiet)?,
        AnalyzeCommand::Ablate(arguments) => {
            let analysis = Analysis::open(arguments, quiet)?;
            let rows = ablation(
                &analysis.segmenter,
                analysis.items.as_ref(),
                &analysis.config,
                &mut analysis.progress(),
            )?;
            analysis.finish_masks(arguments, "ablation", &rows)?;
        }
        AnalyzeCommand::SegToken(AnalyzeSegTokenArguments { analysis: arguments, other_sam }) => {
            let analysis = Analysis::open(arguments, quiet)?;
            let other_sam = match other_sam {
                Some(source) => Some(Segmenter::load(source, Default::default())?),
                None => None,
            };
            let rows = seg_token(
                &analysis.segmenter,
                other_sam.as_ref(),
                analysis.items.as_ref(),
                &analysis.config,
                &mut analysis.progress(),
            )?;
            analysis.finish_masks(arguments, "seg-token", &rows)?;
        }
        AnalyzeCommand::Similarity(arguments) => {
            let folder = pictures_folder(arguments)?;
            let analysis = Analysis::open(arguments, quiet)?;
            let config = pictured(&analysis.config);
            let progress = &mut analysis.progress();
            let files =
                similarity_sheets(&analysis.segmenter, analysis.items.as_ref(), &config, folder, progress)?;
            analysis.bar.finish_and_clear();
            name(&files, quiet)?;
        }
        AnalyzeCommand::Compare(arguments) => run_compare(arguments, quiet)?,
    }
    Ok(Ending::Done)
}

/// What every analysis needs.
struct Analysis {
    segmenter: Segmenter,
    items: Box<dyn ValidationDataset>,
    config: AnalysisConfig,
    bar: ProgressBar,
    title: String,
}

impl Analysis {
    fn open(arguments: &AnalysisArguments, quiet: bool) -> anyhow::Result<Self> {
        let benchmark = arguments.tabletop.benchmark(&arguments.benchmark, &arguments.place)?;
        let segmenter = arguments.model.load(|_, _| ())?;
        let items = benchmark.open(segmenter.question_templates(), &index_cache())?;
        let config = AnalysisConfig {
            answers: arguments.answers.into(),
            max_new_tokens: MOST_TOKENS,
            jobs: arguments.jobs.unwrap_or_else(|| jobs(&segmenter)),
            limit: arguments.limit,
        };
        let title = format!("{}, {}", segmenter.identity().name, benchmark.name());
        Ok(Self { segmenter, items, config, bar: Progress::new(quiet).count("asking"), title })
    }

    fn progress(&self) -> impl FnMut(usize, usize) + use<> {
        let bar = self.bar.clone();
        move |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    }

    /// Prints a table and writes it where that was asked for.
    fn finish(
        &self,
        arguments: &AnalysisArguments,
        name: &str,
        table: &Table,
        rows: &impl Serialize,
    ) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        write!(std::io::stdout(), "{}\n\n{table}", self.title)?;
        if let Some(folder) = &arguments.output {
            table.write(folder, name)?;
            write_json(&folder.join(format!("{name}.json")), rows)?;
        }
        Ok(())
    }

    /// As [`Analysis::finish`], with a chart.
    fn finish_masks(
        &self,
        arguments: &AnalysisArguments,
        name: &str,
        rows: &[MaskRow],
    ) -> anyhow::Result<()> {
        self.finish(arguments, name, &Table::of_masks(rows), &rows)?;
        let chart = masks_chart(rows, &self.title);
        write_chart(arguments, name, &chart.to_svg(), &chart.to_image())
    }
}

/// Writes a chart where an output was asked for.
fn write_chart(arguments: &AnalysisArguments, name: &str, svg: &str, image: &RgbImage) -> anyhow::Result<()> {
    if let Some(folder) = &arguments.output {
        write_atomic(&folder.join(format!("{name}.svg")), |writer| writer.write_all(svg.as_bytes()))?;
        write_rgb(&folder.join(format!("{name}.png")), image)?;
    }
    Ok(())
}

fn run_points(arguments: &AnalyzePointsArguments, quiet: bool) -> anyhow::Result<()> {
    let analysis = Analysis::open(&arguments.analysis, quiet)?;
    let mut grid = PointsGrid::table_8();
    if !arguments.thresholds.is_empty() {
        grid.thresholds.clone_from(&arguments.thresholds);
    }
    if !arguments.num_points.is_empty() {
        grid.counts.clone_from(&arguments.num_points);
    }
    let progress = &mut analysis.progress();
    let cells = points(&analysis.segmenter, analysis.items.as_ref(), &grid, &analysis.config, progress)?;
    analysis.finish(&arguments.analysis, "points", &Table::of_points(&cells), &cells)?;
    for (name, chart) in [
        ("points", points_chart(&cells, &analysis.title)),
        ("positives", positives_chart(&cells, &analysis.title)),
    ] {
        write_chart(&arguments.analysis, name, &chart.to_svg(), &chart.to_image())?;
    }
    Ok(())
}

fn run_compare(arguments: &AnalyzeCompareArguments, quiet: bool) -> anyhow::Result<()> {
    let folder = pictures_folder(&arguments.analysis)?;
    let analysis = Analysis::open(&arguments.analysis, quiet)?;
    let (config, mut progress) = (pictured(&analysis.config), analysis.progress());
    let mut segmenters = vec![analysis.segmenter];
    for source in &arguments.with {
        segmenters.push(Segmenter::load(source, Default::default())?);
    }
    let files = compare_sheets(&segmenters, analysis.items.as_ref(), &config, folder, &mut progress)?;
    analysis.bar.finish_and_clear();
    name(&files, quiet)
}

fn pictures_folder(arguments: &AnalysisArguments) -> anyhow::Result<&Path> {
    arguments.output.as_deref().context("--output is missing: the folder that pictures are written into")
}

fn pictured(config: &AnalysisConfig) -> AnalysisConfig {
    AnalysisConfig { limit: Some(config.limit.unwrap_or(PICTURED)), ..*config }
}

fn name(files: &[PathBuf], quiet: bool) -> anyhow::Result<()> {
    if !quiet {
        let mut out = std::io::stdout();
        files.iter().try_for_each(|file| writeln!(out, "wrote {}", file.display()))?;
    }
    Ok(())
}
