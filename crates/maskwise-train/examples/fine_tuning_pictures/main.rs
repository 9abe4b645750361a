//! Writes the pictures of `docs/fine-tuning.md`: `cargo run -p maskwise-train --example fine_tuning_pictures -- FOLDER`.

mod pictures;

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("name the folder to write to")?;
    for (split, first) in [("train", 0), ("val", 10)] {
        pictures::write(&Path::new(&folder).join(split), first, 10, 224)?;
    }
    Ok(())
}
