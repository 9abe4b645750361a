//! `report.html`: the table, and the worst and best cases in pictures.

use crate::{EvalError, Evaluation, Sample, SampleOutcome, Summary};
use maskwise::atomic::write_atomic;
use maskwise::data::dataset::ValidationDataset;
use maskwise::draw::{Layer, OverlayStyle, overlay, palette_color, side_by_side};
use maskwise::image::RgbImage;
use maskwise::mask::{Mask, png};
use std::fmt::Write;
use std::path::Path;

/// Cases of each sort that are pictured.
const CASES: usize = 12;

/// Writes `report.html` and its pictures into the evaluation's folder.
///
/// # Errors
/// When a picture cannot be read again or the system refuses.
pub fn write_report(
    folder: &Path,
    evaluation: &Evaluation,
    summary: &Summary,
    items: &dyn ValidationDataset,
) -> Result<(), EvalError> {
    let pictures = folder.join("pictures");
    std::fs::create_dir_all(&pictures).map_err(|error| EvalError::io(&pictures, error))?;
    let mut sections = String::new();
    for (title, cases) in cases(&evaluation.samples, summary) {
        if cases.is_empty() {
            continue;
        }
        let mut cards = String::new();
        for sample in cases {
            let name = format!("{:06}.png", sample.index);
            png::write_rgb(&pictures.join(&name), &picture(sample, items)?)?;
            cards.push_str(&card(sample, &name, summary));
        }
        sections.push_str(&format!("<section><h2>{title}</h2><div class=cases>{cards}</div></section>\n"));
    }
    let title = escape(&evaluation.record.title());
    let page = TEMPLATE
        .replace("{{title}}", &title)
        .replace("{{table}}", &table(summary))
        .replace("{{sections}}", &sections);
    Ok(write_atomic(&folder.join("report.html"), |writer| writer.write_all(page.as_bytes()))?)
}

/// The cases that are pictured, by sort; each sample stands in one sort only.
fn cases<'a>(samples: &'a [Sample], summary: &Summary) -> Vec<(&'static str, Vec<&'a Sample>)> {
    let mut present: Vec<(f64, &Sample)> = samples
        .iter()
        .filter(|sample| sample.exists && sample.found())
        .filter_map(|sample| Some((summary.conventions.iou(&sample.overlap)?, sample)))
        .collect();
    present.sort_by(|(a, one), (b, two)| a.total_cmp(b).then(one.index.cmp(&two.index)));
    let few = (present.len() / 2).min(CASES);
    let of =
        |keep: &dyn Fn(&Sample) -> bool| samples.iter().filter(|sample| keep(sample)).take(CASES).collect();
    vec![
        ("Worst masks", present[..few].iter().map(|(_, sample)| *sample).collect()),
        ("Best masks", present[present.len() - few..].iter().rev().map(|(_, sample)| *sample).collect()),
        ("There, but without a mask", of(&|s| s.exists && !s.found() && s.outcome != SampleOutcome::Failed)),
        ("Absent, but with a mask", of(&|s| !s.exists && s.found())),
    ]
}

/// Picture, truth and prediction side by side.
fn picture(sample: &Sample, items: &dyn ValidationDataset) -> Result<RgbImage, EvalError> {
    let item = items.item(sample.index)?;
    let (width, height) = (item.image.width() as usize, item.image.height() as usize);
    let truth: Vec<u8> = item.target.iter().map(|value| u8::from(*value == 1)).collect();
    let unfit = |reason: String| EvalError::Benchmark(format!("{}: {reason}", sample.id));
    let tinted = |mask: &Mask, colour: usize| {
        let layer = Layer { mask, color: palette_color(colour), points: &[] };
        overlay(&item.image, &[layer], &OverlayStyle::for_image(&item.image))
            .map_err(|error| unfit(error.to_string()))
    };
    let truth = Mask::from_values(&truth, height, width).map_err(|error| unfit(error.to_string()))?;
    let prediction = sample.mask.as_ref().map_or_else(|| Mask::empty(width, height), |mask| mask.decode());
    Ok(side_by_side(&[&item.image, &tinted(&truth, 1)?, &tinted(&prediction, 0)?]))
}

fn card(sample: &Sample, picture: &str, summary: &Summary) -> String {
    let outcome = outcome(sample.outcome);
    let iou =
        summary.conventions.iou(&sample.overlap).map_or(String::new(), |iou| format!("IoU {iou:.3} · "));
    format!(
        "<figure data-outcome={outcome}><img loading=lazy src=\"pictures/{picture}\" alt=\"picture, truth, prediction\">\
         <figcaption><b>{}</b><br>{}<br><small>{iou}{outcome} · {} {}</small></figcaption></figure>\n",
        escape(&sample.question),
        escape(&sample.answer),
        escape(&sample.family),
        escape(&sample.id),
    )
}

fn outcome(outcome: SampleOutcome) -> &'static str {
    match outcome {
        SampleOutcome::Segmented => "segmented",
        SampleOutcome::Declined => "declined",
        SampleOutcome::Empty => "empty",
        SampleOutcome::Failed => "failed",
    }
}

fn table(summary: &Summary) -> String {
    let mut rows = String::new();
    for row in &summary.rows {
        let [at_5, _, at_7, _, at_9] = row.precision;
        // Writing into a string cannot fail.
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{at_5:.3}</td><td>{at_7:.3}</td><td>{at_9:.3}</td>\
             <td>{:.3}</td><td>{:.3}</td></tr>",
            escape(&row.name),
            row.count,
            row.giou_text(),
            row.ciou,
            row.see,
            row.no_mask,
            row.empty_mask
        );
    }
    rows
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const TEMPLATE: &str = include_str!("report.html");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_or_a_person_wrote_is_text() {
        assert_eq!(escape("<script>\"a\" & b"), "&lt;script&gt;&quot;a&quot; &amp; b");
    }
}
