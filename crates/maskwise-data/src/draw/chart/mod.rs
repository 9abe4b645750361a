//! Line charts and bar charts with error bars, as SVG and as pixels.

mod bars;
mod marks;

use super::palette_color;
use ::image::RgbImage;

pub use bars::{Bar, BarChart};
use marks::{BLACK, GREY, Mark};

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below the horizontal axis.
    pub x_label: String,
    /// Above the vertical axis.
    pub y_label: String,
    /// The lines.
    pub series: Vec<Series>,
}

/// A line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// From left to right.
    pub points: Vec<ChartPoint>,
}

/// A point of a line with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChartPoint {
    /// Along the horizontal axis.
    pub x: f64,
    /// Along the vertical axis.
    pub y: f64,
    /// The lower end of its bar.
    pub low: f64,
    /// The upper end of its bar.
    pub high: f64,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
/// Room for labels: left, top, right, bottom.
const FRAME: [f64; 4] = [64.0, 48.0, 24.0, 56.0];
/// Half of the width of an error bar's end.
const BAR: f64 = 4.0;
/// Lines across the chart.
const TICKS: usize = 5;

impl Chart {
    /// As an SVG document.
    pub fn to_svg(&self) -> String {
        marks::to_svg(&self.marks())
    }

    /// As a picture of 640 by 400 pixels.
    pub fn to_image(&self) -> RgbImage {
        marks::to_image(&self.marks())
    }

    fn marks(&self) -> Vec<Mark> {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let span = |values: &dyn Fn(&ChartPoint) -> [f64; 2]| {
            let (low, high) = all()
                .flat_map(values)
                .filter(|value| value.is_finite())
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                    (low.min(value), high.max(value))
                });
            // A line needs a length.
            if high > low { (low, high) } else { (low.min(0.0), low.max(0.0) + 1.0) }
        };
        let ((left, right), (bottom, top)) = (span(&|p| [p.x, p.x]), span(&|p| [p.low, p.high]));
        let place = |x: f64, y: f64| {
            let across = WIDTH - FRAME[0] - FRAME[2];
            let up = HEIGHT - FRAME[1] - FRAME[3];
            (
                FRAME[0] + (x - left) / (right - left) * across,
                HEIGHT - FRAME[3] - (y - bottom) / (top - bottom) * up,
            )
        };
        let text = |at: (f64, f64), text: String, colour: [u8; 3]| Mark::Text { at, text, colour };
        let mut marks = vec![
            text((FRAME[0], 18.0), self.title.clone(), BLACK),
            text((8.0, FRAME[1] - 10.0), self.y_label.clone(), BLACK),
            text((WIDTH / 2.0, HEIGHT - 10.0), self.x_label.clone(), BLACK),
        ];
        for tick in 0..=TICKS {
            let y = bottom + (top - bottom) * tick as f64 / TICKS as f64;
            let (from, to) = (place(left, y), place(right, y));
            marks.push(Mark::Line { from, to, colour: GREY, width: 1.0 });
            marks.push(text((8.0, from.1 + 4.0), format!("{y:.3}"), BLACK));
        }
        let mut known: Vec<f64> = all().map(|point| point.x).collect();
        known.sort_by(f64::total_cmp);
        known.dedup();
        marks.extend(
            known
                .iter()
                .map(|&x| text((place(x, bottom).0 - 6.0, HEIGHT - FRAME[3] + 18.0), x.to_string(), BLACK)),
        );
        for (number, series) in self.series.iter().enumerate() {
            let colour = palette_color(number);
            let mut line = |from: (f64, f64), to: (f64, f64), width: f64| {
                marks.push(Mark::Line { from, to, colour, width });
            };
            for pair in series.points.windows(2) {
                line(place(pair[0].x, pair[0].y), place(pair[1].x, pair[1].y), 2.0);
            }
            for point in &series.points {
                let (x, low, high) =
                    (place(point.x, point.y).0, place(point.x, point.low).1, place(point.x, point.high).1);
                line((x, low), (x, high), 1.0);
                for end in [low, high] {
                    line((x - BAR, end), (x + BAR, end), 1.0);
                }
            }
            marks.push(text((WIDTH - 190.0, 18.0 + 14.0 * number as f64), series.name.clone(), colour));
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let point = |x: f64, y: f64| ChartPoint { x, y, low: y - 0.1, high: y + 0.1 };
        let series = |name: &str, rise: f64| Series {
            name: name.to_owned(),
            points: vec![point(10.0, 0.4), point(30.0, 0.4 + rise), point(60.0, 0.4 + 2.0 * rise)],
        };
        Chart {
            title: "A & B".to_owned(),
            x_label: "points".to_owned(),
            y_label: "gIoU".to_owned(),
            series: vec![series("first", 0.1), series("second", -0.1)],
        }
    }

    #[test]
    fn a_chart_has_its_lines_bars_and_words() {
        let svg = chart().to_svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("A &amp; B"));
        // Lines across; for each series two between points, and three for each of three bars.
        assert_eq!(svg.matches("<line").count(), TICKS + 1 + 2 * (2 + 9));
        for words in [">first<", ">second<", ">points<", ">gIoU<", ">10<", ">30<", ">60<"] {
            assert!(svg.contains(words), "{words}");
        }
    }

    #[test]
    fn its_pixels_have_the_colours_of_the_series() {
        let image = chart().to_image();
        assert_eq!(image.dimensions(), (640, 400));
        for number in 0..2 {
            let colour = palette_color(number);
            assert!(image.pixels().filter(|pixel| pixel.0 == colour).count() > 200, "{colour:?}");
        }
        // A single point has no span.
        let mut single = chart();
        single.series.truncate(1);
        single.series[0].points.truncate(1);
        assert!(!single.to_svg().contains("NaN") && !single.to_svg().contains("inf"));
    }
}
