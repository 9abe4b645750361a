//! Masks as LabelMe JSON, the annotation format of the LabelMe program.
//!
//! Every field that LabelMe wants is written (`version, flags, shapes, imagePath, imageData, imageHeight,
//! imageWidth`), so the file opens there. `imageData` is null: LabelMe loads
//! the picture from `imagePath`, relative to the JSON file. LabelMe's polygons have no holes, so a hole is
//! joined to the outline by a cut, see [`Polygon::to_single_ring`](super::Polygon::to_single_ring).

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Mask;
use crate::atomic::{WriteError, write_json};

/// Version of the format that we write.
const VERSION: &str = "5.5.0";

/// One annotated image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelMe {
    /// Version of LabelMe that the file is meant for.
    pub version: String,
    /// Image-level flags, empty.
    pub flags: serde_json::Map<String, serde_json::Value>,
    /// Annotations.
    pub shapes: Vec<Shape>,
    /// The picture, relative to the JSON file.
    pub image_path: String,
    /// The picture itself in base64; null here.
    pub image_data: Option<String>,
    /// Rows.
    pub image_height: usize,
    /// Columns.
    pub image_width: usize,
}

/// One polygon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// What it shows.
    pub label: String,
    /// `[x, y]` in pixels, (0, 0) at the upper left corner of the first pixel.
    pub points: Vec<[f64; 2]>,
    /// Shapes of one mask share a number.
    pub group_id: Option<u32>,
    /// Free text, empty.
    #[serde(default)]
    pub description: String,
    /// `polygon`.
    pub shape_type: String,
    /// Shape-level flags, empty.
    pub flags: serde_json::Map<String, serde_json::Value>,
}

impl LabelMe {
    /// An annotation without shapes for the picture at `image_path`.
    pub fn new(image_path: &str, height: usize, width: usize) -> LabelMe {
        LabelMe {
            version: VERSION.to_owned(),
            flags: serde_json::Map::new(),
            shapes: Vec::new(),
            image_path: image_path.to_owned(),
            image_data: None,
            image_height: height,
            image_width: width,
        }
    }

    /// Adds the outlines of `mask`, one shape per connected part, all in one group if there are several.
    ///
    /// `tolerance` (pixels) simplifies the outlines; 0 keeps every pixel edge, which is lossless.
    pub fn add_mask(&mut self, label: &str, mask: &Mask, tolerance: f64) {
        let polygons = mask.to_polygons();
        let next_group =
            self.shapes.iter().filter_map(|shape| shape.group_id).max().map_or(0, |last| last + 1);
        let group_id = (polygons.len() > 1).then_some(next_group);
        self.shapes.extend(polygons.iter().map(|polygon| Shape {
            label: label.to_owned(),
            points: polygon.simplified(tolerance).to_single_ring(),
            group_id,
            description: String::new(),
            shape_type: "polygon".to_owned(),
            flags: serde_json::Map::new(),
        }));
    }

    /// Writes the JSON file, all of it or nothing.
    ///
    /// # Errors
    /// [`WriteError`], which names `path`.
    pub fn write(&self, path: &Path) -> Result<(), WriteError> {
        write_json(path, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_every_field_of_the_format() {
        let mask = Mask::from_values(&[1, 1, 0, 0, 1, 1, 0, 1], 2, 4).unwrap();
        let mut file = LabelMe::new("photo.jpg", 2, 4);
        file.add_mask("thing", &mask, 0.0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photo.json");
        file.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "version": "5.5.0", "flags": {},
            "shapes": [
                {"label": "thing", "points": [[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]], "group_id": 0,
                 "description": "", "shape_type": "polygon", "flags": {}},
                {"label": "thing", "points": [[3.0, 1.0], [4.0, 1.0], [4.0, 2.0], [3.0, 2.0]], "group_id": 0,
                 "description": "", "shape_type": "polygon", "flags": {}}],
            "imagePath": "photo.jpg", "imageData": null, "imageHeight": 2, "imageWidth": 4
        });
        assert_eq!(value, expected);
        assert_eq!(serde_json::from_str::<LabelMe>(&text).unwrap(), file);
    }

    #[test]
    fn masks_get_groups_of_their_own() {
        let two = Mask::from_values(&[1, 0, 1], 1, 3).unwrap();
        let one = Mask::from_values(&[0, 1, 0], 1, 3).unwrap();
        let mut file = LabelMe::new("a.png", 1, 3);
        file.add_mask("a", &two, 0.0);
        file.add_mask("b", &one, 0.0);
        file.add_mask("c", &two, 0.0);
        let groups: Vec<_> = file.shapes.iter().map(|shape| shape.group_id).collect();
        assert_eq!(groups, [Some(0), Some(0), None, Some(1), Some(1)]);
    }
}
