//! Writes the tiny datasets of `tests/datasets`, one for each layout: `cargo run --example tiny_datasets -- DIR`.
//!
//! Three pictures of the Tabletop world, 96 pixels a side, annotated in every published layout: polygons, polygons of several parts, run
//! lengths compressed and plain, crowds, what is not there.

use std::error::Error;
use std::fs;
use std::path::Path;

use maskwise_data::dataset::{IndexCache, JsonLinesValidation, Target, convert};
use maskwise_data::mask::{IGNORED, Mask, png};
use maskwise_data::pickle;
use maskwise_data::tabletop::{Kind, Scene, SceneConfig};
use maskwise_data::text::QuestionTemplates;
use rand_pcg::{Pcg64Mcg, rand_core::SeedableRng};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SIDE: usize = 96;

fn main() -> Outcome<()> {
    let folder = std::env::args().nth(1).ok_or("usage: tiny_datasets DIR")?;
    let folder = Path::new(&folder);
    let mut scenes = Vec::new();
    for seed in [3, 11, 16] {
        let config = SceneConfig { size: SIDE, things: 2..=3, ..SceneConfig::default() };
        scenes.push(Scene::draw(&mut Pcg64Mcg::seed_from_u64(seed), &config)?);
    }
    ours(&folder.join("jsonl"), &scenes)?;
    let open = |split: &str| {
        let cache = IndexCache::none();
        JsonLinesValidation::open("ours", &folder.join("jsonl"), split, QuestionTemplates::bare(), &cache)
    };
    for (target, name) in
        [(Target::ReasonSeg, "reasonseg"), (Target::Coco, "coco"), (Target::LabelMe, "labelme")]
    {
        convert(&open("val")?, target, &folder.join(name), "val", &mut |_| ())?;
    }
    let lisa = folder.join("lisa");
    pictures(&lisa.join("coco/train2017"), "", &scenes)?;
    pictures(&lisa.join("refer_seg/images/mscoco/images/train2014"), "COCO_train2014_", &scenes)?;
    pictures(&lisa.join("refer_seg/images/saiapr_tc-12"), "", &scenes)?;
    refer(&lisa.join("refer_seg"), &scenes)?;
    muse(&lisa, &scenes)?;
    semantic(&lisa, &scenes)?;
    parts(&lisa, &scenes)?;
    instruct(&lisa, &scenes)
}

fn write_json(path: &Path, value: &Value) -> Outcome<()> {
    fs::create_dir_all(path.parent().ok_or("no folder")?)?;
    Ok(fs::write(path, serde_json::to_vec(value)?)?)
}

fn file_name(prefix: &str, picture: usize) -> String {
    format!("{prefix}{:012}.jpg", picture + 1)
}

fn pictures(folder: &Path, prefix: &str, scenes: &[Scene]) -> Outcome<()> {
    fs::create_dir_all(folder)?;
    for (picture, scene) in scenes.iter().enumerate() {
        scene.image.save(folder.join(file_name(prefix, picture)))?;
    }
    Ok(())
}

/// Our own layout: phrases, a sentence, a question with two masks and its answer, ignored pixels, something that is not there.
fn ours(folder: &Path, scenes: &[Scene]) -> Outcome<()> {
    pictures(&folder.join("images"), "", scenes)?;
    let mut lines = String::new();
    for (picture, scene) in scenes.iter().enumerate() {
        let image = format!("images/{}", file_name("", picture));
        let [first, second, ..] = &scene.things[..] else { return Err("a scene of one thing".into()) };
        let mut add = |line: Value| lines.push_str(&format!("{line}\n"));
        let names = [first.kind.name(), second.kind.name()];
        add(json!({"image": image, "phrase": format!("the {}", names[0]), "masks": [first.mask.to_rle()],
            "ignore": second.mask.to_rle(), "family": "phrase"}));
        add(json!({"image": image, "sentence": format!("Where is the {} in this picture?", names[1]),
            "masks": [second.mask.to_rle()], "family": "sentence"}));
        add(json!({"image": image, "question": "Segment two things.",
            "answer": format!("The {} [SEG] and the {} [SEG].", names[0], names[1]),
            "masks": [first.mask.to_rle(), second.mask.to_rle()], "family": "several"}));
        add(json!({"image": image, "phrase": "the moon", "masks": [], "family": "absent"}));
    }
    Ok(fs::write(folder.join("val.jsonl"), lines)?)
}

/// An area in one of the ways that COCO's files have.
fn area(mask: &Mask, way: usize) -> Value {
    let polygons = || -> Vec<Vec<f64>> {
        mask.to_polygons().into_iter().map(|polygon| polygon.outer.into_iter().flatten().collect()).collect()
    };
    let code = mask.to_rle();
    match way % 4 {
        0 => json!(polygons()),
        1 => json!(code),
        2 => json!({"size": code.size(), "counts": code.counts()}),
        _ => json!([code]),
    }
}

fn annotation(id: usize, picture: usize, category: usize, mask: &Mask, way: usize, crowd: u8) -> Value {
    let bounds = mask.bbox().map_or([0; 4], |b| [b.x, b.y, b.width, b.height]);
    json!({"id": id, "image_id": picture + 1, "category_id": category, "segmentation": area(mask, way), "area": mask.area(),
        "bbox": bounds, "iscrowd": crowd})
}

fn images(prefix: &str, scenes: &[Scene]) -> Vec<Value> {
    let image = |picture| json!({"id": picture + 1, "file_name": file_name(prefix, picture), "height": SIDE, "width": SIDE});
    (0..scenes.len()).map(image).collect()
}

fn category(kind: Kind) -> usize {
    Kind::ALL.iter().position(|known| *known == kind).map_or(0, |place| place + 1)
}

/// RefCOCO and its relatives; the first picture is for training, the others for validation.
fn refer(root: &Path, scenes: &[Scene]) -> Outcome<()> {
    for (dataset, split_by, prefix) in [
        ("refclef", "unc", ""),
        ("refcoco", "unc_exclude_unified", "COCO_train2014_"),
        ("fprefcoco", "berkeley_exclude_unified", "COCO_train2014_"),
        ("R-refcoco", "unc_exclude_unified", "COCO_train2014_"),
    ] {
        let (mut annotations, mut references) = (Vec::new(), Vec::new());
        for (picture, scene) in scenes.iter().enumerate() {
            for thing in &scene.things {
                let id = annotations.len() + 1;
                annotations.push(annotation(id, picture, category(thing.kind), &thing.mask, id, 0));
                let name = format!("the {} {}", thing.colour.name(), thing.kind.name());
                let mut sentences = vec![json!({"sent_id": 2 * id, "sent": name, "raw": name, "tokens": []})];
                let mut meant = json!(id);
                if dataset == "fprefcoco" {
                    sentences[0]["is_false_premise"] = json!(false);
                    sentences.push(
                        json!({"sent_id": 2 * id + 1, "sent": "the moon", "raw": "the moon", "tokens": [],
                        "is_false_premise": true, "gt_sent": name}),
                    );
                }
                if dataset == "R-refcoco" {
                    sentences[0]["exist"] = json!(true);
                    meant = json!([id]);
                }
                let split = if picture == 0 { "train" } else { "val" };
                references.push(json!({"ref_id": id, "ann_id": meant, "category_id": category(thing.kind),
                    "image_id": picture + 1, "split": split, "file_name": file_name(prefix, picture), "sent_ids": [],
                    "sentences": sentences}));
            }
            if dataset == "R-refcoco" {
                references.push(json!({"ref_id": 1000 + picture, "ann_id": [-1], "category_id": -1, "image_id": picture + 1,
                    "split": "val", "file_name": file_name(prefix, picture), "sent_ids": [],
                    "sentences": [{"sent_id": 0, "sent": "the moon", "raw": "the moon", "tokens": [], "exist": false}]}));
            }
        }
        let folder = root.join(dataset);
        let categories: Vec<Value> =
            Kind::ALL.iter().map(|kind| json!({"id": category(*kind), "name": kind.name()})).collect();
        write_json(
            &folder.join("instances.json"),
            &json!({"images": images(prefix, scenes), "annotations": annotations, "categories": categories}),
        )?;
        pickle::write(&folder.join(format!("refs({split_by}).p")), &references)?;
    }
    Ok(())
}

/// MUSE: polygons and plain run lengths, an answer in words and one of names, a picture of 2014 by its name and others by address.
fn muse(root: &Path, scenes: &[Scene]) -> Outcome<()> {
    let mut entries = Vec::new();
    for (picture, scene) in scenes.iter().enumerate() {
        let all: Vec<Value> = scene
            .things
            .iter()
            .enumerate()
            .map(|(place, thing)| {
                json!({"category_id": category(thing.kind), "category_name": thing.kind.name(),
                    "rephrased_name": format!("the {} {}", thing.colour.name(), thing.kind.name()),
                    "segmentation": area(&thing.mask, 2 * place), "bbox": [0, 0, 1, 1]})
            })
            .collect();
        let text = vec!["{seg}"; all.len()].join(" beside ");
        let mut entry = json!({"height": SIDE, "width": SIDE, "ann_list": all,
            "questions": ["What lies on the table?", "Which two things stand out?"],
            "answers": [all, all[..2]], "text_answers": [format!("There are {text}."), null]});
        match picture {
            0 => entry["file_name"] = json!(file_name("COCO_train2014_", picture)),
            _ => {
                entry["coco_url"] =
                    json!(format!("http://images.cocodataset.org/train2017/{}", file_name("", picture)))
            }
        }
        entries.push(entry);
    }
    entries.push(json!({"coco_url": "train2017/none.jpg", "height": 1, "width": 1, "ann_list": []}));
    write_json(&root.join("muse_val.json"), &json!(entries))
}

/// ADE20K, COCO-Stuff and Mapillary: the scenes' kinds as classes, the rest unlabelled where the layout has a value for it.
fn semantic(root: &Path, scenes: &[Scene]) -> Outcome<()> {
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    write_json(&root.join("ade20k/ade20k_classes.json"), &json!(names))?;
    let lines: String =
        names.iter().enumerate().map(|(index, name)| format!("{}: {name}\n", index + 1)).collect();
    fs::create_dir_all(root.join("cocostuff/train2017"))?;
    fs::write(root.join("cocostuff/cocostuff_classes.txt"), format!("0: unlabeled\n{lines}"))?;
    let labels: Vec<Value> = names.iter().map(|name| json!({"readable": name.to_uppercase()})).collect();
    write_json(&root.join("mapillary/config_v2.0.json"), &json!({"labels": labels}))?;
    pictures(&root.join("ade20k/images/training"), "ADE_train_", scenes)?;
    pictures(&root.join("mapillary/training/images"), "", scenes)?;
    for (dataset, folder, prefix, rest) in [
        ("ade20k", "annotations/training", "ADE_train_", 0),
        ("cocostuff", "train2017", "", IGNORED),
        ("mapillary", "training/v2.0/labels", "", IGNORED),
    ] {
        let folder = root.join(dataset).join(folder);
        fs::create_dir_all(&folder)?;
        for (picture, scene) in scenes.iter().enumerate() {
            let mut values = vec![rest; SIDE * SIDE];
            for thing in &scene.things {
                // ADE20K counts its classes from 1.
                let class = category(thing.kind) as u8 - u8::from(dataset != "ade20k");
                let pixels = values.iter_mut().zip(&thing.mask.data);
                pixels.filter(|(_, inside)| **inside == 1).for_each(|(value, _)| *value = class);
            }
            let name = Path::new(&file_name(prefix, picture)).with_extension("png");
            png::write_index(&folder.join(name), &values, SIDE, SIDE)?;
        }
    }
    Ok(())
}

/// PACO-LVIS and PASCAL-Part: things and their parts as categories, one thing as a crowd.
fn parts(root: &Path, scenes: &[Scene]) -> Outcome<()> {
    pictures(&root.join("vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages"), "", scenes)?;
    for (file, prefix) in [
        ("vlpart/paco/annotations/paco_lvis_v1_train.json", "train2017/"),
        ("vlpart/pascal_part/train.json", ""),
    ] {
        let (mut names, mut annotations): (Vec<String>, Vec<Value>) = Default::default();
        for (picture, scene) in scenes.iter().enumerate() {
            for thing in &scene.things {
                let whole = (format!("{}_(thing)", thing.kind.name()), &thing.mask);
                let parts = thing.parts.iter().filter(|part| !part.mask.is_empty());
                let parts =
                    parts.map(|part| (format!("{}:{}", thing.kind.name(), part.part.name), &part.mask));
                for (name, mask) in [whole].into_iter().chain(parts) {
                    let category = match names.iter().position(|known| *known == name) {
                        Some(place) => place + 1,
                        None => {
                            names.push(name);
                            names.len()
                        }
                    };
                    let id = annotations.len() + 1;
                    annotations.push(annotation(id, picture, category, mask, id, 0));
                }
            }
            let id = annotations.len() + 1;
            annotations.push(annotation(id, picture, 1, &scene.things[1].mask, 1, 1));
        }
        let categories: Vec<Value> =
            names.iter().enumerate().map(|(place, name)| json!({"id": place + 1, "name": name})).collect();
        write_json(
            &root.join(file),
            &json!({"images": images(prefix, scenes), "annotations": annotations, "categories": categories}),
        )?;
    }
    Ok(())
}

fn instruct(root: &Path, scenes: &[Scene]) -> Outcome<()> {
    let entry = |(picture, scene): (usize, &Scene)| {
        let names: Vec<&str> = scene.things.iter().map(|thing| thing.kind.name()).collect();
        json!({"id": format!("{picture}"), "image": file_name("", picture), "conversations": [
            {"from": "human", "value": "What do you see?\n<image>"},
            {"from": "gpt", "value": format!("I see a {}.", names.join(", a "))},
            {"from": "human", "value": "Is it a photograph?"},
            {"from": "gpt", "value": "No, it is drawn."}]})
    };
    let entries: Vec<Value> = scenes.iter().enumerate().map(entry).collect();
    write_json(&root.join("llava_dataset/llava_instruct_150k.json"), &json!(entries))
}
