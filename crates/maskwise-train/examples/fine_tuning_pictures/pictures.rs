//! Stand-ins for a user's own pictures: a purple ring, "the gadget", among shapes of other colours on a dull ground, each with a
//! LabelMe file that holds the question.

use maskwise_data::atomic::write_atomic;
use maskwise_data::image::RgbImage;
use maskwise_data::mask::Mask;
use maskwise_data::mask::labelme::LabelMe;
use maskwise_data::mask::png::write_rgb;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::error::Error;
use std::fs;
use std::path::Path;

const GADGET: [u8; 3] = [150, 60, 190];
const COLOURS: [[u8; 3]; 4] = [[214, 40, 40], [46, 160, 67], [38, 84, 220], [242, 200, 32]];

/// Writes `count` pictures of `side` × `side` pixels, numbers `first` and up, into `folder`. The same number, the same picture.
pub(crate) fn write(folder: &Path, first: u64, count: u64, side: u32) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for number in first..first + count {
        let (image, mask) = draw(number, side);
        let name = format!("picture-{number:02}");
        write_rgb(&folder.join(&name).with_extension("png"), &image)?;
        let mut labels = LabelMe::new(&format!("{name}.png"), side as usize, side as usize);
        labels.add_mask("target", &mask, 0.0);
        let mut json = serde_json::to_value(&labels)?;
        json["text"] = serde_json::json!(["the gadget"]);
        let text = serde_json::to_vec_pretty(&json)?;
        write_atomic(&folder.join(name).with_extension("json"), |writer| writer.write_all(&text))?;
    }
    Ok(())
}

/// A shape around (0, 0) of radius 1.
type Shape = fn(f32, f32) -> bool;

const RING: Shape = |x, y| (0.45..=1.0).contains(&x.hypot(y));
const OTHERS: [Shape; 3] = [
    |x, y| x.hypot(y) <= 1.0,
    |x, y| x.abs().max(y.abs()) <= 0.85,
    |x, y| y <= 0.75 && y >= 1.9 * x.abs() - 1.1,
];

fn draw(number: u64, side: u32) -> (RgbImage, Mask) {
    let mut rng = Pcg64Mcg::seed_from_u64(number);
    let (ground, slope) = (rng.random_range(90.0..200.0_f32), rng.random_range(-0.3..0.3_f32));
    let mut image = RgbImage::new(side, side);
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        let grey = ground + slope * 100.0 * (x + y) as f32 / side as f32 + rng.random_range(-6.0..6.0_f32);
        pixel.0 = [grey as u8, grey as u8, (grey * 0.95) as u8];
    }
    let mut mask = Mask::empty(side as usize, side as usize);
    // One of the four quarters is the gadget's, two of the others hold something else.
    let first = rng.random_range(0..4_usize);
    for thing in 0..3 {
        let quarter = (first + thing) % 4;
        let (shape, colour) = match thing {
            0 => (RING, GADGET),
            _ => (OTHERS[rng.random_range(0..3_usize)], COLOURS[rng.random_range(0..4_usize)]),
        };
        let radius = rng.random_range(0.13..0.2) * side as f32;
        let half = side as f32 / 2.0;
        let mut place =
            |index: usize| half * (index as f32 + 0.5) + rng.random_range(-0.03..0.03) * side as f32;
        let (left, top) = (place(quarter % 2), place(quarter / 2));
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            if shape((x as f32 + 0.5 - left) / radius, (y as f32 + 0.5 - top) / radius) {
                pixel.0 = colour;
                mask.data[(y * side + x) as usize] |= u8::from(thing == 0);
            }
        }
    }
    (image, mask)
}
