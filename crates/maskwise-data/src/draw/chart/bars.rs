use super::marks::{self, BLACK, GREY, Mark};
use super::{BAR, HEIGHT, TICKS, WIDTH};
use crate::draw::palette_color;
use ::image::RgbImage;

/// Bars of values from 0 on, one below the other, each under its name.
#[derive(Clone, Debug, PartialEq)]
pub struct BarChart {
    /// Above it.
    pub title: String,
    /// Below the axis.
    pub label: String,
    /// From top to bottom; as many as there is room for, about ten.
    pub bars: Vec<Bar>,
}

/// A bar with its interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Above it.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end of its interval.
    pub high: f64,
}

/// Room at the sides, above and below.
const SIDE: f64 = 24.0;
const ABOVE: f64 = 36.0;
const BELOW: f64 = 48.0;

impl BarChart {
    /// As an SVG document.
    pub fn to_svg(&self) -> String {
        marks::to_svg(&self.marks())
    }

    /// As a picture of 640 by 400 pixels.
    pub fn to_image(&self) -> RgbImage {
        marks::to_image(&self.marks())
    }

    fn marks(&self) -> Vec<Mark> {
        let ends = self.bars.iter().flat_map(|bar| [bar.value, bar.high]).filter(|value| value.is_finite());
        let longest = ends.fold(0.0, f64::max);
        let longest = if longest > 0.0 { longest } else { 1.0 };
        let place = |value: f64| SIDE + value.max(0.0) / longest * (WIDTH - 2.0 * SIDE - 40.0);
        let bottom = HEIGHT - BELOW;
        let text = |at: (f64, f64), text: String| Mark::Text { at, text, colour: BLACK };
        let mut marks = vec![
            text((SIDE, 18.0), self.title.clone()),
            text((WIDTH / 2.0, HEIGHT - 10.0), self.label.clone()),
        ];
        for tick in 0..=TICKS {
            let value = longest * tick as f64 / TICKS as f64;
            let x = place(value);
            marks.push(Mark::Line { from: (x, ABOVE), to: (x, bottom), colour: GREY, width: 1.0 });
            marks.push(text((x - 12.0, bottom + 18.0), format!("{value:.2}")));
        }
        let room = (bottom - ABOVE) / self.bars.len().max(1) as f64;
        for (number, bar) in self.bars.iter().enumerate() {
            let y = ABOVE + room * (number as f64 + 0.65);
            let mut line = |from: (f64, f64), to: (f64, f64), colour: [u8; 3], width: f64| {
                marks.push(Mark::Line { from, to, colour, width });
            };
            line((SIDE, y), (place(bar.value), y), palette_color(number), room * 0.4);
            let (low, high) = (place(bar.low), place(bar.high));
            line((low, y), (high, y), BLACK, 1.0);
            for end in [low, high] {
                line((end, y - BAR), (end, y + BAR), BLACK, 1.0);
            }
            marks.push(text((SIDE + 4.0, y - room * 0.2 - 4.0), bar.name.clone()));
            marks.push(text((high.max(place(bar.value)) + 6.0, y + 4.0), format!("{:.3}", bar.value)));
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_their_lengths_names_and_colours() {
        let bar = |name: &str, value: f64| Bar {
            name: name.to_owned(),
            value,
            low: value - 0.1,
            high: value + 0.1,
        };
        let chart = BarChart {
            title: "Ways".to_owned(),
            label: "gIoU".to_owned(),
            bars: vec![bar("points & no text", 0.2), bar("both", 0.8)],
        };
        let svg = chart.to_svg();
        for words in [">points &amp; no text<", ">both<", ">gIoU<", ">0.800<", ">0.90<"] {
            assert!(svg.contains(words), "{words}");
        }
        assert_eq!(svg.matches("<line").count(), TICKS + 1 + 2 * 4);
        let image = chart.to_image();
        let pixels = |number: usize| image.pixels().filter(|pixel| pixel.0 == palette_color(number)).count();
        let ratio = pixels(1) as f64 / pixels(0) as f64;
        assert!((3.5..4.5).contains(&ratio), "four times as long, {ratio}");
        let none = BarChart { bars: Vec::new(), ..chart };
        assert!(!none.to_svg().contains("NaN"));
    }
}
