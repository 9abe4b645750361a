//! What is written, read back by the readers of the published datasets.

use super::*;
use crate::dataset::{
    Composition, Convention, IndexCache, ReferValidation, SampleRng, TrainingDataset, ValidationDataset,
};
use crate::dataset::{ReasonSeg, ReasonSegValidation, ValidationItem};
use crate::pickle;
use crate::tabletop::SceneConfig;
use crate::text::QuestionTemplates;
use std::sync::Arc;

fn world(split: Split) -> World {
    World::new(5, split, SceneConfig { size: 96, ..SceneConfig::default() }).unwrap()
}

fn written(split: Split, layout: Layout, count: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut heard = Vec::new();
    write_layout(&world(split), layout, folder.path(), count, &mut |done| heard.push(done)).unwrap();
    assert_eq!(heard, (1..=count).collect::<Vec<_>>());
    folder
}

fn items(dataset: &dyn ValidationDataset) -> Vec<ValidationItem> {
    (0..dataset.len()).map(|index| dataset.item(index).unwrap()).collect()
}

/// JPEG changes values, but not by much.
fn assert_close(read: &RgbImage, drawn: &RgbImage) {
    assert_eq!(read.dimensions(), drawn.dimensions());
    let difference: u64 = read.iter().zip(drawn.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    assert!(difference < 12 * drawn.len() as u64, "{difference}");
}

#[test]
fn reason_seg_is_read_back_to_the_pixel() {
    let folder = written(Split::Validation, Layout::ReasonSeg, 12);
    let folder = folder.path().join("val");
    let dataset = ReasonSegValidation::open("val", &folder, QuestionTemplates::read()).unwrap();
    let (world, items) = (world(Split::Validation), items(&dataset));
    assert_eq!(items.len(), 12);
    let mut index = 0;
    for item in items {
        while !folder.join(format!("{index:06}.jpg")).exists() {
            index += 1;
        }
        let sample = both_premises(&world, index).unwrap();
        let question = sample.questions.iter().find(|question| question.exists()).unwrap();
        assert_eq!(item.target, question.mask(&sample.scene).data, "{question:?}");
        assert!(item.question.contains(text_of(question).0), "{} {question:?}", item.question);
        assert_close(&item.image, &sample.scene.image);
        index += 1;
    }
}

#[test]
fn reason_seg_can_be_trained_on() {
    let folder = written(Split::Train, Layout::ReasonSeg, 4);
    let composition = Arc::new(Composition::new(Convention::Lisa, None, 3).unwrap());
    let dataset = ReasonSeg::open("train", &folder.path().join("train"), composition).unwrap();
    let item = dataset.draw(&mut SampleRng::new(1)).unwrap();
    assert!(!item.conversations.is_empty());
}

#[test]
fn refcoco_is_read_back_to_the_pixel() {
    for (layout, name, split_by) in [
        (Layout::RefCoco, "refcoco", "unc_exclude_unified"),
        (Layout::FpRefCoco, "fprefcoco", "berkeley_exclude_unified"),
    ] {
        let folder = written(Split::Test, layout, 8);
        let open = |split| {
            ReferValidation::open(
                folder.path(),
                name,
                split_by,
                split,
                QuestionTemplates::read(),
                &IndexCache::none(),
            )
        };
        let read = items(&open("test").unwrap());
        assert!(open("val").is_err());
        let world = world(Split::Test);
        let mut expected = Vec::new();
        for index in 0..8 {
            let sample = world.sample(index).unwrap();
            for question in &sample.questions {
                if question.exists() || layout == Layout::FpRefCoco {
                    expected.push((question.phrase.clone(), question.mask(&sample.scene).data));
                }
            }
        }
        assert_eq!(read.len(), expected.len(), "{layout}");
        for (phrase, mask) in expected {
            let found = read.iter().any(|item| {
                item.question.contains(&phrase)
                    && item.target == mask
                    && item.exists == item.target.contains(&1)
            });
            assert!(found, "{layout}: {phrase}");
        }
        assert_eq!(read.iter().any(|item| !item.exists), layout == Layout::FpRefCoco);
    }
}

#[test]
fn false_expressions_come_with_true_ones() {
    let folder = written(Split::Train, Layout::FpRefCoco, 6);
    let references: serde_json::Value =
        pickle::read(&folder.path().join("fprefcoco/refs(berkeley_exclude_unified).p")).unwrap();
    let sentences = references.as_array().unwrap().iter().flat_map(|r| r["sentences"].as_array().unwrap());
    for sentence in sentences {
        let differs = sentence["sent"] != sentence["gt_sent"];
        assert_eq!(sentence["is_false_premise"], differs, "{sentence}");
    }
}

#[test]
fn folders_with_contents_and_nothing_to_write_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut quiet = |_| ();
    let target = folder.path().join("new/data");
    let none = write_layout(&world(Split::Train), Layout::RefCoco, &target, 0, &mut quiet).unwrap_err();
    assert!(matches!(none, LayoutError::NoPictures) && !target.exists());
    write_layout(&world(Split::Train), Layout::RefCoco, &target, 1, &mut quiet).unwrap();
    let again = write_layout(&world(Split::Train), Layout::RefCoco, &target, 1, &mut quiet).unwrap_err();
    assert!(again.to_string().contains("is not empty"), "{again}");
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(write_layout(&world(Split::Train), Layout::RefCoco, &file, 1, &mut quiet).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
