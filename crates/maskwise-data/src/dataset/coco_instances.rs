//! COCO's instances as questions: each category of each picture is one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::coco::{CocoFile, Segmentation};
use super::files::{LastPicture, check_size, unreadable};
use super::{Asked, DatasetError, ValidationDataset, ValidationItem};
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
    areas: Vec<Area>,
}

struct Area {
    annotation: i64,
    segmentation: Segmentation,
    is_crowd: bool,
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
    ) -> Result<Self, DatasetError> {
        let content = CocoFile::read(file)?;
        let names: BTreeMap<i64, String> =
            content.categories.into_iter().map(|category| (category.id, category.name)).collect();
        let known: BTreeMap<i64, _> = content.images.into_iter().map(|image| (image.id, image)).collect();
        let mut found: BTreeMap<i64, BTreeMap<i64, Vec<Area>>> = BTreeMap::new();
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
            let area = Area {
                annotation: annotation.id,
                segmentation: annotation.segmentation,
                is_crowd: annotation.is_crowd != 0,
            };
            found
                .entry(annotation.image_id)
                .or_default()
                .entry(annotation.category_id)
                .or_default()
                .push(area);
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
            let named = |(id, areas): (i64, Vec<Area>)| Category { name: names[&id].clone(), areas };
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
                let inside = area.segmentation.sum(picture.height, picture.width).map_err(|error| {
                    unreadable(&self.file, format!("annotation {}: {error}", area.annotation))
                })?;
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
            answer: self.questions.answer.fill(&name.to_lowercase()),
            target,
            exists: true,
            family: String::new(),
        })
    }
}
