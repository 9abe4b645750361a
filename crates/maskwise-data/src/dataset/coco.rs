//! COCO's annotation files (`instances.json` and its like), as far as masks need them.

use std::fmt;
use std::path::Path;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::files::{parse_json, read_bytes, unreadable};
use super::index::Span;
use super::{DatasetError, IndexCache};
use crate::mask::{Rle, RleError};

/// Largest image, a bound on what a damaged file can make us allocate.
const MAX_PIXELS: usize = 100_000_000;

/// What an annotation file lists, and where in it the areas stand; they are read when they are asked for.
#[derive(Serialize, Deserialize)]
pub(super) struct CocoFile {
    pub(super) images: Vec<CocoImage>,
    pub(super) annotations: Vec<CocoAnnotation>,
    pub(super) categories: Vec<CocoCategory>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct CocoImage {
    pub(super) id: i64,
    pub(super) file_name: String,
    pub(super) height: usize,
    pub(super) width: usize,
}

#[derive(Serialize, Deserialize)]
pub(super) struct CocoAnnotation {
    pub(super) id: i64,
    pub(super) image_id: i64,
    pub(super) category_id: i64,
    pub(super) is_crowd: bool,
    pub(super) area: Span,
}

#[derive(Serialize, Deserialize)]
pub(super) struct CocoCategory {
    pub(super) id: i64,
    pub(super) name: String,
}

/// The file as it stands.
#[derive(Deserialize)]
struct Content<'a> {
    images: Vec<CocoImage>,
    #[serde(borrow)]
    annotations: Vec<ListedAnnotation<'a>>,
    #[serde(default)]
    categories: Vec<CocoCategory>,
}

#[derive(Deserialize)]
struct ListedAnnotation<'a> {
    id: i64,
    image_id: i64,
    category_id: i64,
    #[serde(borrow)]
    segmentation: &'a RawValue,
    #[serde(default)]
    iscrowd: u8,
}

impl CocoFile {
    /// Opens a file, by its index if one is kept.
    pub(super) fn open(path: &Path, cache: &IndexCache) -> Result<Self, DatasetError> {
        cache.open("coco", &[path], || Self::read(path))
    }

    fn read(path: &Path) -> Result<Self, DatasetError> {
        let text = read_bytes(path)?;
        let Content { images, annotations, categories } = parse_json(path, &text)?;
        if images.is_empty() {
            return Err(unreadable(path, "it lists no images"));
        }
        let large = images.iter().find(|image| image.height.saturating_mul(image.width) > MAX_PIXELS);
        if let Some(CocoImage { id, width, height, .. }) = large {
            return Err(unreadable(
                path,
                format!("image {id} of {width}x{height} is above the limit of {MAX_PIXELS} pixels"),
            ));
        }
        let place = |listed: ListedAnnotation<'_>| {
            let ListedAnnotation { id, image_id, category_id, segmentation, iscrowd } = listed;
            let area = Span::of(segmentation, &text)
                .ok_or_else(|| unreadable(path, format!("annotation {id} is too large")))?;
            Ok(CocoAnnotation { id, image_id, category_id, is_crowd: iscrowd != 0, area })
        };
        let annotations = annotations.into_iter().map(place).collect::<Result<_, DatasetError>>()?;
        Ok(Self { images, annotations, categories })
    }
}

/// How many parts cover each pixel, row-major, of the area that stands at a place in the file and belongs to the annotation of this id: the
/// reference adds them up (spec 6.2).
///
/// # Errors
/// Naming file and annotation, where there is no area for an image of this size.
pub(super) fn covered(
    path: &Path,
    id: i64,
    area: Span,
    height: usize,
    width: usize,
) -> Result<Vec<u8>, DatasetError> {
    let wrong = |reason: String| unreadable(path, format!("annotation {id}: {reason}"));
    let area: Segmentation =
        serde_json::from_slice(&area.read(path)?).map_err(|error| wrong(error.to_string()))?;
    area.sum(height, width).map_err(|error| wrong(error.to_string()))
}

/// An area as a list of polygons and run-length codes, or one code.
pub(super) struct Segmentation(Vec<Part>);

enum Part {
    Polygon(Vec<f64>),
    Code(Rle),
}

impl Part {
    fn rasterize(&self, height: usize, width: usize) -> Result<Rle, RleError> {
        match self {
            Self::Polygon(coordinates) => Rle::from_polygon(coordinates, height, width),
            Self::Code(code) if code.size() == [height, width] => Ok(code.clone()),
            Self::Code(code) => Err(RleError::Size { left: code.size(), right: [height, width] }),
        }
    }
}

impl Segmentation {
    /// How many parts cover each pixel, row-major: the reference adds them up for RefCOCO (spec 6.2).
    pub(super) fn sum(&self, height: usize, width: usize) -> Result<Vec<u8>, RleError> {
        let mut sum = vec![0u8; height * width];
        for part in &self.0 {
            let mask = part.rasterize(height, width)?.decode();
            sum.iter_mut().zip(&mask.data).for_each(|(sum, value)| *sum = sum.wrapping_add(*value));
        }
        Ok(sum)
    }
}

impl<'de> Deserialize<'de> for Segmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Segmentation;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of polygons or a run-length code")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Segmentation, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(sequence)).map(Segmentation)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Segmentation, A::Error> {
                Rle::deserialize(MapAccessDeserializer::new(map))
                    .map(|code| Segmentation(vec![Part::Code(code)]))
            }
        }
        deserializer.deserialize_any(Parts)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnePart;
        impl<'de> Visitor<'de> for OnePart {
            type Value = Part;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a polygon or a run-length code")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Part, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(sequence)).map(Part::Polygon)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Part, A::Error> {
                Rle::deserialize(MapAccessDeserializer::new(map)).map(Part::Code)
            }
        }
        deserializer.deserialize_any(OnePart)
    }
}
