//! Writing a dataset in another layout.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::{DatasetError, JsonLine, MaskSource, ValidationDataset, ValidationItem};
use crate::atomic::{WriteError, write_atomic, write_new_folder};
use crate::mask::labelme::{LabelMe, Shape};
use crate::mask::png::write_rgb;
use crate::mask::{Mask, outlines};

/// A layout that datasets are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Ours: `<split>.jsonl` and `images/`; see [`JsonLine`]. Everything is kept.
    JsonLines,
    /// ReasonSeg's: `<split>/` with a picture and a LabelMe JSON for each question. Questions about what is not there cannot be kept.
    ReasonSeg,
    /// COCO's instances: `<split>.json` and `images/`. Each question's text is a category, each mask an annotation in run lengths, ignored
    /// pixels are a crowd. Questions about what is not there cannot be kept.
    Coco,
    /// LabelMe's: `<split>/` with a picture and a JSON, in which each question's text is a label. Questions about what is not there cannot
    /// be kept.
    LabelMe,
}

/// What a conversion did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Questions written.
    pub questions: usize,
    /// Questions that the layout cannot hold.
    pub left_out: usize,
}

/// Why a dataset was not converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A question cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A file or folder cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Writes the questions of `items`, opened with [`QuestionTemplates::bare`](crate::text::QuestionTemplates::bare), into `folder`, new or
/// empty, as its `split`. Pictures are copied. `on_progress` hears how many questions are done.
///
/// # Errors
/// A question that cannot be read, or what the system refuses; nothing is left behind.
pub fn convert(
    items: &dyn ValidationDataset,
    target: Target,
    folder: &Path,
    split: &str,
    on_progress: &mut dyn FnMut(usize),
) -> Result<Converted, ConvertError> {
    let mut converted = Converted::default();
    write_new_folder(folder, |part| {
        let mut writer = Writer::new(target, part, split)?;
        for index in 0..items.len() {
            let item = items.item(index)?;
            match writer.add(index, items.picture(index), &item)? {
                true => converted.questions += 1,
                false => converted.left_out += 1,
            }
            on_progress(index + 1);
        }
        writer.finish()
    })?;
    Ok(converted)
}

struct Writer {
    target: Target,
    folder: PathBuf,
    split: String,
    /// Names of the pictures written, by their number.
    pictures: BTreeMap<usize, String>,
    lines: Vec<JsonLine>,
    coco: Coco,
    label_me: BTreeMap<usize, LabelMe>,
}

#[derive(Default, Serialize)]
struct Coco {
    images: Vec<serde_json::Value>,
    annotations: Vec<serde_json::Value>,
    categories: Vec<serde_json::Value>,
    #[serde(skip)]
    names: BTreeMap<String, usize>,
}

impl Writer {
    fn new(target: Target, folder: &Path, split: &str) -> Result<Self, ConvertError> {
        let pictures = match target {
            Target::JsonLines | Target::Coco => folder.join("images"),
            Target::ReasonSeg | Target::LabelMe => folder.join(split),
        };
        fs::create_dir_all(&pictures).map_err(|error| WriteError::from_io(&pictures, error))?;
        Ok(Self {
            target,
            folder: folder.to_owned(),
            split: split.to_owned(),
            pictures: BTreeMap::new(),
            lines: Vec::new(),
            coco: Coco::default(),
            label_me: BTreeMap::new(),
        })
    }

    /// Whether the layout can hold the question.
    fn add(&mut self, index: usize, picture: usize, item: &ValidationItem) -> Result<bool, ConvertError> {
        if self.target != Target::JsonLines && !item.exists {
            return Ok(false);
        }
        match self.target {
            Target::JsonLines => {
                let name = self.picture("images", picture, item)?;
                self.lines.push(line(format!("images/{name}"), item));
            }
            Target::ReasonSeg => {
                // One question a picture: a picture of several questions is there several times.
                let name = self.picture(&self.split.clone(), index, item)?;
                self.reason_seg(&name, item)?;
            }
            Target::Coco => {
                let is_new = !self.pictures.contains_key(&picture);
                let name = self.picture("images", picture, item)?;
                self.coco.add(is_new.then_some(name), picture, item);
            }
            Target::LabelMe => {
                let name = self.picture(&self.split.clone(), picture, item)?;
                let (width, height) = size(item);
                let file = self.label_me.entry(picture).or_insert_with(|| LabelMe::new(&name, height, width));
                file.add_mask(text(item), &mask(item, 1), 0.0);
                let ignored = mask(item, IGNORED);
                if !ignored.is_empty() && !file.shapes.iter().any(|shape| shape.label == "ignore") {
                    file.add_mask("ignore", &ignored, 0.0);
                }
            }
        }
        Ok(true)
    }

    /// The name of a picture's copy, which is made if it is not there yet.
    fn picture(&mut self, below: &str, number: usize, item: &ValidationItem) -> Result<String, ConvertError> {
        if let Some(name) = self.pictures.get(&number) {
            return Ok(name.clone());
        }
        let extension =
            item.file.as_ref().and_then(|file| file.extension()).map(|text| text.to_string_lossy());
        let name = format!("{number:06}.{}", extension.as_deref().unwrap_or("png"));
        let path = self.folder.join(below).join(&name);
        match &item.file {
            Some(file) => {
                fs::copy(file, &path).map_err(|error| WriteError::from_io(&path, error))?;
            }
            None => write_rgb(&path, &item.image)?,
        }
        self.pictures.insert(number, name.clone());
        Ok(name)
    }

    fn reason_seg(&self, name: &str, item: &ValidationItem) -> Result<(), ConvertError> {
        let (width, height) = size(item);
        let mut file = LabelMe::new(name, height, width);
        for (label, value) in [("target", 1), ("ignore", IGNORED)] {
            let shapes = outlines::of(&mask(item, value)).into_iter();
            file.shapes.extend(shapes.map(|points| Shape {
                label: label.to_owned(),
                points,
                group_id: None,
                description: String::new(),
                shape_type: "polygon".to_owned(),
                flags: serde_json::Map::new(),
            }));
        }
        let mut value = serde_json::to_value(&file).unwrap_or_default();
        value["text"] = json!([text(item)]);
        value["is_sentence"] = json!(item.phrase.is_none());
        write_json(&self.folder.join(&self.split).join(name).with_extension("json"), &value)
    }

    fn finish(self) -> Result<(), ConvertError> {
        match self.target {
            Target::JsonLines => {
                let path = self.folder.join(format!("{}.jsonl", self.split));
                write_atomic(&path, |writer| {
                    for line in &self.lines {
                        serde_json::to_writer(&mut *writer, line)?;
                        writer.write_all(b"\n")?;
                    }
                    Ok(())
                })?;
            }
            Target::Coco => write_json(&self.folder.join(format!("{}.json", self.split)), &self.coco)?,
            Target::LabelMe => {
                for (number, file) in &self.label_me {
                    let path =
                        self.folder.join(&self.split).join(&self.pictures[number]).with_extension("json");
                    file.write(&path)?;
                }
            }
            Target::ReasonSeg => {}
        }
        Ok(())
    }
}

impl Coco {
    fn add(&mut self, new_picture: Option<String>, picture: usize, item: &ValidationItem) {
        let (width, height) = size(item);
        if let Some(name) = new_picture {
            self.images.push(json!({"id": picture, "file_name": name, "width": width, "height": height}));
        }
        let next = self.names.len() + 1;
        let category = *self.names.entry(text(item).to_owned()).or_insert(next);
        if category == next {
            self.categories.push(json!({"id": category, "name": text(item)}));
        }
        for (value, is_crowd) in [(1, 0), (IGNORED, 1)] {
            let mask = mask(item, value);
            let Some(bounds) = mask.bbox() else { continue };
            self.annotations.push(json!({
                "id": self.annotations.len() + 1,
                "image_id": picture,
                "category_id": category,
                "segmentation": mask.to_rle(),
                "area": mask.area(),
                "bbox": [bounds.x, bounds.y, bounds.width, bounds.height],
                "iscrowd": is_crowd,
            }));
        }
    }
}

fn line(image: String, item: &ValidationItem) -> JsonLine {
    let source = |value: u8| MaskSource::Code(mask(item, value).to_rle());
    let ignored = item.target.contains(&IGNORED);
    JsonLine {
        image,
        question: item.phrase.is_none().then(|| item.question.clone()),
        phrase: item.phrase.clone(),
        answer: None,
        masks: if item.exists { vec![source(1)] } else { Vec::new() },
        ignore: ignored.then(|| source(IGNORED)),
        exists: None,
        family: (!item.family.is_empty()).then(|| item.family.clone()),
    }
}

/// What is asked for: a name, or a whole question.
fn text(item: &ValidationItem) -> &str {
    item.phrase.as_deref().unwrap_or(&item.question)
}

fn size(item: &ValidationItem) -> (usize, usize) {
    (item.image.width() as usize, item.image.height() as usize)
}

/// The pixels of the target with this value; what several polygons cover is inside.
fn mask(item: &ValidationItem, value: u8) -> Mask {
    let (width, height) = size(item);
    let is_value = |pixel: &u8| match value {
        IGNORED => *pixel == IGNORED,
        _ => !matches!(*pixel, 0 | IGNORED),
    };
    Mask { width, height, data: item.target.iter().map(|pixel| u8::from(is_value(pixel))).collect() }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ConvertError> {
    Ok(write_atomic(path, |writer| {
        serde_json::to_writer_pretty(&mut *writer, value)?;
        writer.write_all(b"\n")
    })?)
}

/// Value of ignored pixels in a target.
const IGNORED: u8 = 255;
