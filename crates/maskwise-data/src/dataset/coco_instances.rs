//! COCO's instances as questions: each category of each picture is one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::coco::{CocoAnnotation, CocoFile, covered};
use super::files::{LastPicture, check_size, unreadable};
use super::semantic::{class_phrase, paco_lvis_files, pascal_part_files};
use super::{Asked, DatasetError, IndexCache, ValidationDataset, ValidationItem};
use crate::mask::IGNORED;
use crate::text::QuestionTemplates;

/// All categories of all pictures of a COCO file: the phrase is the category's name, the target the union of its annotations, crowds are
/// ignored pixels. A category that a picture has as a crowd only is no question about it.
pub struct CocoInstances {
    name: String,
    file: PathBuf,
    pictures: Vec<Picture>,
    /// Picture and place among its categories of each item.
    items: Vec<(usize, usize)>,
    questions: QuestionTemplates,
    last: LastPicture,
}

struct Picture {
    path: PathBuf,
    file_name: String,
    height: usize,
    width: usize,
    /// In the order of the category ids.
    categories: Vec<Category>,
}

struct Category {
    name: String,
    areas: Vec<CocoAnnotation>,
}

impl CocoInstances {
    /// Opens an annotation file whose pictures lie in the folder `images`. Pictures without annotations are left out.
    ///
    /// # Errors
    /// A file that is missing or damaged, annotations of unknown pictures or categories.
    pub fn open(
        name: &str,
        file: &Path,
        images: &Path,
        questions: QuestionTemplates,
        cache: &IndexCache,
    ) -> Result<Self, DatasetError> {
        Self::named(name, file, images, questions, cache, str::to_owned)
    }

    /// The parts and objects of PACO-LVIS (`"paco_lvis"`) or PASCAL-Part (`"pascal_part"`) below `root`, as
    /// [`PartInstances`](super::PartInstances) finds them: each category of each picture is a question ("the handle of the mug").
    ///
    /// # Errors
    /// As [`CocoInstances::open`], or another name.
    pub fn parts(
        name: &str,
        root: &Path,
        questions: QuestionTemplates,
        cache: &IndexCache,
    ) -> Result<Self, DatasetError> {
        let (file, images) = parts_files(name, root)?;
        Self::named(name, &file, &images, questions, cache, class_phrase)
    }

    /// The annotations that [`CocoInstances::parts`] opens.
    ///
    /// # Errors
    /// Another name than there.
    pub(super) fn parts_file(name: &str, root: &Path) -> Result<PathBuf, DatasetError> {
        Ok(parts_files(name, root)?.0)
    }

    fn named(
        name: &str,
        file: &Path,
        images: &Path,
        questions: QuestionTemplates,
        cache: &IndexCache,
        phrase: fn(&str) -> String,
    ) -> Result<Self, DatasetError> {
        let content = CocoFile::open(file, cache)?;
        let names: BTreeMap<i64, String> =
            content.categories.into_iter().map(|category| (category.id, phrase(&category.name))).collect();
        let known: BTreeMap<i64, _> = content.images.into_iter().map(|image| (image.id, image)).collect();
        let mut found: BTreeMap<i64, BTreeMap<i64, Vec<CocoAnnotation>>> = BTreeMap::new();
        for annotation in content.annotations {
            let wrong = |what: &str, id: i64| {
                unreadable(
                    file,
                    format!("annotation {} names {what} {id}, which is not there", annotation.id),
                )
            };
            if !known.contains_key(&annotation.image_id) {
                return Err(wrong("image", annotation.image_id));
            }
            if !names.contains_key(&annotation.category_id) {
                return Err(wrong("category", annotation.category_id));
            }
            let categories = found.entry(annotation.image_id).or_default();
            categories.entry(annotation.category_id).or_default().push(annotation);
        }
        let mut pictures = Vec::new();
        let mut items = Vec::new();
        for (id, mut categories) in found {
            let image = &known[&id];
            categories.retain(|_, areas| areas.iter().any(|area| !area.is_crowd));
            if categories.is_empty() {
                continue;
            }
            items.extend((0..categories.len()).map(|category| (pictures.len(), category)));
            let named =
                |(id, areas): (i64, Vec<CocoAnnotation>)| Category { name: names[&id].clone(), areas };
            pictures.push(Picture {
                path: images.join(&image.file_name),
                file_name: image.file_name.clone(),
                height: image.height,
                width: image.width,
                categories: categories.into_iter().map(named).collect(),
            });
        }
        if items.is_empty() {
            return Err(unreadable(file, "it has no annotations"));
        }
        Ok(Self {
            name: name.to_owned(),
            file: file.to_owned(),
            pictures,
            items,
            questions,
            last: LastPicture::default(),
        })
    }
}

fn parts_files(name: &str, root: &Path) -> Result<(PathBuf, PathBuf), DatasetError> {
    match name {
        "paco_lvis" => Ok(paco_lvis_files(root)),
        "pascal_part" => Ok(pascal_part_files(root)),
        _ => Err(DatasetError::Config(format!("{name:?} has no parts; paco_lvis and pascal_part have"))),
    }
}

impl ValidationDataset for CocoInstances {
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
        let (picture, category) = self.items[index];
        let picture = &self.pictures[picture];
        let Category { name, areas } = &picture.categories[category];
        let image = self.last.decode(&picture.path)?;
        check_size(&image, &picture.path, (picture.width, picture.height), &self.file)?;
        let mut target = vec![0; picture.height * picture.width];
        // Crowds first, so that an instance lies above them.
        for is_crowd in [true, false] {
            for area in areas.iter().filter(|area| area.is_crowd == is_crowd) {
                let inside = covered(&self.file, area.id, area.area, picture.height, picture.width)?;
                let value = if is_crowd { IGNORED } else { 1 };
                let pixels = target.iter_mut().zip(inside);
                pixels.filter(|(_, inside)| *inside != 0).for_each(|(pixel, _)| *pixel = value);
            }
        }
        Ok(ValidationItem {
            id: format!("{}: {}", self.name, picture.file_name),
            image,
            file: Some(picture.path.clone()),
            question: self.questions.short.fill(&name.to_lowercase()),
            asked: Asked::Phrase(name.to_lowercase()),
            masks: 1,
            instances: Vec::new(),
            answer: self.questions.answer.fill(&name.to_lowercase()),
            target,
            exists: true,
            family: String::new(),
        })
    }
}
