//! Any decoded sample layout to interleaved 8-bit RGB, as OpenCV's `IMREAD_COLOR` defines it.

use ::image::ColorType;

/// Converts `samples` (native-endian, as the decoders deliver them) to 8-bit RGB.
///
/// - 16-bit samples keep their high byte (`value >> 8`); what OpenCV does for PNG to the last bit.
/// - 32-bit float samples are taken as 0..1 and scaled to 0..255, rounded.
/// - Grey is repeated for R, G and B.
/// - Alpha is dropped: the colour that the file stores under transparent pixels shows, as in the reference.
///   With `on_white` the image is composited on white instead.
///
/// Works in place where it can, since hostile images are as large as the limits allow.
pub(super) fn to_rgb8(mut samples: Vec<u8>, color: ColorType, on_white: bool) -> Vec<u8> {
    let channels = usize::from(color.channel_count());
    match usize::from(color.bytes_per_pixel()) / channels {
        2 => narrow::<2>(&mut samples, |bytes| (u16::from_ne_bytes(bytes) >> 8) as u8),
        // `as` saturates and turns NaN into 0.
        4 => narrow::<4>(&mut samples, |bytes| (f32::from_ne_bytes(bytes) * 255.0).round() as u8),
        _ => {}
    }
    match channels {
        1 => samples.iter().flat_map(|&grey| [grey; 3]).collect(),
        2 => samples.chunks_exact(2).flat_map(|pixel| composite([pixel[0]; 3], pixel[1], on_white)).collect(),
        3 => samples,
        _ => {
            let pixels = samples.len() / 4;
            for index in 0..pixels {
                let [red, green, blue, alpha] = [0, 1, 2, 3].map(|channel| samples[4 * index + channel]);
                let pixel = composite([red, green, blue], alpha, on_white);
                samples[3 * index..3 * index + 3].copy_from_slice(&pixel);
            }
            samples.truncate(pixels * 3);
            samples.shrink_to_fit();
            samples
        }
    }
}

fn narrow<const BYTES: usize>(samples: &mut Vec<u8>, value: impl Fn([u8; BYTES]) -> u8) {
    let count = samples.len() / BYTES;
    for index in 0..count {
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&samples[index * BYTES..(index + 1) * BYTES]);
        samples[index] = value(bytes);
    }
    samples.truncate(count);
}

fn composite(pixel: [u8; 3], alpha: u8, on_white: bool) -> [u8; 3] {
    if !on_white {
        return pixel;
    }
    let alpha = u32::from(alpha);
    pixel.map(|value| ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_is_dropped_or_composited() {
        let pixels = vec![10, 20, 30, 0, 10, 20, 30, 255, 0, 0, 0, 128];
        assert_eq!(to_rgb8(pixels.clone(), ColorType::Rgba8, false), [10, 20, 30, 10, 20, 30, 0, 0, 0]);
        assert_eq!(to_rgb8(pixels, ColorType::Rgba8, true), [255, 255, 255, 10, 20, 30, 127, 127, 127]);
        assert_eq!(to_rgb8(vec![9, 0, 9, 255], ColorType::La8, true), [255, 255, 255, 9, 9, 9]);
    }

    #[test]
    fn deep_samples_become_bytes() {
        let words: Vec<u8> =
            [0x12ffu16, 0xffff, 0x00ff].iter().flat_map(|value| value.to_ne_bytes()).collect();
        assert_eq!(to_rgb8(words, ColorType::Rgb16, false), [0x12, 0xff, 0]);
        let floats: Vec<u8> = [0.5f32, -3.0, f32::NAN].iter().flat_map(|value| value.to_ne_bytes()).collect();
        assert_eq!(to_rgb8(floats, ColorType::Rgb32F, false), [128, 0, 0]);
    }
}
