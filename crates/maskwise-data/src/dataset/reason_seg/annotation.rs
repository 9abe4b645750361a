//! One image's JSON: LabelMe shapes with questions (spec 6.3).

use std::path::Path;

use serde::Deserialize;

use crate::dataset::DatasetError;
use crate::dataset::files::{parse_json, read_bytes, unreadable};
use crate::mask::IGNORED;
use crate::mask::fill_poly::{Canvas, MAX_COORDINATE};

/// Corners of the polygon that stands for a circle.
const CIRCLE_CORNERS: usize = 128;

/// What an image's JSON says.
pub(super) struct Annotation {
    pub(super) texts: Vec<String>,
    /// Whether the texts are sentences of their own; otherwise they name a thing.
    pub(super) is_sentence: bool,
    /// Questions about what is not there: question, whether it is a sentence, answer.
    pub(super) false_premises: Vec<(String, bool, String)>,
    shapes: Vec<Shape>,
}

#[derive(Deserialize)]
struct File {
    shapes: Vec<Shape>,
    text: Option<Texts>,
    is_sentence: Option<bool>,
    #[serde(rename = "false_premise_QA")]
    false_premises: Option<Vec<(String, bool, String)>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "\"text\" must be a text or a list of texts")]
enum Texts {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Shape {
    label: String,
    points: Vec<[f64; 2]>,
    shape_type: Option<String>,
}

impl Annotation {
    /// Reads the file: UTF-8, otherwise Windows-1252.
    ///
    /// Without `is_sentence`, texts that end with a full stop, a question mark or an exclamation mark are sentences.
    pub(super) fn read(path: &Path) -> Result<Self, DatasetError> {
        let bytes = read_bytes(path)?;
        let file: File = match std::str::from_utf8(&bytes) {
            Ok(_) => parse_json(path, &bytes)?,
            Err(_) => {
                let text = windows_1252(&bytes);
                let text =
                    text.ok_or_else(|| unreadable(path, "it is neither UTF-8 nor Windows-1252 text"))?;
                parse_json(path, text.as_bytes())?
            }
        };
        let texts = match file.text {
            Some(Texts::One(text)) => vec![text],
            Some(Texts::Several(texts)) => texts,
            None => Vec::new(),
        };
        let Some(first) = texts.first() else {
            let reason =
                "it has no question; add a field \"text\" with a list of them, such as [\"the red mug\"]";
            return Err(unreadable(path, reason));
        };
        let is_sentence = file.is_sentence.unwrap_or_else(|| first.trim_end().ends_with(['.', '?', '!']));
        let annotation = Self {
            is_sentence,
            texts,
            false_premises: file.false_premises.unwrap_or_default(),
            // LabelMe's image-level marks.
            shapes: file.shapes.into_iter().filter(|shape| shape.label.to_lowercase() != "flag").collect(),
        };
        annotation.shapes.iter().try_for_each(|shape| shape.outline(path).map(drop))?;
        Ok(annotation)
    }

    /// Row-major values: 1 inside of a shape, 255 inside of one whose label has "ignore", 0 elsewhere.
    ///
    /// Shapes are painted from the largest to the smallest, so that a small one inside of a large one shows.
    pub(super) fn target(&self, path: &Path, width: usize, height: usize) -> Result<Vec<u8>, DatasetError> {
        let mut values = vec![0; width * height];
        let mut shapes = Vec::with_capacity(self.shapes.len());
        for shape in &self.shapes {
            let outline = shape.outline(path)?;
            Canvas { values: &mut values, width, height }.fill_poly(&outline, 1);
            let area = values.iter().filter(|&&value| value != 0).count();
            values.fill(0);
            let ignored = shape.label.to_lowercase().contains("ignore");
            shapes.push((area, outline, if ignored { IGNORED } else { 1 }));
        }
        // The reference sorts ascending and reverses, so that of equals the later one is painted first.
        shapes.sort_by_key(|(area, ..)| *area);
        for (_, outline, value) in shapes.iter().rev() {
            Canvas { values: &mut values, width, height }.fill_poly(outline, *value);
        }
        Ok(values)
    }
}

impl Shape {
    /// The corners in whole pixels, truncated as the reference does.
    fn outline(&self, path: &Path) -> Result<Vec<(i64, i64)>, DatasetError> {
        let wrong = |reason: &str| Err(unreadable(path, format!("shape {:?}: {reason}", self.label)));
        let kind = self.shape_type.as_deref().unwrap_or("polygon");
        let points = match (kind, &self.points[..]) {
            ("polygon", []) => return wrong("it has no points"),
            ("polygon", points) => points.to_vec(),
            ("rectangle", &[[x0, y0], [x1, y1]]) => vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]],
            ("circle", &[[x, y], edge]) => {
                let radius = (edge[0] - x).hypot(edge[1] - y);
                let corner = |index: usize| {
                    let (sine, cosine) =
                        (std::f64::consts::TAU * index as f64 / CIRCLE_CORNERS as f64).sin_cos();
                    [x + radius * cosine, y + radius * sine]
                };
                (0..CIRCLE_CORNERS).map(corner).collect()
            }
            ("rectangle" | "circle", _) => return wrong(&format!("a {kind} needs two points")),
            (other, _) => {
                return wrong(&format!(
                    "the shape type {other} is not supported; draw a polygon, a rectangle or a circle"
                ));
            }
        };
        let limit = MAX_COORDINATE as f64;
        if points.iter().flatten().any(|value| !(-limit..=limit).contains(value)) {
            return wrong("a coordinate is far outside of any image");
        }
        Ok(points.iter().map(|point| (point[0] as i64, point[1] as i64)).collect())
    }
}

/// The characters of Windows-1252 from 0x80 to 0x9f; five bytes stand for nothing.
const UPPER: [Option<char>; 32] = [
    Some('€'),
    None,
    Some('‚'),
    Some('ƒ'),
    Some('„'),
    Some('…'),
    Some('†'),
    Some('‡'),
    Some('ˆ'),
    Some('‰'),
    Some('Š'),
    Some('‹'),
    Some('Œ'),
    None,
    Some('Ž'),
    None,
    None,
    Some('‘'),
    Some('’'),
    Some('“'),
    Some('”'),
    Some('•'),
    Some('–'),
    Some('—'),
    Some('˜'),
    Some('™'),
    Some('š'),
    Some('›'),
    Some('œ'),
    None,
    Some('ž'),
    Some('Ÿ'),
];

fn windows_1252(bytes: &[u8]) -> Option<String> {
    let character = |byte: &u8| match byte {
        0x80..=0x9f => UPPER[usize::from(byte - 0x80)],
        _ => Some(char::from(*byte)),
    };
    bytes.iter().map(character).collect()
}
