//! Where the language model looks: the similarity of `[SEG]` with the image, as a heat map, and the points made of it.
//!
//! ```sh
//! cargo run -p maskwise --example inspect_similarity -- \
//!     embedded assets/demo/tabletop-a.jpg "Please point to the part of the scissors that is held in the hand." similarity.png
//! ```

#![allow(clippy::print_stdout)] // A program for the terminal.

use maskwise::{Segmenter, SegmenterOptions, image, mask};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, photo, question, output] = &arguments[..] else {
        return Err("usage: inspect_similarity MODEL IMAGE QUESTION OUTPUT.png".into());
    };

    let segmenter = Segmenter::load(&model.parse()?, SegmenterOptions::default())?;
    let image = image::decode_path(Path::new(photo), &Default::default())?;
    let answer = segmenter.look(&image)?.ask(question)?;
    println!("{}", answer.text);
    let Some(first) = answer.masks.first() else {
        return Err("the answer has no [SEG], so there is no map".into());
    };

    // Row-major, one value for each pixel; 0 outside of the central square that CLIP saw.
    let similarity = first.similarity_map()?;
    println!("{:>9} {:>9} {:>6} {:>11}", "x", "y", "label", "similarity");
    for point in &first.points {
        let pixel = point.y as usize * image.width() as usize + point.x as usize;
        println!("{:>9.3} {:>9.3} {:>6} {:>11.3}", point.x, point.y, point.label, similarity[pixel]);
    }
    mask::png::write_rgb(Path::new(output), &first.draw_similarity(&image)?)?;
    Ok(())
}
