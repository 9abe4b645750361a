//! A contact sheet of the Tabletop world.

use super::{SceneError, World};
use crate::draw::sheet::{arrange, cell};
use ::image::RgbImage;

/// Draws the first `count` pictures of `world` in `columns` columns, each with one of its questions below it and what is meant
/// tinted, with its outline in white.
///
/// # Errors
/// [`SceneError`] if a picture cannot be drawn.
pub fn contact_sheet(world: &World, count: u64, columns: usize) -> Result<RgbImage, SceneError> {
    let mut cells = Vec::new();
    for index in 0..count {
        let sample = world.sample(index)?;
        // Not always the first: later ones are of the rarer families.
        let question = sample.questions.get(index as usize % sample.questions.len().max(1));
        let Some(question) = question else { continue };
        let mask = question.mask(&sample.scene);
        let family = format!("{}: {}", question.family, question.text);
        cells.push(cell(&sample.scene.image, &mask, &family, &question.answer));
    }
    Ok(arrange(&cells, columns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tabletop::{SceneConfig, Split};

    #[test]
    fn a_sheet_has_a_cell_for_each_picture() {
        let world = World::new(1, Split::Train, SceneConfig { size: 96, ..SceneConfig::default() }).unwrap();
        let (one, five) = (contact_sheet(&world, 1, 3).unwrap(), contact_sheet(&world, 5, 3).unwrap());
        assert_eq!(five.dimensions(), (one.width(), 2 * one.height()));
    }
}
