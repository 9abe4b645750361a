//! `refs(<splitBy>).p` and `instances.json`: which sentences belong to which area of which image (spec 6.2).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::dataset::DatasetError;
use crate::dataset::coco::{CocoFile, Segmentation};
use crate::dataset::files::unreadable;
use crate::pickle;

/// The images of one split with their sentences, in the order of image ids.
pub(super) struct Split {
    pub(super) images: Vec<Image>,
    annotations: HashMap<i64, Segmentation>,
    instances: PathBuf,
}

/// An image and all that is said about it.
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) sentences: Vec<Sentence>,
}

/// A referring expression.
pub(super) struct Sentence {
    pub(super) text: String,
    /// The expression that would be right, where the dataset has one for a false premise.
    pub(super) ground_truth: Option<String>,
    pub(super) exists: bool,
    /// The annotations whose union is meant.
    pub(super) annotations: Vec<i64>,
}

#[derive(Deserialize)]
struct Reference {
    image_id: i64,
    ann_id: Annotations,
    split: String,
    sentences: Vec<ReferenceSentence>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "ann_id must be a number or a list of numbers")]
enum Annotations {
    One(i64),
    Several(Vec<i64>),
}

#[derive(Deserialize)]
struct ReferenceSentence {
    sent: String,
    gt_sent: Option<String>,
    is_false_premise: Option<bool>,
    exist: Option<bool>,
}

impl Split {
    /// Reads the split of a dataset in `root` (the folder `refer_seg`).
    pub(super) fn read(
        root: &Path,
        dataset: &str,
        split_by: &str,
        split: &str,
    ) -> Result<Self, DatasetError> {
        let folder = root.join(dataset);
        let path = folder.join(format!("refs({split_by}).p"));
        let references: Vec<Reference> =
            pickle::read(&path).map_err(|error| unreadable(&path, error.to_string()))?;
        let mut by_image: BTreeMap<i64, Vec<Sentence>> = BTreeMap::new();
        for reference in references.into_iter().filter(|reference| in_split(&reference.split, split)) {
            let annotations = match reference.ann_id {
                Annotations::One(id) => vec![id],
                Annotations::Several(ids) => ids,
            };
            let sentences = by_image.entry(reference.image_id).or_default();
            sentences.extend(reference.sentences.into_iter().map(|sentence| Sentence {
                exists: match (sentence.is_false_premise, sentence.exist) {
                    (Some(is_false), _) => !is_false,
                    (None, exist) => exist.unwrap_or(true),
                },
                text: sentence.sent,
                ground_truth: sentence.gt_sent.filter(|text| !text.trim().is_empty()),
                annotations: annotations.clone(),
            }));
        }
        by_image.retain(|_, sentences| !sentences.is_empty());
        if by_image.is_empty() {
            return Err(unreadable(&path, format!("the split {split} has no sentences")));
        }
        let instances = folder.join("instances.json");
        let file = CocoFile::read(&instances)?;
        let pictures = root.join("images").join(match dataset {
            "refclef" => "saiapr_tc-12",
            _ => "mscoco/images/train2014",
        });
        let mut known: HashMap<i64, _> = file.images.into_iter().map(|image| (image.id, image)).collect();
        let mut images = Vec::with_capacity(by_image.len());
        for (id, sentences) in by_image {
            let Some(image) = known.remove(&id) else {
                let reason = format!("it does not list image {id}, which {} refers to", path.display());
                return Err(unreadable(&instances, reason));
            };
            let path = pictures.join(&image.file_name);
            images.push(Image { path, height: image.height, width: image.width, sentences });
        }
        let wanted: HashSet<i64> =
            images.iter().flat_map(|image| &image.sentences).flat_map(|s| &s.annotations).copied().collect();
        let annotations = file.annotations.into_iter().filter(|annotation| wanted.contains(&annotation.id));
        let annotations = annotations.map(|annotation| (annotation.id, annotation.segmentation)).collect();
        Ok(Self { images, annotations, instances })
    }

    /// What a sentence means: row-major counts of the polygons that cover each pixel, several annotations joined by bits. All zero where
    /// it means nothing.
    pub(super) fn target(&self, image: &Image, sentence: &Sentence) -> Result<Vec<u8>, DatasetError> {
        let mut target = vec![0; image.height * image.width];
        if !sentence.exists || sentence.annotations.contains(&-1) {
            return Ok(target);
        }
        for id in &sentence.annotations {
            let wrong = |reason: String| unreadable(&self.instances, format!("annotation {id}: {reason}"));
            let segmentation = self.annotations.get(id).ok_or_else(|| {
                wrong(format!(
                    "it is not there, but {:?} of {} means it",
                    sentence.text,
                    image.path.display()
                ))
            })?;
            let values =
                segmentation.sum(image.height, image.width).map_err(|error| wrong(error.to_string()))?;
            target.iter_mut().zip(values).for_each(|(target, value)| *target |= value);
        }
        Ok(target)
    }
}

/// Whether a reference with this split belongs to the one asked for: `testA` also takes `testAB`, `test` takes all of them.
fn in_split(found: &str, wanted: &str) -> bool {
    match wanted {
        "testA" | "testB" | "testC" => found.contains(&wanted[4..]),
        "test" => found.contains("test"),
        _ => found == wanted,
    }
}
