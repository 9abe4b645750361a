//! `refs(<splitBy>).p` and `instances.json`: which sentences belong to which area of which image (spec 6.2).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dataset::coco::{CocoFile, covered};
use crate::dataset::files::unreadable;
use crate::dataset::index::Span;
use crate::dataset::{DatasetError, IndexCache};
use crate::pickle;

/// The images of one split with their sentences, in the order of image ids.
pub(super) struct Split {
    pub(super) images: Vec<Image>,
    /// Where the area of each annotation that is meant stands.
    annotations: HashMap<i64, Span>,
    pub(super) instances: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Index {
    images: Vec<Image>,
    annotations: Vec<(i64, Span)>,
}

/// An image and all that is said about it.
#[derive(Serialize, Deserialize)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) sentences: Vec<Sentence>,
}

/// A referring expression.
#[derive(Serialize, Deserialize)]
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
    /// Opens the split of a dataset in `root` (the folder `refer_seg`), by its index if one is kept.
    pub(super) fn open(
        root: &Path,
        dataset: &str,
        split_by: &str,
        split: &str,
        cache: &IndexCache,
    ) -> Result<Self, DatasetError> {
        let folder = root.join(dataset);
        let (path, instances) = (folder.join(format!("refs({split_by}).p")), folder.join("instances.json"));
        let Index { mut images, annotations } =
            cache.open(&format!("{dataset} {split}"), &[&path, &instances], || {
                Index::of(&path, &instances, split)
            })?;
        let pictures = root.join("images").join(match dataset {
            "refclef" => "saiapr_tc-12",
            _ => "mscoco/images/train2014",
        });
        for image in &mut images {
            image.path = pictures.join(&image.path);
        }
        Ok(Self { images, annotations: annotations.into_iter().collect(), instances })
    }

    /// What a sentence means: row-major counts of the polygons that cover each pixel, several annotations joined by bits. All zero where
    /// it means nothing.
    pub(super) fn target(&self, image: &Image, sentence: &Sentence) -> Result<Vec<u8>, DatasetError> {
        let mut target = vec![0; image.height * image.width];
        if !sentence.exists || sentence.annotations.contains(&-1) {
            return Ok(target);
        }
        for id in &sentence.annotations {
            let span = self.annotations.get(id).ok_or_else(|| {
                let (text, path) = (&sentence.text, image.path.display());
                unreadable(
                    &self.instances,
                    format!("annotation {id}: it is not there, but {text:?} of {path} means it"),
                )
            })?;
            let values = covered(&self.instances, *id, *span, image.height, image.width)?;
            target.iter_mut().zip(values).for_each(|(target, value)| *target |= value);
        }
        Ok(target)
    }
}

impl Index {
    /// Of `split` in the files `refs(<split_by>).p` and `instances.json`; the paths of pictures from their folder on.
    fn of(path: &Path, instances: &Path, split: &str) -> Result<Self, DatasetError> {
        let references: Vec<Reference> =
            pickle::read(path).map_err(|error| unreadable(path, error.to_string()))?;
        let splits: BTreeSet<String> = references.iter().map(|reference| reference.split.clone()).collect();
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
            let known: Vec<&str> = splits.iter().map(String::as_str).collect();
            let known = known.join(", ");
            return Err(unreadable(path, format!("the split {split} has no sentences; there are: {known}")));
        }
        let file = CocoFile::open(instances, &IndexCache::none())?;
        let mut known: HashMap<i64, _> = file.images.into_iter().map(|image| (image.id, image)).collect();
        let mut images = Vec::with_capacity(by_image.len());
        for (id, sentences) in by_image {
            let Some(image) = known.remove(&id) else {
                let reason = format!("it does not list image {id}, which {} refers to", path.display());
                return Err(unreadable(instances, reason));
            };
            let path = PathBuf::from(image.file_name);
            images.push(Image { path, height: image.height, width: image.width, sentences });
        }
        let wanted: HashSet<i64> =
            images.iter().flat_map(|image| &image.sentences).flat_map(|s| &s.annotations).copied().collect();
        let annotations = file.annotations.into_iter().filter(|annotation| wanted.contains(&annotation.id));
        let annotations = annotations.map(|annotation| (annotation.id, annotation.area)).collect();
        Ok(Self { images, annotations })
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
