//! Folders of pictures that were annotated with LabelMe and hold no questions: each label of each picture is one.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files::{LastPicture, check_size, has_extension, list, read_json, unreadable};
use super::{Asked, DatasetError, ValidationDataset, ValidationItem};
use crate::mask::polygon::rasterize;
use crate::mask::{IGNORED, Mask, Polygon};
use crate::text::QuestionTemplates;

/// All labels of all LabelMe files of a folder: the phrase is the label, the target what its polygons enclose by the even-odd rule.
/// Shapes labelled "ignore" are ignored pixels of every question.
pub struct LabelMeFolder {
    name: String,
    pictures: Vec<Picture>,
    /// Picture and label of each item.
    items: Vec<(usize, String)>,
    questions: QuestionTemplates,
    last: LastPicture,
}

struct Picture {
    json: PathBuf,
    image: PathBuf,
    content: Content,
}

/// What is read of a LabelMe file; the rest, the picture itself among it, is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    shapes: Vec<Shape>,
    image_path: String,
    image_height: usize,
    image_width: usize,
}

#[derive(Deserialize)]
struct Shape {
    label: String,
    points: Vec<[f64; 2]>,
    #[serde(default)]
    shape_type: Option<String>,
}

/// The label of what is ignored.
const IGNORE: &str = "ignore";

impl LabelMeFolder {
    /// The JSON files of a folder, sorted by name.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
        let files = list(folder)?.into_iter();
        Ok(files.filter(|path| has_extension(path, &["json"])).collect())
    }

    /// Opens a folder; its JSON files are read, its pictures are not.
    ///
    /// # Errors
    /// A folder without JSON files, a file that is not LabelMe's.
    pub fn open(name: &str, folder: &Path, questions: QuestionTemplates) -> Result<Self, DatasetError> {
        let mut pictures = Vec::new();
        let mut items: Vec<(usize, String)> = Vec::new();
        for json in Self::files(folder)? {
            let content: Content = read_json(&json)?;
            let mut labels: Vec<String> = Vec::new();
            for shape in content.shapes.iter().filter(|shape| shape.label != IGNORE) {
                if !labels.contains(&shape.label) {
                    labels.push(shape.label.clone());
                }
            }
            items.extend(labels.into_iter().map(|label| (pictures.len(), label)));
            pictures.push(Picture { image: folder.join(&content.image_path), json, content });
        }
        if items.is_empty() {
            let has_xml = list(folder)?.iter().any(|path| has_extension(path, &["xml"]));
            let hint = match has_xml {
                true => {
                    "; its .xml files are of LabelMe's old format, which CVAT still writes: export COCO there"
                }
                false => "",
            };
            return Err(unreadable(folder, format!("it has no LabelMe files (.json) with shapes{hint}")));
        }
        Ok(Self { name: name.to_owned(), pictures, items, questions, last: LastPicture::default() })
    }
}

impl Picture {
    /// The pixels inside of the shapes with this label.
    fn mask(&self, label: &str) -> Result<Mask, DatasetError> {
        let Content { image_width, image_height, .. } = self.content;
        let mut union = Mask::empty(image_width, image_height);
        for shape in self.content.shapes.iter().filter(|shape| shape.label == label) {
            let polygon = Polygon { outer: self.ring(shape)?, holes: Vec::new() };
            let inside = rasterize(&[polygon], image_height, image_width)
                .map_err(|error| unreadable(&self.json, format!("shape {label:?}: {error}")))?;
            union.data.iter_mut().zip(inside.data).for_each(|(pixel, inside)| *pixel |= inside);
        }
        Ok(union)
    }

    fn ring(&self, shape: &Shape) -> Result<Vec<[f64; 2]>, DatasetError> {
        match (shape.shape_type.as_deref().unwrap_or("polygon"), &shape.points[..]) {
            ("polygon", points) if points.len() >= 3 => Ok(points.to_vec()),
            ("rectangle", &[[x0, y0], [x1, y1]]) => Ok(vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),
            (kind, points) => {
                let reason = format!(
                    "shape {:?} is a {kind} of {} points; a polygon of at least three, or a rectangle, is needed",
                    shape.label,
                    points.len()
                );
                Err(unreadable(&self.json, reason))
            }
        }
    }
}

impl ValidationDataset for LabelMeFolder {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn picture(&self, index: usize) -> usize {
        self.items[index].0
    }

    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError> {
        let (picture, label) = &self.items[index];
        let picture = &self.pictures[*picture];
        let image = self.last.decode(&picture.image)?;
        let size = (picture.content.image_width, picture.content.image_height);
        check_size(&image, &picture.image, size, &picture.json)?;
        let mut target = picture.mask(label)?.data;
        let ignored = picture.mask(IGNORE)?.data;
        target
            .iter_mut()
            .zip(ignored)
            .filter(|(_, ignored)| *ignored == 1)
            .for_each(|(pixel, _)| *pixel = IGNORED);
        Ok(ValidationItem {
            id: format!("{}: {}", self.name, picture.content.image_path),
            image,
            file: Some(picture.image.clone()),
            question: self.questions.short.fill(&label.to_lowercase()),
            asked: Asked::Phrase(label.to_lowercase()),
            masks: 1,
            instances: Vec::new(),
            answer: self.questions.answer.fill(&label.to_lowercase()),
            target,
            exists: true,
            family: String::new(),
        })
    }
}
