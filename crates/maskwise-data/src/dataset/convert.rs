//! Writing a dataset in another layout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::{Asked, DatasetError, JsonLine, MaskSource, ValidationDataset, ValidationItem};
use crate::atomic::{WriteError, write_atomic, write_json, write_new_folder};
use crate::mask::labelme::{LabelMe, Shape};
use crate::mask::png::write_rgb;
use crate::mask::{IGNORED, Mask, outlines};

/// A layout that datasets are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Ours: `<split>.jsonl` and `images/`; see [`JsonLine`]. Answers are kept where there are several masks.
    JsonLines,
    /// ReasonSeg's: `<split>/` with a picture and a LabelMe JSON for each question. Whole questions become sentences, to which its reader adds
    /// that a mask is wanted.
    ReasonSeg,
    /// COCO's instances: `<split>.json` and `images/`. Each question's text is a category, each mask an annotation in run lengths, ignored
    /// pixels are a crowd.
    Coco,
    /// LabelMe's: `<split>/` with a picture and a JSON, in which each question's text is a label.
    LabelMe,
}

/// What a conversion did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Questions written.
    pub questions: usize,
    /// Questions that the layout cannot hold. Only ours can hold those about what is not there. COCO and LabelMe cannot hold a second question of
    /// the same words about a picture, LabelMe only one set of ignored pixels a picture.
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
    at_hand: Option<AtHand>,
}

/// The picture whose questions are being written: those of a picture stand one after the other.
struct AtHand {
    picture: usize,
    /// The texts of its questions so far.
    texts: BTreeSet<String>,
    /// The pixels that its first question ignores.
    ignored: Mask,
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
            at_hand: None,
        })
    }

    /// Writes a question down, if the layout can hold it.
    fn add(&mut self, index: usize, picture: usize, item: &ValidationItem) -> Result<bool, ConvertError> {
        if !self.can_hold(picture, item) {
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
                let is_new = !self.label_me.contains_key(&picture);
                let file = self.label_me.entry(picture).or_insert_with(|| LabelMe::new(&name, height, width));
                file.add_mask(item.text(), &mask(item, 1), 0.0);
                if is_new {
                    file.add_mask("ignore", &mask(item, IGNORED), 0.0);
                }
            }
        }
        Ok(true)
    }

    fn can_hold(&mut self, picture: usize, item: &ValidationItem) -> bool {
        if self.target == Target::JsonLines {
            return true;
        }
        if !item.exists || mask(item, 1).is_empty() {
            return false;
        }
        if self.target == Target::ReasonSeg {
            return true;
        }
        let ignored = mask(item, IGNORED);
        let at_hand = match self.at_hand.take().filter(|at_hand| at_hand.picture == picture) {
            Some(at_hand) => at_hand,
            None => AtHand { picture, texts: BTreeSet::new(), ignored: ignored.clone() },
        };
        let at_hand = self.at_hand.insert(at_hand);
        (self.target == Target::Coco || at_hand.ignored == ignored)
            && at_hand.texts.insert(item.text().to_lowercase())
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
        value["text"] = json!([item.text()]);
        value["is_sentence"] = json!(!matches!(item.asked, Asked::Phrase(_)));
        Ok(write_json(&self.folder.join(&self.split).join(name).with_extension("json"), &value)?)
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
        let category = *self.names.entry(item.text().to_owned()).or_insert(next);
        if category == next {
            self.categories.push(json!({"id": category, "name": item.text()}));
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
    let masks = match &item.instances[..] {
        [] if item.exists => vec![source(1)],
        [] => Vec::new(),
        instances => {
            let code = |values: &Vec<u8>| MaskSource::Code(mask_of(item, values, 1).to_rle());
            instances.iter().map(code).collect()
        }
    };
    let ignored = item.target.contains(&IGNORED);
    let (question, phrase, sentence) = match &item.asked {
        Asked::Question => (Some(item.question.clone()), None, None),
        Asked::Phrase(text) => (None, Some(text.clone()), None),
        Asked::Sentence(text) => (None, None, Some(text.clone())),
    };
    JsonLine {
        image,
        question,
        phrase,
        sentence,
        answer: (masks.len() > 1 && item.answer.matches("[SEG]").count() == masks.len())
            .then(|| item.answer.clone()),
        masks,
        ignore: ignored.then(|| source(IGNORED)),
        family: (!item.family.is_empty()).then(|| item.family.clone()),
    }
}

fn size(item: &ValidationItem) -> (usize, usize) {
    (item.image.width() as usize, item.image.height() as usize)
}

/// The pixels of the target with this value; what several polygons cover is inside.
fn mask(item: &ValidationItem, value: u8) -> Mask {
    mask_of(item, &item.target, value)
}

/// As [`mask`], of other values of the picture's size.
fn mask_of(item: &ValidationItem, values: &[u8], value: u8) -> Mask {
    let (width, height) = size(item);
    let is_value = |pixel: &u8| match value {
        IGNORED => *pixel == IGNORED,
        _ => !matches!(*pixel, 0 | IGNORED),
    };
    Mask { width, height, data: values.iter().map(|pixel| u8::from(is_value(pixel))).collect() }
}
