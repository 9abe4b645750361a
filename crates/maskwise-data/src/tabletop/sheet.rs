//! A contact sheet: pictures with a question, its answer and its mask, to look at.

use super::{SceneError, World};
use crate::draw::blend::blend;
use crate::mask::Mask;
use ::image::{Rgb, RgbImage, imageops};

mod font;

const BACKGROUND: Rgb<u8> = Rgb([255, 255, 255]);
const QUESTION: Rgb<u8> = Rgb([0, 0, 0]);
const ANSWER: Rgb<u8> = Rgb([20, 60, 160]);
/// Colour of a mask and its weight on the picture.
const TINT: ([u8; 3], f64) = ([255, 0, 255], 0.3);
/// Pixels around a cell.
const MARGIN: usize = 6;
/// Lines of text under a picture.
const LINES: usize = 7;
/// Narrower cells could not hold a sentence.
const LEAST_WIDTH: usize = 200;

/// Draws the first `count` pictures of `world` in `columns` columns, each with one of its questions below it and what is meant
/// tinted, with its outline in white.
///
/// # Errors
/// [`SceneError`] if a picture cannot be drawn.
pub fn contact_sheet(world: &World, count: u64, columns: usize) -> Result<RgbImage, SceneError> {
    let columns = columns.max(1);
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
    let (width, height) = cells.first().map_or((1, 1), RgbImage::dimensions);
    let rows = cells.len().div_ceil(columns) as u32;
    let mut sheet = RgbImage::from_pixel(width * columns as u32, height * rows.max(1), BACKGROUND);
    for (number, cell) in cells.iter().enumerate() {
        let (column, row) = (number % columns, number / columns);
        imageops::replace(&mut sheet, cell, i64::from(width) * column as i64, i64::from(height) * row as i64);
    }
    Ok(sheet)
}

fn cell(image: &RgbImage, mask: &Mask, question: &str, answer: &str) -> RgbImage {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let cell_width = width.max(LEAST_WIDTH) + 2 * MARGIN;
    let cell_height = height + 2 * MARGIN + LINES * font::LINE;
    let mut cell = RgbImage::from_pixel(cell_width as u32, cell_height as u32, BACKGROUND);
    let mut picture = blend(image, mask, TINT.0, 1.0 - TINT.1, TINT.1).unwrap_or_else(|_| image.clone());
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        let outside = |x: usize, y: usize| !mask.get(x, y);
        // Pixels beyond the border are not of the mask either.
        let around = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
        if mask.get(x, y) && around.iter().any(|&(x, y)| outside(x, y)) {
            picture.put_pixel(x as u32, y as u32, BACKGROUND);
        }
    }
    imageops::replace(&mut cell, &picture, MARGIN as i64, MARGIN as i64);
    let letters = (cell_width - 2 * MARGIN) / font::ADVANCE;
    let mut y = height + 2 * MARGIN;
    for (text, colour) in [(question, QUESTION), (answer, ANSWER)] {
        for line in wrap(text, letters) {
            write(&mut cell, MARGIN, y, &line, colour);
            y += font::LINE;
        }
    }
    cell
}

/// Lines of at most `letters` letters, broken at spaces.
fn wrap(text: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= letters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Writes a line with its upper left corner at `(x, y)`; what does not fit is left out.
fn write(image: &mut RgbImage, x: usize, y: usize, text: &str, colour: Rgb<u8>) {
    for (number, letter) in text.chars().enumerate() {
        for (row, bits) in font::rows(letter).into_iter().enumerate() {
            for column in (0..5).filter(|column| bits >> (4 - column) & 1 == 1) {
                let (x, y) = ((x + number * font::ADVANCE + column) as u32, (y + row) as u32);
                if let Some(pixel) = image.get_pixel_mut_checked(x, y) {
                    *pixel = colour;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tabletop::{SceneConfig, Split};

    #[test]
    fn a_sheet_has_a_cell_for_each_picture() {
        let world = World::new(1, Split::Train, SceneConfig { size: 96, ..SceneConfig::default() }).unwrap();
        let sheet = contact_sheet(&world, 5, 3).unwrap();
        let (width, height) = (LEAST_WIDTH + 2 * MARGIN, 96 + 2 * MARGIN + LINES * font::LINE);
        assert_eq!(sheet.dimensions(), (3 * width as u32, 2 * height as u32));
        // The picture is in its place, outside of the mask.
        let picture = world.sample(1).unwrap().scene.image;
        let kept = picture.enumerate_pixels().filter(|(x, y, pixel)| {
            *sheet.get_pixel((width + MARGIN) as u32 + x, MARGIN as u32 + y) == **pixel
        });
        assert!(kept.count() > 96 * 96 / 4);
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("the part of the deer", 9), ["the part", "of the", "deer"]);
    }

    #[test]
    fn every_letter_of_our_texts_is_drawn() {
        let world = World::new(2, Split::Unseen, SceneConfig { size: 64, ..SceneConfig::default() }).unwrap();
        for question in (0..40).flat_map(|index| world.sample(index).unwrap().questions) {
            for letter in question.text.chars().chain(question.answer.chars()) {
                assert_ne!(font::rows(letter), font::rows('\u{7f}'), "{letter:?}");
            }
        }
    }
}
