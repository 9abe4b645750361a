//! Every layout that the readers know: the tiny datasets of `tests/datasets` (made by maskwise-data's example `tiny_datasets`), and what is
//! said of damaged copies.

#![allow(clippy::unwrap_used)] // The lints exempt test functions, not their helpers.

use maskwise::data::dataset::{IndexCache, ProblemKind, Survey, ValidationDataset, survey};
use maskwise::data::text::QuestionTemplates;
use maskwise_eval::Benchmark;
use std::fs;
use std::path::{Path, PathBuf};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/datasets")
}

fn refer(root: &Path, dataset: &str) -> Benchmark {
    Benchmark::refer(root.join("lisa/refer_seg"), dataset, None, "val".to_owned())
}

fn semantic(root: &Path, dataset: &str) -> Benchmark {
    Benchmark::Semantic { data: root.join("lisa"), dataset: dataset.to_owned() }
}

/// The datasets below `root` by the name of their layout.
fn benchmark(root: &Path, layout: &str) -> Benchmark {
    let split = "val".to_owned();
    match layout {
        "reasonseg" => Benchmark::ReasonSeg { data: root.join("reasonseg"), split },
        "jsonl" => Benchmark::JsonLines { data: root.join("jsonl"), split },
        "coco" => Benchmark::Coco { data: root.join("coco/val.json"), images: root.join("coco/images") },
        "labelme" => Benchmark::LabelMe { data: root.join("labelme/val") },
        "muse" => Benchmark::Muse { data: root.join("lisa"), split },
        "llava-instruct" => Benchmark::Instruct { data: root.join("lisa") },
        "refclef" | "refcoco" | "fprefcoco" | "R-refcoco" => refer(root, layout),
        _ => semantic(root, layout),
    }
}

fn open(root: &Path, layout: &str, cache: &IndexCache) -> Result<Box<dyn ValidationDataset>, String> {
    benchmark(root, layout).open(QuestionTemplates::bare(), cache).map_err(|error| error.to_string())
}

fn surveyed(root: &Path, layout: &str) -> Result<Survey, String> {
    Ok(survey(open(root, layout, &IndexCache::none())?.as_ref(), &mut |_| ()))
}

/// Questions, those about what is not there, and pictures.
const SOUND: [(&str, usize, usize, usize); 15] = [
    ("reasonseg", 9, 0, 9),
    ("jsonl", 12, 3, 3),
    ("coco", 9, 0, 3),
    ("labelme", 3, 0, 3),
    ("refclef", 4, 0, 2),
    ("refcoco", 4, 0, 2),
    ("fprefcoco", 8, 4, 2),
    ("R-refcoco", 7, 3, 3),
    ("muse", 6, 0, 3),
    ("ade20k", 6, 0, 3),
    ("cocostuff", 6, 0, 3),
    ("mapillary", 6, 0, 3),
    ("paco_lvis", 17, 0, 3),
    ("pascal_part", 17, 0, 3),
    ("llava-instruct", 3, 3, 3),
];

#[test]
fn the_tiny_datasets_are_sound() {
    for (layout, questions, absent, pictures) in SOUND {
        let survey = surveyed(&tiny(), layout).unwrap();
        assert!(survey.problems.is_empty(), "{layout}: {:?}", survey.problems);
        let found = (survey.questions, survey.absent, survey.pictures);
        assert_eq!(found, (questions, absent, pictures), "{layout}");
        assert_eq!((survey.widths.least, survey.widths.greatest), (96.0, 96.0), "{layout}");
        if absent < questions {
            assert!(survey.covered.least > 0.001 && survey.covered.greatest < 0.5, "{layout}: {survey:?}");
        }
    }
}

#[test]
fn an_index_gives_the_same_items() {
    let folder = tempfile::tempdir().unwrap();
    let cache = IndexCache::at(folder.path());
    for (layout, ..) in SOUND {
        let plain = open(&tiny(), layout, &IndexCache::none()).unwrap();
        // Made, then used.
        for _ in 0..2 {
            let kept = open(&tiny(), layout, &cache).unwrap();
            assert_eq!(kept.len(), plain.len(), "{layout}");
            for index in 0..plain.len() {
                assert_eq!(kept.item(index).unwrap(), plain.item(index).unwrap(), "{layout} {index}");
                assert_eq!(kept.picture(index), plain.picture(index), "{layout} {index}");
            }
        }
    }
    // Folders of single files have none: they are listed, or small.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), SOUND.len() - 2);
}

/// The tiny datasets, to be damaged.
fn copy() -> tempfile::TempDir {
    fn copy_into(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            match path.is_dir() {
                true => copy_into(&path, &target),
                false => drop(fs::copy(&path, target).unwrap()),
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    copy_into(&tiny(), folder.path());
    folder
}

/// The annotation files, the picture of a question, and the layouts that they belong to.
const FILES: [(&str, &str, &[&str]); 9] = [
    ("reasonseg/val/000000.json", "reasonseg/val/000000.jpg", &["reasonseg"]),
    ("jsonl/val.jsonl", "jsonl/images/000000000001.jpg", &["jsonl"]),
    ("coco/val.json", "coco/images/000000.jpg", &["coco"]),
    ("labelme/val/000000.json", "labelme/val/000000.jpg", &["labelme"]),
    (
        "lisa/refer_seg/refcoco/instances.json",
        "lisa/refer_seg/images/mscoco/images/train2014/COCO_train2014_000000000002.jpg",
        &["refcoco"],
    ),
    (
        "lisa/muse_val.json",
        "lisa/refer_seg/images/mscoco/images/train2014/COCO_train2014_000000000001.jpg",
        &["muse"],
    ),
    (
        "lisa/vlpart/paco/annotations/paco_lvis_v1_train.json",
        "lisa/coco/train2017/000000000001.jpg",
        &["paco_lvis"],
    ),
    (
        "lisa/vlpart/pascal_part/train.json",
        "lisa/vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages/000000000001.jpg",
        &["pascal_part"],
    ),
    (
        "lisa/llava_dataset/llava_instruct_150k.json",
        "lisa/coco/train2017/000000000001.jpg",
        &["llava-instruct"],
    ),
];

/// What opening or checking says; one line, and no panic.
fn said(root: &Path, layout: &str) -> Vec<String> {
    let said = match surveyed(root, layout) {
        Err(error) => vec![error],
        Ok(survey) => survey.problems.into_iter().map(|problem| problem.reason).collect(),
    };
    for line in &said {
        assert!(!line.trim().is_empty() && !line.trim().contains('\n'), "{layout}: {line:?}");
    }
    said
}

#[test]
fn annotation_files_that_are_cut_off_or_no_text_are_named() {
    let folder = copy();
    for (file, _, layouts) in FILES {
        let path = folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let broken = |bytes: &[u8], what: &str| {
            fs::write(&path, bytes).unwrap();
            for layout in layouts {
                let said = said(folder.path(), layout);
                assert!(!said.is_empty() && said[0].contains(name), "{layout}, {what}: {said:?}");
            }
        };
        broken(&whole[..whole.len() / 2], "cut off");
        broken(b"", "empty");
        broken(b"null", "null");
        broken(b"[[[[[[[[", "open lists");
        broken(b"{\"images\": 7, \"shapes\": 7}", "numbers");
        broken(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture");
        fs::remove_file(&path).unwrap();
        for layout in layouts {
            let said = said(folder.path(), layout);
            // A folder of LabelMe files does not know that one is missing.
            assert!(
                *layout == "labelme" || said.iter().any(|line| line.contains(name)),
                "{layout}: {said:?}"
            );
        }
        fs::write(&path, &whole).unwrap();
        for layout in layouts {
            assert_eq!(said(folder.path(), layout), Vec::<String>::new(), "{layout} again");
        }
    }
}

#[test]
fn pictures_that_are_missing_damaged_or_of_another_size_are_counted() {
    let folder = copy();
    for (_, picture, layouts) in FILES {
        let path = folder.path().join(picture);
        let whole = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let counted = |what: &str| {
            for layout in layouts {
                let said = said(folder.path(), layout);
                let sound = SOUND.iter().find(|(name, ..)| name == layout).unwrap();
                // Of our own layout the line is named.
                let names = |line: &String| line.contains(name) || line.contains("val.jsonl: line 1");
                assert!(said.iter().any(names), "{layout}, {what}: {said:?}");
                assert!(said.len() < sound.1, "{layout}, {what}: the others are sound, {said:?}");
            }
        };
        fs::write(&path, &whole[..whole.len() / 3]).unwrap();
        counted("cut off");
        // Instructions come without a size, and that of ReasonSeg's files is not looked at, as in the reference.
        if !["llava-instruct", "reasonseg"].contains(&layouts[0]) {
            image::RgbImage::new(40, 30).save(&path).unwrap();
            counted("another size");
        }
        // A picture of ReasonSeg that is gone takes its question along.
        if layouts != ["reasonseg"] {
            fs::remove_file(&path).unwrap();
            counted("missing");
        }
        fs::write(&path, &whole).unwrap();
    }
}

/// Replaces the first `from` of a file.
fn replace(root: &Path, file: &str, from: &str, to: &str) {
    let path = root.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

/// The first of the areas in a file: what stands behind `"segmentation":`, up to `end`.
fn first_area(root: &Path, file: &str, before: &str) -> String {
    let text = fs::read_to_string(root.join(file)).unwrap();
    let key = "\"segmentation\":";
    let start = text.find(before).unwrap();
    let start = start + text[start..].find(key).unwrap() + key.len();
    let end = start + text[start..].find(",\"").unwrap();
    text[start..end].to_owned()
}

#[test]
fn areas_that_are_none_are_counted_and_named() {
    for (layout, file, before) in [
        ("refcoco", "lisa/refer_seg/refcoco/instances.json", "\"image_id\":2"),
        ("muse", "lisa/muse_val.json", "\"answers\""),
        ("paco_lvis", "lisa/vlpart/paco/annotations/paco_lvis_v1_train.json", "\"annotations\""),
        ("pascal_part", "lisa/vlpart/pascal_part/train.json", "\"annotations\""),
    ] {
        let mut outcomes = Vec::new();
        for area in [
            // Outside of the picture, two points, another size, another type, an odd number of coordinates, nothing.
            "[[500,500,600,500,600,600]]",
            "[[1,1,5,5]]",
            "{\"size\":[3,3],\"counts\":[0,9]}",
            "{\"size\":[96,96],\"counts\":[1,2,3]}",
            "\"everything\"",
            "[[1,2,3]]",
            "[[1e300,0,5,5,9,1e300]]",
            "[[null,0,5,5,9,9]]",
            "[]",
        ] {
            let folder = copy();
            // Keys of our writer stand in the order of the alphabet or of writing; either way a comma and a quote end an area.
            let old = first_area(folder.path(), file, before);
            let path = folder.path().join(file);
            let text = fs::read_to_string(&path).unwrap();
            let at = text.find(before).unwrap();
            let (head, tail) = text.split_at(at);
            fs::write(&path, format!("{head}{}", tail.replacen(&old, area, 1))).unwrap();
            outcomes.push((area, said(folder.path(), layout)));
        }
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        for (area, said) in &outcomes {
            let names = |line: &String| line.contains(name) || line.contains("no pixel");
            assert!(!said.is_empty() && said.iter().all(names), "{layout} takes {area}: {said:?}");
            let sound = SOUND.iter().find(|(name, ..)| *name == layout).unwrap().1;
            assert!(said.len() < sound, "{layout}, {area}: {said:?}");
        }
    }
}

#[test]
fn reasonseg_reads_cp1252_and_names_shapes_that_are_none() {
    let file = "reasonseg/val/000000.json";
    let folder = copy();
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    let mut bytes = text.into_bytes();
    let at = bytes.windows(7).position(|window| window == b"\"text\":").unwrap();
    let quote = at + 7 + bytes[at + 7..].iter().position(|byte| *byte == b'"').unwrap();
    // An é of cp1252.
    bytes.insert(quote + 1, 0xe9);
    fs::write(&path, &bytes).unwrap();
    let items = open(folder.path(), "reasonseg", &IndexCache::none()).unwrap();
    assert!(items.item(0).unwrap().text().starts_with('é'));

    let folder = copy();
    replace(folder.path(), file, "\"points\": [", "\"points\": [\"x\",");
    let said = said(folder.path(), "reasonseg");
    assert!(said.len() == 1 && said[0].contains("000000.json"), "{said:?}");
}

#[test]
fn pickles_execute_nothing() {
    for dataset in ["refclef", "refcoco", "fprefcoco", "R-refcoco"] {
        let folder = copy();
        let split_by = if dataset == "refclef" {
            "unc"
        } else if dataset == "fprefcoco" {
            "berkeley_exclude_unified"
        } else {
            "unc_exclude_unified"
        };
        let path = folder.path().join(format!("lisa/refer_seg/{dataset}/refs({split_by}).p"));
        let proof = folder.path().join("executed");
        let command = format!("cos\nsystem\n(S'touch {}'\ntR.", proof.display());
        fs::write(&path, command).unwrap();
        let line = said(folder.path(), dataset);
        assert!(line.len() == 1 && line[0].contains("os.system"), "{line:?}");
        assert!(!proof.exists());
        let whole = fs::read(tiny().join(format!("lisa/refer_seg/{dataset}/refs({split_by}).p"))).unwrap();
        for cut in [0, 1, 2, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            let line = said(folder.path(), dataset);
            assert!(line.len() == 1 && line[0].contains("refs("), "{cut}: {line:?}");
        }
    }
}

#[test]
fn label_maps_that_are_none_are_counted() {
    for (layout, map, picture) in [
        (
            "ade20k",
            "ade20k/annotations/training/ADE_train_000000000001.png",
            "ade20k/images/training/ADE_train_000000000002.jpg",
        ),
        ("cocostuff", "cocostuff/train2017/000000000001.png", "coco/train2017/000000000002.jpg"),
        (
            "mapillary",
            "mapillary/training/v2.0/labels/000000000001.png",
            "mapillary/training/images/000000000002.jpg",
        ),
    ] {
        let folder = copy();
        let at = |name: &str| folder.path().join("lisa").join(name);
        let whole = fs::read(at(map)).unwrap();
        fs::write(at(map), &whole[..whole.len() / 2]).unwrap();
        image::RgbImage::new(40, 30).save(at(picture)).unwrap();
        let said_of_both = said(folder.path(), layout);
        assert!(said_of_both.iter().any(|line| line.contains("000000000001.png")), "{said_of_both:?}");
        assert!(said_of_both.iter().any(|line| line.contains("000000000002.jpg")), "{said_of_both:?}");
        // A colour picture is no label map; a label beyond the classes is none.
        image::RgbImage::new(96, 96).save(at(map)).unwrap();
        assert!(said(folder.path(), layout).iter().any(|line| line.contains("no label map")), "{layout}");
        image::GrayImage::from_pixel(96, 96, image::Luma([200])).save(at(map)).unwrap();
        assert!(said(folder.path(), layout).iter().any(|line| line.contains("label 200")), "{layout}");
    }
}

#[test]
fn muse_names_answers_that_do_not_fit() {
    let file = "lisa/muse_val.json";
    let folder = copy();
    replace(folder.path(), file, "There are {seg}", "There are");
    let line = said(folder.path(), "muse");
    assert!(
        line.len() == 1 && line[0].contains("the answer has 2 [SEG], but there are 3 targets"),
        "{line:?}"
    );
    let folder = copy();
    replace(folder.path(), file, "\"answers\":[[", "\"answers\":[[],[");
    let line = said(folder.path(), "muse");
    assert!(line.iter().any(|line| line.contains("question 0 has no answer")), "{line:?}");
    let folder = copy();
    replace(folder.path(), file, "\"height\":96", "\"height\":\"tall\"");
    let line = said(folder.path(), "muse");
    assert!(line.iter().all(|line| line.contains("entry 0")) && !line.is_empty(), "{line:?}");
}

#[test]
fn muse_entries_that_contradict_themselves_are_counted() {
    let file = "lisa/muse_val.json";
    let folder = copy();
    let text = fs::read_to_string(folder.path().join(file)).unwrap();
    let mut entries: serde_json::Value = serde_json::from_str(&text).unwrap();
    entries[0]["ann_list"] = serde_json::Value::Null;
    entries[0]["questions"] = serde_json::json!([]);
    fs::write(folder.path().join(file), entries.to_string()).unwrap();
    let line = said(folder.path(), "muse");
    assert!(line.len() == 1 && line[0].contains("entry 0") && line[0].contains("no question 0"), "{line:?}");
}

#[test]
fn problems_are_counted_by_sort() {
    let folder = copy();
    let pictures = folder.path().join("jsonl/images");
    fs::remove_file(pictures.join("000000000001.jpg")).unwrap();
    fs::write(pictures.join("000000000002.jpg"), "no picture").unwrap();
    let counts = surveyed(folder.path(), "jsonl").unwrap().problem_counts();
    let counts: Vec<_> = counts.into_iter().collect();
    assert_eq!(counts, [(ProblemKind::MissingPicture, 4), (ProblemKind::UnreadablePicture, 4)]);
}

#[test]
fn muse_has_its_targets_one_by_one() {
    let items = open(&tiny(), "muse", &IndexCache::none()).unwrap();
    let (first, second) = (items.item(0).unwrap(), items.item(1).unwrap());
    assert!(first.answer.starts_with("There are [SEG] beside [SEG]"), "{}", first.answer);
    assert!(
        second.answer.ends_with(" is [SEG].") && second.answer.contains(" is [SEG] and the "),
        "{}",
        second.answer
    );
    assert_eq!((second.masks, second.instances.len()), (2, 2));
    assert_eq!(first.instances[..2], second.instances[..]);
    let union: Vec<u8> =
        second.instances[0].iter().zip(&second.instances[1]).map(|(a, b)| u8::from(a + b > 0)).collect();
    assert_eq!(second.target, union);
    assert!(items.item(2).unwrap().file.unwrap().ends_with("coco/train2017/000000000002.jpg"));
}
