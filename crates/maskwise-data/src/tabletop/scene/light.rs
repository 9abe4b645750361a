//! What light and lens do to the finished picture.

use super::super::draw::{Dice, hash};
use ::image::RgbImage;
use maskwise_kernels::vectorized;

/// Brightness, tint, vignette, softness and noise. None of them moves a pixel by more than one.
pub(super) fn finish(dice: &mut Dice, mut image: RgbImage) -> RgbImage {
    let gain = dice.between(0.86, 1.08);
    let tint = if dice.chance(0.5) { dice.between(-0.05, 0.05) } else { 0.0 };
    let vignette = if dice.chance(0.35) { dice.between(0.05, 0.3) } else { 0.0 };
    let noise = if dice.chance(0.6) { dice.between(1.0, 9.0) } else { 0.0 };
    let softness = if dice.chance(0.35) { dice.between(0.1, 0.7) } else { 0.0 };
    let seed = dice.whole(0, 1 << 24) as u32;
    if softness > 0.0 {
        image = soften(&image, softness);
    }
    let gains = [gain * (1.0 + tint), gain, gain * (1.0 - tint)];
    let half = image.width() as f32 / 2.0;
    let width = image.width() as usize;
    vectorized(
        #[inline(always)]
        || {
            for (y, row) in image.as_mut().chunks_exact_mut(3 * width).enumerate() {
                let dy = (y as f32 - half) / half;
                for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                    let dx = (x as f32 - half) / half;
                    let dim = 1.0 - vignette * (dx * dx + dy * dy) / 2.0;
                    let grain = noise * (hash(seed, x as u32, y as u32) - 0.5) * 2.0;
                    for (value, gain) in pixel.iter_mut().zip(gains) {
                        *value = (f32::from(*value) * gain * dim + grain + 0.5).clamp(0.0, 255.0) as u8;
                    }
                }
            }
        },
    );
    image
}

/// Mixes `share` of each pixel with the mean of its four neighbours.
fn soften(image: &RgbImage, share: f32) -> RgbImage {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let from = image.as_raw();
    let mut soft = image.clone();
    let weight = (share * 64.0) as u32;
    for y in 1..height - 1 {
        for at in (y * width + 1) * 3..(y * width + width - 1) * 3 {
            let around: u32 =
                [at - 3, at + 3, at - 3 * width, at + 3 * width].map(|i| u32::from(from[i])).iter().sum();
            soft.as_mut()[at] =
                ((u32::from(from[at]) * (256 - 4 * weight) + around * weight + 128) / 256) as u8;
        }
    }
    soft
}
