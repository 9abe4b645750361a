use super::{AnalysisConfig, ask, refused};
use crate::EvalError;
use maskwise::data::dataset::{ValidationDataset, ValidationItem};
use maskwise::draw::heat_map;
use maskwise::draw::sheet::{arrange, cell};
use maskwise::image::RgbImage;
use maskwise::mask::{Mask, png::write_rgb};
use maskwise::{AnswerMask, DecoderToken, Segmenter};
use std::path::{Path, PathBuf};

/// Writes a sheet for each of the first questions into `folder`, as in Figures 1 and 4 of the paper: the picture with the truth, the
/// similarity of `[SEG]` with the language model's image tokens and its points, with the projector's image tokens, with the cells of SAM's
/// decoder (the token of `[SEG]`, and the one that the original's figures show), and the mask. Returns the files.
///
/// # Errors
/// When an item cannot be read, the model refuses it, or a file cannot be written.
pub fn similarity_sheets(
    segmenter: &Segmenter,
    items: &dyn ValidationDataset,
    config: &AnalysisConfig,
    folder: &Path,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<PathBuf>, EvalError> {
    each_sheet(items, config, folder, on_progress, &|item| {
        let mut scene = segmenter.look(&item.image).map_err(refused(item))?;
        let answer = ask(segmenter, &mut scene, item, config)?;
        let mut cells = vec![truth(item)];
        match answer.masks.first() {
            None => cells.push(note(&item.image, "no mask", &answer.text)),
            Some(mask) => cells.extend(maps(mask, item, &answer.text)?),
        }
        Ok(cells)
    })
}

/// Writes a sheet for each of the first questions into `folder`, as in Figures 3 and 8: the picture with the truth, then the similarity
/// with its points and the mask of each of several models. Returns the files.
///
/// # Errors
/// As [`similarity_sheets`].
pub fn compare_sheets(
    segmenters: &[Segmenter],
    items: &dyn ValidationDataset,
    config: &AnalysisConfig,
    folder: &Path,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<PathBuf>, EvalError> {
    each_sheet(items, config, folder, on_progress, &|item| {
        let mut cells = vec![truth(item)];
        for segmenter in segmenters {
            let mut scene = segmenter.look(&item.image).map_err(refused(item))?;
            let answer = ask(segmenter, &mut scene, item, config)?;
            let name = &segmenter.identity().name;
            match answer.masks.first() {
                None => cells.push(note(&item.image, name, &answer.text)),
                Some(mask) => {
                    let heat = mask.draw_similarity(&item.image).map_err(refused(item))?;
                    cells.push(note(&heat, name, "similarity with the image tokens"));
                    cells.push(cell(&item.image, &mask.mask, name, &answer.text));
                }
            }
        }
        Ok(cells)
    })
}

fn each_sheet(
    items: &dyn ValidationDataset,
    config: &AnalysisConfig,
    folder: &Path,
    on_progress: &mut dyn FnMut(usize, usize),
    draw: &dyn Fn(&ValidationItem) -> Result<Vec<RgbImage>, EvalError>,
) -> Result<Vec<PathBuf>, EvalError> {
    std::fs::create_dir_all(folder).map_err(|error| EvalError::io(folder, error))?;
    let total = config.limit.unwrap_or(items.len()).min(items.len());
    let mut files = Vec::with_capacity(total);
    for index in 0..total {
        let cells = draw(&items.item(index)?)?;
        let file = folder.join(format!("{index:06}.png"));
        write_rgb(&file, &arrange(&cells, cells.len()))?;
        files.push(file);
        on_progress(index + 1, total);
    }
    Ok(files)
}

/// The maps and the mask of an answer.
fn maps(mask: &AnswerMask, item: &ValidationItem, answer: &str) -> Result<Vec<RgbImage>, EvalError> {
    let image = &item.image;
    let shown = |map: maskwise::Result<Vec<f32>>, name: &str| {
        let heat = heat_map(image, &map.map_err(refused(item))?);
        let heat = heat.map_err(|error| EvalError::Benchmark(format!("{}: {error}", item.id)))?;
        Ok::<_, EvalError>(note(&heat, name, ""))
    };
    let language = mask.draw_similarity(image).map_err(refused(item))?;
    Ok(vec![
        note(&language, "language model, with points", ""),
        shown(mask.projector_similarity_map(), "projector")?,
        shown(mask.decoder_similarity_map(DecoderToken::Seg), "SAM's decoder, token of [SEG]")?,
        shown(mask.decoder_similarity_map(DecoderToken::Original), "SAM's decoder, the original's token")?,
        cell(image, &mask.mask, "mask", answer),
    ])
}

fn truth(item: &ValidationItem) -> RgbImage {
    let inside = item.target.iter().map(|value| u8::from(*value == 1)).collect();
    let (width, height) = (item.image.width() as usize, item.image.height() as usize);
    let mask = Mask { width, height, data: inside };
    cell(&item.image, &mask, &item.question, if item.exists { "truth" } else { "not there" })
}

/// A picture without a mask, and words below it.
fn note(image: &RgbImage, title: &str, remark: &str) -> RgbImage {
    cell(image, &Mask::empty(image.width() as usize, image.height() as usize), title, remark)
}
