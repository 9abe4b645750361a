//! Pictures: the official demos' blends, OpenCV's colours, and our overlay.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

use std::path::PathBuf;

use maskwise_data::draw::{
    DrawError, Layer, OverlayStyle, PointMark, blend, draw_points, heat_map, jet, overlay, palette_color,
};
use maskwise_data::image::{DecodeOptions, RgbImage, decode_path};
use maskwise_data::mask::Mask;

// Made with OpenCV 5.0.0 (applyColorMap), see tests/golden/images/make_goldens.py.
#[test]
fn jet_is_the_table_of_opencv() {
    let hex = include_str!("../../../tests/golden/images/jet.txt").trim();
    let ours: String = (0..=255u8).flat_map(jet).map(|sample| format!("{sample:02x}")).collect();
    assert_eq!(ours, hex);
}

#[test]
fn official_blends_are_equal() {
    let Some(folder) = std::env::var_os("MASKWISE_GOLDENS").map(PathBuf::from) else {
        println!("skipped: MASKWISE_GOLDENS is not set");
        return;
    };
    let text = std::fs::read_to_string(folder.join("overlay/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let load = |key: &str| {
        decode_path(&folder.join(manifest[key].as_str().unwrap()), &DecodeOptions::default()).unwrap()
    };
    let image = load("image");
    let values: Vec<u8> = load("mask").pixels().map(|pixel| pixel.0[0]).collect();
    let mask = Mask::from_values(&values, image.height() as usize, image.width() as usize).unwrap();
    assert!(blend::read_demo(&image, &mask).unwrap() == load("read"));
    assert!(blend::lisa_chat(&image, &mask).unwrap() == load("lisa"));
}

#[test]
fn heat_is_blended_and_truncated() {
    let image = RgbImage::from_pixel(3, 1, ::image::Rgb([100, 50, 201]));
    let heat = heat_map(&image, &[0.0, 0.5, 2.0]).unwrap();
    // 0 -> jet(0) = (0, 0, 128); 0.5 -> 127 -> (126, 255, 130); above 1 clamps to jet(255) = (128, 0, 0).
    assert_eq!(heat.as_raw()[..3], [30, 15, 149]);
    assert_eq!(heat.as_raw()[3..6], [118, 193, 151]);
    assert_eq!(heat.as_raw()[6..], [119, 15, 60]);
    assert!(matches!(heat_map(&image, &[0.0]), Err(DrawError::Length { .. })));
    assert_eq!(heat_map(&image, &[0.0, f32::NAN, 0.0]), Err(DrawError::NotANumber { index: 1 }));
}

fn disc_mask(side: usize) -> Mask {
    let inside = |i: usize| {
        (i % side).abs_diff(side / 2).pow(2) + (i / side).abs_diff(side / 2).pow(2) < side * side / 9
    };
    let values: Vec<u8> = (0..side * side).map(|i| u8::from(inside(i))).collect();
    Mask::from_values(&values, side, side).unwrap()
}

#[test]
fn an_overlay_tints_outlines_and_marks() {
    let side = 90;
    let image = RgbImage::from_pixel(side, side, ::image::Rgb([100, 100, 100]));
    let mask = disc_mask(side as usize);
    let points = [
        PointMark { x: 30.5, y: 45.5, label: 1 },
        PointMark { x: 5.5, y: 5.5, label: 0 },
        PointMark { x: 60.5, y: 45.5, label: -1 },
    ];
    let color = palette_color(0);
    let style = OverlayStyle { tint: 0.5, outline: 3.0, point_radius: 4.0 };
    let layer = Layer { mask: &mask, color, points: &points };
    let picture = overlay(&image, &[layer], &style).unwrap();
    let at = |x: u32, y: u32| picture.get_pixel(x, y).0;
    assert_eq!(at(45, 55), color.map(|sample| ((f32::from(sample) + 100.0) / 2.0).round() as u8));
    assert_eq!(at(45, 45 + 29), color, "the outline is opaque on the border");
    assert_eq!(at(88, 88), [100; 3], "the rest is untouched");
    let [red, _, blue] = at(30, 45);
    assert!(red > 200 && blue < 60);
    let [red, _, blue] = at(5, 5);
    assert!(blue > 200 && red < 60);
    let [red, green, blue] = at(60, 45);
    assert!(red == green && green == blue && red != 100);
    assert_eq!(at(30 - 5, 45), [255; 3], "a white ring");
}

#[test]
fn odd_input_is_drawn_or_refused() {
    let mut image = RgbImage::new(8, 8);
    let points = [f32::NAN, f32::INFINITY, -1e30, 1e30, -3.0, 9.0].map(|value| PointMark {
        x: value,
        y: value,
        label: 1,
    });
    draw_points(&mut image, &points, 2.0);
    draw_points(&mut RgbImage::new(0, 0), &points, 2.0);
    let mask = Mask::empty(7, 8);
    let layer = Layer { mask: &mask, color: [0; 3], points: &[] };
    let style = OverlayStyle::for_image(&image);
    assert!(matches!(overlay(&image, &[layer], &style), Err(DrawError::Size { .. })));
    assert!(blend::read_demo(&image, &mask).is_err());
}

#[test]
fn colours_of_many_masks_differ() {
    let colors: Vec<[u8; 3]> = (0..40).map(palette_color).collect();
    for (index, color) in colors.iter().enumerate() {
        assert!(!colors[..index].contains(color), "colour {index} repeats");
    }
}
