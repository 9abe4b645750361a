//! The files that an answer leaves behind.

use anyhow::Context;
use maskwise::image::RgbImage;
use maskwise::mask::labelme::LabelMe;
use maskwise::mask::png;
use maskwise::{Answer, Record};
use std::path::{Path, PathBuf};

/// Distance in pixels that a LabelMe outline may stray from the mask.
const LABELME_TOLERANCE: f64 = 0.5;

/// What is written, and where.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) folder: PathBuf,
    pub(crate) similarity: bool,
    pub(crate) labelme: bool,
    pub(crate) pictures: bool,
}

impl Output {
    /// Creates the folder and makes sure that it can be written to, before anything is computed.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        if !self.pictures {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create the output folder {}", self.folder.display()))?;
        let probe = self.folder.join(format!(".maskwise-{}", std::process::id()));
        std::fs::write(&probe, b"")
            .with_context(|| format!("cannot write into {}", self.folder.display()))?;
        std::fs::remove_file(&probe).with_context(|| format!("cannot write into {}", self.folder.display()))
    }

    /// Writes the pictures of `answer` on the image at `image_path` under `name` and notes them in `record`.
    pub(crate) fn write(
        &self,
        name: &str,
        image_path: &Path,
        image: &RgbImage,
        answer: &Answer,
        record: &mut Record,
    ) -> anyhow::Result<Vec<PathBuf>> {
        if !self.pictures || answer.masks.is_empty() {
            return Ok(Vec::new());
        }
        let mut written = Vec::new();
        let file = |suffix: &str| self.folder.join(format!("{name}{suffix}"));
        if let Some(parent) = file("").parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        let several = answer.masks.len() > 1;
        for (index, (mask, entry)) in answer.masks.iter().zip(&mut record.masks).enumerate() {
            let number = if several { format!("_{}", index + 1) } else { String::new() };
            let mut note = |path: PathBuf| {
                entry.files.push(path.display().to_string());
                written.push(path);
            };
            let path = file(&format!("_mask{number}.png"));
            png::write_mask(&path, &mask.mask)?;
            note(path);
            if self.similarity {
                let path = file(&format!("_similarity{number}.png"));
                png::write_rgb(&path, &mask.draw_similarity(image)?)?;
                note(path);
                if several {
                    let path = file(&format!("_overlay{number}.png"));
                    png::write_rgb(&path, &mask.draw_on(image)?)?;
                    note(path);
                }
            }
        }
        let mut note = |path: PathBuf| {
            record.files.push(path.display().to_string());
            written.push(path);
        };
        let path = file("_overlay.png");
        png::write_rgb(&path, &answer.draw_on(image)?)?;
        note(path);
        if self.labelme {
            let path = file("_labelme.json");
            write_labelme(&path, image_path, image, answer)?;
            note(path);
        }
        Ok(written)
    }
}

fn write_labelme(path: &Path, image_path: &Path, image: &RgbImage, answer: &Answer) -> anyhow::Result<()> {
    // LabelMe looks for the image from the folder of the annotation, which is not where this path starts from.
    let image_path = std::path::absolute(image_path)
        .with_context(|| format!("cannot tell where {} is", image_path.display()))?;
    let (width, height) = image.dimensions();
    let mut labelme = LabelMe::new(&image_path.display().to_string(), height as usize, width as usize);
    let several = answer.masks.len() > 1;
    for mask in &answer.masks {
        // What came before a single [SEG] is usually no more than "It is".
        let label = if several && !mask.phrase.is_empty() { &mask.phrase } else { &answer.question };
        labelme.add_mask(label, &mask.mask, LABELME_TOLERANCE);
    }
    Ok(labelme.write(path)?)
}
