//! Datasets of objects and their parts in COCO's format: PACO-LVIS, PASCAL-Part.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt;

use super::{Premise, conversations};
use crate::dataset::coco::{CocoAnnotation, CocoFile, CocoImage, covered};
use crate::dataset::files::{decode, unreadable};
use crate::dataset::{Composition, DatasetError, IndexCache, SampleRng, TrainingDataset, TrainingItem};
use crate::mask::Mask;

/// Training on annotated objects and parts; a mask is that of one annotation, not of all things of its class.
pub struct PartInstances {
    name: &'static str,
    file: PathBuf,
    classes: BTreeMap<i64, Class>,
    images: Vec<Image>,
    composition: Arc<Composition>,
}

struct Image {
    path: PathBuf,
    height: usize,
    width: usize,
    /// At least one.
    annotations: Vec<CocoAnnotation>,
}

/// What a category is called.
struct Class {
    object: String,
    part: Option<String>,
}

/// A category of objects and parts in words that a question takes.
pub(in crate::dataset) fn class_phrase(name: &str) -> String {
    match Class::parse(name) {
        Class { object, part: None } => object,
        Class { object, part: Some(part) } => format!("the {part} of the {object}"),
    }
}

/// PACO-LVIS below `root`: its annotations and the folder of its pictures.
pub(in crate::dataset) fn paco_lvis_files(root: &Path) -> (PathBuf, PathBuf) {
    (root.join("vlpart/paco/annotations/paco_lvis_v1_train.json"), root.join("coco"))
}

/// PASCAL-Part below `root`: its annotations and the folder of its pictures.
pub(in crate::dataset) fn pascal_part_files(root: &Path) -> (PathBuf, PathBuf) {
    let folder = root.join("vlpart/pascal_part");
    (folder.join("train.json"), folder.join("VOCdevkit/VOC2010/JPEGImages"))
}

impl Class {
    /// `object:part` or `object`, each without a qualifier such as `_(food)`.
    fn parse(name: &str) -> Self {
        let bare = |name: &str| name.split("_(").next().unwrap_or_default().to_owned();
        match name.trim().split_once(':') {
            Some((object, part)) => Self { object: bare(object), part: Some(bare(part)) },
            None => Self { object: bare(name.trim()), part: None },
        }
    }

    fn render(&self, rng: &mut SampleRng) -> String {
        match &self.part {
            None => self.object.clone(),
            Some(part) if rng.random_bool(0.5) => format!("{} {part}", self.object),
            Some(part) => format!("the {part} of the {}", self.object),
        }
    }
}

impl PartInstances {
    /// PACO-LVIS: `root/vlpart/paco/annotations/paco_lvis_v1_train.json`, pictures in `root/coco`.
    ///
    /// # Errors
    /// A file that is missing, damaged, or refers to images or categories that it does not list.
    pub fn paco_lvis(root: &Path, composition: Arc<Composition>) -> Result<Self, DatasetError> {
        let (file, pictures) = paco_lvis_files(root);
        Self::open("paco_lvis", file, &pictures, composition)
    }

    /// PASCAL-Part: `root/vlpart/pascal_part/train.json`, pictures in `VOCdevkit/VOC2010/JPEGImages` beside it.
    ///
    /// # Errors
    /// As [`PartInstances::paco_lvis`].
    pub fn pascal_part(root: &Path, composition: Arc<Composition>) -> Result<Self, DatasetError> {
        let (file, pictures) = pascal_part_files(root);
        Self::open("pascal_part", file, &pictures, composition)
    }

    fn open(
        name: &'static str,
        file: PathBuf,
        pictures: &Path,
        composition: Arc<Composition>,
    ) -> Result<Self, DatasetError> {
        let CocoFile { images, annotations, categories } = CocoFile::open(&file, &IndexCache::none())?;
        let classes: BTreeMap<i64, Class> =
            categories.into_iter().map(|category| (category.id, Class::parse(&category.name))).collect();
        let order: Vec<i64> = images.iter().map(|image| image.id).collect();
        let image = |CocoImage { id, file_name, height, width }| {
            (id, Image { path: pictures.join(file_name), height, width, annotations: Vec::new() })
        };
        let mut by_id: HashMap<i64, Image> = images.into_iter().map(image).collect();
        for annotation in annotations {
            let missing = |what: &str| {
                unreadable(&file, format!("annotation {} refers to no listed {what}", annotation.id))
            };
            if !classes.contains_key(&annotation.category_id) {
                return Err(missing("category"));
            }
            let image = by_id.get_mut(&annotation.image_id).ok_or_else(|| missing("image"))?;
            image.annotations.push(annotation);
        }
        let images = order.iter().filter_map(|id| by_id.remove(id));
        let images: Vec<Image> = images.filter(|image| !image.annotations.is_empty()).collect();
        if images.is_empty() {
            return Err(unreadable(&file, "it has no annotations"));
        }
        Ok(Self { name, file, classes, images, composition })
    }

    fn class(&self, id: i64, rng: &mut SampleRng) -> String {
        self.classes.get(&id).map(|class| class.render(rng)).unwrap_or_default()
    }
}

impl TrainingDataset for PartInstances {
    fn name(&self) -> &str {
        self.name
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let premise = Premise::draw(&self.composition, rng);
        let image = &self.images[rng.random_range(0..self.images.len())];
        let (width, height) = (image.width, image.height);
        let mut chosen = Vec::new();
        for index in self.composition.sample(rng, image.annotations.len()) {
            let CocoAnnotation { id, category_id: category, area, .. } = &image.annotations[index];
            let covered = covered(&self.file, *id, *area, height, width)?;
            let data = covered.iter().map(|&count| u8::from(count != 0)).collect();
            chosen.push((self.class(*category, rng), Mask { width, height, data }));
        }
        let present: HashSet<i64> =
            image.annotations.iter().map(|annotation| annotation.category_id).collect();
        let absent: Vec<i64> = self.classes.keys().filter(|id| !present.contains(id)).copied().collect();
        let absent: Vec<String> = self
            .composition
            .sample(rng, absent.len())
            .into_iter()
            .map(|index| self.class(absent[index], rng))
            .collect();
        // With every class present there is nothing to deny.
        let premise = if absent.is_empty() { Premise::True } else { premise };
        Ok(TrainingItem {
            id: format!("{}: {}", self.name, image.path.display()),
            image: decode(&image.path)?,
            conversations: conversations(&self.composition, rng, premise, chosen, absent),
        })
    }
}
