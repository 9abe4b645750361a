//! Many questions about one image, one JSON line each. The image is encoded for the first question and reused.
//!
//! ```sh
//! cargo run -p maskwise --example several_questions -- \
//!     embedded assets/demo/tabletop-a.jpg "Please point to the part of the scissors that is held in the hand." "Where is the dog?"
//! ```

#![allow(clippy::print_stdout)] // A program for the terminal.

use maskwise::{Outcome, Record, Segmenter, SegmenterOptions, image};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, photo, questions @ ..] = &arguments[..] else {
        return Err("usage: several_questions MODEL IMAGE QUESTION...".into());
    };

    let segmenter = Segmenter::load(&model.parse()?, SegmenterOptions::default())?;
    let image = image::decode_path(Path::new(photo), &Default::default())?;
    let mut scene = segmenter.look(&image)?;
    let mut without_mask = 0;
    for question in questions {
        let answer = scene.ask(question)?;
        // No mask is an answer too: "declined" without a [SEG], "empty" with a [SEG] that no pixel belongs to.
        without_mask += usize::from(answer.outcome != Outcome::Segmented);
        println!("{}", serde_json::to_string(&Record::new(photo, image.dimensions(), &answer))?);
    }
    report(questions.len(), without_mask);
    Ok(())
}

#[allow(clippy::print_stderr)] // Beside the lines, so that they can be piped.
fn report(asked: usize, without_mask: usize) {
    eprintln!("{asked} question(s), {without_mask} without a mask");
}
