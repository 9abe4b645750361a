//! Writes contact sheets of the Tabletop world: `cargo run --release --example tabletop_sheet -- DIR [SEED]`.
//!
//! `kinds-N.png` has a row of eight drawings for each kind, `scenes.png` 5 x 4 scenes, `masks.png` the same scenes with
//! things and parts tinted.

#![allow(clippy::print_stdout, reason = "a measurement for the person who ran it")]

use image::{RgbImage, imageops};
use maskwise_data::draw::palette_color;
use maskwise_data::tabletop::{Kind, Scene, SceneConfig};
use rand_pcg::{Pcg64Mcg, rand_core::SeedableRng};
use std::{path::PathBuf, time::Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: tabletop_sheet DIR [SEED]")?);
    let seed: u64 = arguments.next().map_or(Ok(1), |seed| seed.parse())?;
    for (page, kinds) in Kind::ALL.chunks(7).enumerate() {
        let mut sheet = RgbImage::new(8 * 128, kinds.len() as u32 * 128);
        for (row, kind) in kinds.iter().enumerate() {
            for column in 0..8 {
                let mut rng = Pcg64Mcg::seed_from_u64(seed + (page * 64 + row * 8 + column) as u64);
                let picture = Scene::portrait(&mut rng, *kind, 128)?.image;
                imageops::replace(&mut sheet, &picture, column as i64 * 128, row as i64 * 128);
            }
        }
        sheet.save(folder.join(format!("kinds-{page}.png")))?;
    }
    let mut scenes = RgbImage::new(5 * 256, 4 * 256);
    let mut masks = scenes.clone();
    for index in 0..20 {
        let mut rng = Pcg64Mcg::seed_from_u64(seed + index);
        let mut scene = Scene::draw(&mut rng, &SceneConfig::default())?;
        let (x, y) = (index as i64 % 5 * 256, index as i64 / 5 * 256);
        imageops::replace(&mut scenes, &scene.image, x, y);
        tint(&mut scene);
        imageops::replace(&mut masks, &scene.image, x, y);
    }
    scenes.save(folder.join("scenes.png"))?;
    masks.save(folder.join("masks.png"))?;

    let start = Instant::now();
    let mut things = 0;
    for index in 0..200 {
        things += Scene::draw(&mut Pcg64Mcg::seed_from_u64(index), &SceneConfig::default())?.things.len();
    }
    let each = start.elapsed().as_secs_f64() * 1000.0 / 200.0;
    println!("{each:.2} ms per picture, {:.1} things each", things as f64 / 200.0);
    Ok(())
}

/// Tints things in the colours of the palette and darkens their parts.
fn tint(scene: &mut Scene) {
    let mut number = 0;
    for thing in &scene.things {
        for (mask, strength) in
            std::iter::once((&thing.mask, 150)).chain(thing.parts.iter().map(|part| (&part.mask, 110)))
        {
            let colour = palette_color(number);
            number += 1;
            for (pixel, &inside) in scene.image.pixels_mut().zip(&mask.data) {
                for (value, tint) in pixel.0.iter_mut().zip(colour) {
                    let mixed = u32::from(*value) * (255 - strength) + u32::from(tint) * strength;
                    *value = if inside == 1 { (mixed / 255) as u8 } else { *value };
                }
            }
        }
    }
}
