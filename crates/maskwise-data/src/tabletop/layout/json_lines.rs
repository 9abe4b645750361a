//! Our own layout: a JSON line for each question.

use super::{LayoutError, World, create_folder, folder_name, write_file, write_jpeg};
use crate::dataset::{JsonLine, MaskSource};
use std::path::Path;

pub(super) fn write(
    world: &World,
    folder: &Path,
    count: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<(), LayoutError> {
    create_folder(&folder.join("images"))?;
    let file = folder.join(format!("{}.jsonl", folder_name(world.split())));
    let mut lines = Vec::new();
    for index in 0..count {
        let sample = world.sample(index)?;
        let image = format!("images/{index:06}.jpg");
        write_jpeg(&folder.join(&image), &sample.scene.image)?;
        for question in &sample.questions {
            let mask = || MaskSource::Code(question.mask(&sample.scene).to_rle());
            let line = JsonLine {
                image: image.clone(),
                question: Some(question.text.clone()),
                phrase: None,
                sentence: None,
                answer: Some(question.answer.clone()),
                masks: if question.exists() { vec![mask()] } else { Vec::new() },
                ignore: None,
                family: Some(question.family.name().to_owned()),
            };
            serde_json::to_writer(&mut lines, &line).map_err(|error| super::failed(&file, error.into()))?;
            lines.push(b'\n');
        }
        progress(index + 1);
    }
    write_file(&file, &lines)
}
