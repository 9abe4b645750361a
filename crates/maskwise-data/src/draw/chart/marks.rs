//! What charts are drawn with, as SVG and as pixels.

use super::{HEIGHT, WIDTH};
use crate::draw::sheet::write;
use ::image::{Rgb, RgbImage};
use std::fmt::Write as _;
use tiny_skia::{Color, Paint, PathBuilder, Pixmap, Stroke, Transform};

/// What is drawn, in pixels from the upper left corner.
pub(super) enum Mark {
    Line { from: (f64, f64), to: (f64, f64), colour: [u8; 3], width: f64 },
    Text { at: (f64, f64), text: String, colour: [u8; 3] },
}

pub(super) const GREY: [u8; 3] = [200, 200, 200];
pub(super) const BLACK: [u8; 3] = [20, 20, 20];

/// As an SVG document.
pub(super) fn to_svg(marks: &[Mark]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for mark in marks {
        // Writing into a string cannot fail.
        let _ = match mark {
            Mark::Line { from, to, colour: [r, g, b], width } => writeln!(
                svg,
                "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"rgb({r},{g},{b})\" stroke-width=\"{width}\"/>",
                from.0, from.1, to.0, to.1
            ),
            Mark::Text { at, text, colour: [r, g, b] } => writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"rgb({r},{g},{b})\">{}</text>",
                at.0,
                at.1,
                text.replace('&', "&amp;").replace('<', "&lt;")
            ),
        };
    }
    svg.push_str("</svg>\n");
    svg
}

/// As a picture of 640 by 400 pixels.
pub(super) fn to_image(marks: &[Mark]) -> RgbImage {
    let (width, height) = (WIDTH as u32, HEIGHT as u32);
    let mut image = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    let Some(mut canvas) = Pixmap::new(width, height) else { return image };
    canvas.fill(Color::WHITE);
    for mark in marks {
        let Mark::Line { from, to, colour: [r, g, b], width } = mark else { continue };
        let mut path = PathBuilder::new();
        path.move_to(from.0 as f32, from.1 as f32);
        path.line_to(to.0 as f32, to.1 as f32);
        let Some(path) = path.finish() else { continue };
        let mut paint = Paint::default();
        paint.set_color_rgba8(*r, *g, *b, 255);
        let stroke = Stroke { width: *width as f32, ..Stroke::default() };
        canvas.stroke_path(&path, &paint, &stroke, Transform::identity(), None);
    }
    for (pixel, drawn) in image.pixels_mut().zip(canvas.pixels()) {
        pixel.0 = [drawn.red(), drawn.green(), drawn.blue()];
    }
    for mark in marks {
        let Mark::Text { at, text, colour } = mark else { continue };
        // SVG's text stands on its line, ours hangs below it.
        write(&mut image, at.0.max(0.0) as usize, (at.1 - 9.0).max(0.0) as usize, text, Rgb(*colour));
    }
    image
}
