//! One image, one question, one picture of the answer.
//!
//! ```sh
//! cargo run -p maskwise --example segment_image -- \
//!     embedded assets/demo/tabletop-a.jpg "Please point to the part of the scissors that is held in the hand." overlay.png
//! ```

#![allow(clippy::print_stdout)] // A program for the terminal.

use maskwise::{Segmenter, SegmenterOptions, image, mask};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, photo, question, output] = &arguments[..] else {
        return Err("usage: segment_image MODEL IMAGE QUESTION OUTPUT.png".into());
    };

    let segmenter = Segmenter::load(&model.parse()?, SegmenterOptions::default())?;
    let image = image::decode_path(Path::new(photo), &Default::default())?;
    let answer = segmenter.look(&image)?.ask(question)?;
    println!("{} ({:?}, {} mask(s))", answer.text, answer.outcome, answer.masks.len());
    mask::png::write_rgb(Path::new(output), &answer.draw_on(&image)?)?;
    Ok(())
}
