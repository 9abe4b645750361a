//! RefCOCO's and FP-RefCOCO's layout (spec 6.2).

use super::{Layout, LayoutError, World, create_folder, refer_name, write_file, write_jpeg, write_json};
use crate::mask::Rle;
use crate::pickle;
use crate::tabletop::{Kind, Question, Sample, Target};
use serde::Serialize;
use std::io;
use std::path::Path;

#[derive(Serialize)]
struct Instances {
    info: Info,
    licenses: [(); 0],
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Serialize)]
struct Info {
    description: &'static str,
}

#[derive(Serialize)]
struct Image {
    id: u64,
    file_name: String,
    height: u32,
    width: u32,
}

#[derive(Serialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    category_id: usize,
    iscrowd: u8,
    area: u64,
    /// x, y, width, height.
    bbox: [u32; 4],
    segmentation: [Rle; 1],
}

#[derive(Serialize)]
struct Category {
    id: usize,
    name: &'static str,
    supercategory: &'static str,
}

/// What is said of one annotation.
#[derive(Serialize)]
struct Reference {
    ref_id: u64,
    ann_id: u64,
    category_id: usize,
    image_id: u64,
    split: &'static str,
    file_name: String,
    sent_ids: Vec<u64>,
    sentences: Vec<Sentence>,
}

#[derive(Serialize)]
struct Sentence {
    sent_id: u64,
    sent: String,
    raw: String,
    tokens: Vec<String>,
    /// FP-RefCOCO: whether what it says is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_false_premise: Option<bool>,
    /// FP-RefCOCO: an expression for the annotation that is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    gt_sent: Option<String>,
}

/// What is written so far.
struct Writer {
    split: &'static str,
    with_false: bool,
    instances: Instances,
    references: Vec<Reference>,
    sentences: u64,
}

pub(super) fn write(
    world: &World,
    layout: Layout,
    folder: &Path,
    count: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<(), LayoutError> {
    let with_false = layout == Layout::FpRefCoco;
    // The names under which the readers of LISA, and of SESAME and READ, look for it.
    let (name, split_by): (_, &[&str]) = if with_false {
        ("fprefcoco", &["berkeley_exclude_unified"])
    } else {
        ("refcoco", &["unc", "unc_exclude_unified"])
    };
    let pictures = folder.join("images/mscoco/images/train2014");
    create_folder(&pictures)?;
    let mut writer = Writer::new(refer_name(world.split()), with_false);
    let mut written = 0;
    for index in 0.. {
        let sample = world.sample(index)?;
        if !writer.add(index + 1, &sample) {
            continue;
        }
        write_jpeg(&pictures.join(file_name(index + 1)), &sample.scene.image)?;
        written += 1;
        progress(written);
        if written == count {
            break;
        }
    }
    let folder = folder.join(name);
    create_folder(&folder)?;
    write_json(&folder.join("instances.json"), &writer.instances)?;
    for split_by in split_by {
        let path = folder.join(format!("refs({split_by}).p"));
        let bytes = pickle::to_bytes(&writer.references)
            .map_err(|error| super::failed(&path, io::Error::from(error)))?;
        write_file(&path, &bytes)?;
    }
    Ok(())
}

fn file_name(image: u64) -> String {
    format!("COCO_train2014_{image:012}.jpg")
}

/// A kind's number among COCO's categories, from 1.
fn category(kind: Kind) -> usize {
    kind as usize + 1
}

impl Writer {
    fn new(split: &'static str, with_false: bool) -> Writer {
        let categories = Kind::ALL.iter().map(|&kind| Category {
            id: category(kind),
            name: kind.name(),
            supercategory: kind.family().name(),
        });
        let instances = Instances {
            info: Info { description: "Tabletop, drawn by maskwise" },
            licenses: [],
            images: Vec::new(),
            annotations: Vec::new(),
            categories: categories.collect(),
        };
        Writer { split, with_false, instances, references: Vec::new(), sentences: 0 }
    }

    /// Adds the picture's questions; false if it has none that the layout can hold.
    fn add(&mut self, image_id: u64, sample: &Sample) -> bool {
        let before = self.sentences;
        let mut meant: Vec<(Vec<Target>, usize)> = Vec::new();
        let with_false = self.with_false;
        for question in sample.questions.iter().filter(|question| question.exists() || with_false) {
            let near =
                question.correction.as_ref().map(|(_, thing)| vec![Target { thing: *thing, part: None }]);
            let targets = if question.exists() { question.targets.clone() } else { near.unwrap_or_default() };
            if targets.is_empty() {
                continue;
            }
            let number = match meant.iter().find(|(known, _)| *known == targets) {
                Some((_, number)) => *number,
                None => {
                    let number = self.add_annotation(image_id, sample, &targets);
                    meant.push((targets, number));
                    number
                }
            };
            self.add_sentence(number, question);
        }
        if self.sentences > before {
            let (width, height) = sample.scene.image.dimensions();
            self.instances.images.push(Image { id: image_id, file_name: file_name(image_id), height, width });
        }
        self.sentences > before
    }

    /// An annotation with a reference to it; gives the reference's index.
    fn add_annotation(&mut self, image_id: u64, sample: &Sample, targets: &[Target]) -> usize {
        let id = self.instances.annotations.len() as u64 + 1;
        let category_id = category(sample.scene.things[targets[0].thing].kind);
        let rle = super::super::question::union(&sample.scene, targets).to_rle();
        self.instances.annotations.push(Annotation {
            id,
            image_id,
            category_id,
            iscrowd: 0,
            area: rle.area(),
            bbox: rle.bbox(),
            segmentation: [rle],
        });
        self.references.push(Reference {
            ref_id: id,
            ann_id: id,
            category_id,
            image_id,
            split: self.split,
            file_name: file_name(image_id),
            sent_ids: Vec::new(),
            sentences: Vec::new(),
        });
        self.references.len() - 1
    }

    fn add_sentence(&mut self, reference: usize, question: &Question) {
        let correction = question.correction.as_ref().map(|(text, _)| text.clone());
        let sentence = Sentence {
            sent_id: self.sentences,
            sent: question.phrase.clone(),
            raw: question.phrase.clone(),
            tokens: question.phrase.split(' ').map(str::to_owned).collect(),
            is_false_premise: self.with_false.then(|| !question.exists()),
            gt_sent: self.with_false.then(|| correction.unwrap_or_else(|| question.phrase.clone())),
        };
        self.references[reference].sent_ids.push(self.sentences);
        self.references[reference].sentences.push(sentence);
        self.sentences += 1;
    }
}
