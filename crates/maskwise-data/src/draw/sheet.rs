//! Contact sheets: pictures with a question, its answer and its mask, to look at.

use super::blend::blend;
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

/// Arranges cells of one size in `columns` columns, row by row.
pub fn arrange(cells: &[RgbImage], columns: usize) -> RgbImage {
    let columns = columns.max(1);
    let (width, height) = cells.first().map_or((1, 1), RgbImage::dimensions);
    let rows = cells.len().div_ceil(columns) as u32;
    let mut sheet = RgbImage::from_pixel(width * columns as u32, height * rows.max(1), BACKGROUND);
    for (number, cell) in cells.iter().enumerate() {
        let (column, row) = (number % columns, number / columns);
        imageops::replace(&mut sheet, cell, i64::from(width) * column as i64, i64::from(height) * row as i64);
    }
    sheet
}

/// A picture with its mask tinted and outlined in white, and a question with its answer below it.
pub fn cell(image: &RgbImage, mask: &Mask, question: &str, answer: &str) -> RgbImage {
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
pub(super) fn write(image: &mut RgbImage, x: usize, y: usize, text: &str, colour: Rgb<u8>) {
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

    #[test]
    fn a_cell_holds_its_picture_and_a_sheet_its_cells() {
        let picture = RgbImage::from_fn(96, 96, |x, y| Rgb([x as u8, y as u8, 7]));
        let mut mask = Mask::empty(96, 96);
        mask.data[..96 * 20].fill(1);
        let cell = cell(&picture, &mask, "the upper part", "It is [SEG].");
        let (width, height) = (LEAST_WIDTH + 2 * MARGIN, 96 + 2 * MARGIN + LINES * font::LINE);
        assert_eq!(cell.dimensions(), (width as u32, height as u32));
        let kept =
            |x: u32, y: u32| cell.get_pixel(MARGIN as u32 + x, MARGIN as u32 + y) == picture.get_pixel(x, y);
        assert!(kept(40, 60) && !kept(40, 10));
        let below = (0..width as u32).flat_map(|x| (96 + 12..height as u32).map(move |y| (x, y)));
        assert!(below.filter(|(x, y)| *cell.get_pixel(*x, *y) == QUESTION).count() > 50, "there is text");
        let sheet = arrange(&vec![cell.clone(); 5], 3);
        assert_eq!(sheet.dimensions(), (3 * width as u32, 2 * height as u32));
        assert_eq!(sheet.get_pixel(width as u32 + 40, height as u32 + 60), cell.get_pixel(40, 60));
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("the part of the deer", 9), ["the part", "of the", "deer"]);
    }

    #[test]
    fn every_letter_of_tabletop_s_texts_is_drawn() {
        use crate::tabletop::{SceneConfig, Split, World};
        let world = World::new(2, Split::Unseen, SceneConfig { size: 64, ..SceneConfig::default() }).unwrap();
        for question in (0..40).flat_map(|index| world.sample(index).unwrap().questions) {
            for letter in question.text.chars().chain(question.answer.chars()) {
                assert_ne!(font::rows(letter), font::rows('\u{7f}'), "{letter:?}");
            }
        }
    }
}
