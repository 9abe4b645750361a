//! MUSE for training: the words around several masks.

#![allow(clippy::unwrap_used)] // Helpers outside #[test] functions are test code as well.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maskwise_data::dataset::{Composition, Convention, Mixture, Muse, TrainingItem};

fn lisa() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/datasets/lisa")
}

fn items(rows: usize, count: u64) -> Vec<TrainingItem> {
    let composition = Arc::new(Composition::new(Convention::Lisa, None, rows).unwrap());
    let dataset = Muse::open(&lisa(), "val", composition).unwrap();
    let mixture = Mixture::new("all", vec![(Box::new(dataset), 1.0)]).unwrap();
    (0..count).map(|position| mixture.item(0, position).unwrap()).collect()
}

#[test]
fn every_answer_has_a_seg_for_each_mask() {
    let items = items(3, 60);
    let pictures: BTreeSet<&str> = items.iter().map(|item| item.id.as_str()).collect();
    assert_eq!(pictures.len(), 3, "{pictures:?}");
    for item in &items {
        assert_eq!(item.conversations.len(), 2, "all questions of a picture");
        for row in &item.conversations {
            let [(question, answer)] = &row.rounds[..] else { panic!("{row:?}") };
            assert!(question.ends_with("segmentation mask."), "{question}");
            assert_eq!(answer.matches("[SEG]").count(), row.masks.len(), "{answer}");
            assert!(
                row.masks.iter().all(|mask| mask.area() > 20 && mask.data.iter().all(|value| *value < 2))
            );
        }
        assert!(item.conversations[0].rounds[0].1.starts_with("There are [SEG] beside [SEG]"));
    }
}

/// The second question has no text: names are joined in one of the published ways.
#[test]
fn names_are_joined_as_published() {
    let answers: BTreeSet<String> =
        items(3, 400).iter().map(|item| item.conversations[1].rounds[0].1.clone()).collect();
    let some = |text: &str| answers.iter().any(|answer| answer.contains(text));
    assert!(some(" is [SEG] and "), "{answers:?}");
    for text in
        [" are [SEG] and [SEG].", " are [SEG] and [SEG], separately.", "Sure, the segmentation result of "]
    {
        assert!(some(text), "{text}: {answers:?}");
    }
    assert!(answers.iter().all(|answer| answer.ends_with('.') && !answer.contains('{')), "{answers:?}");
}

/// Nine of ten names are GPT's, which say the colour too.
#[test]
fn most_names_are_the_rephrased_ones() {
    let answers: Vec<String> =
        items(3, 600).iter().map(|item| item.conversations[1].rounds[0].1.clone()).collect();
    let count = |name: &str| answers.iter().map(|answer| answer.matches(name).count()).sum::<usize>();
    let entries: serde_json::Value =
        serde_json::from_slice(&std::fs::read(lisa().join("muse_val.json")).unwrap()).unwrap();
    let (mut names, mut rephrased) = (BTreeSet::new(), BTreeSet::new());
    for annotation in
        entries.as_array().unwrap().iter().filter_map(|entry| entry["ann_list"].as_array()).flatten()
    {
        names.insert(annotation["category_name"].as_str().unwrap());
        rephrased.insert(annotation["rephrased_name"].as_str().unwrap());
    }
    let all: usize = names.into_iter().map(count).sum();
    let rephrased: usize = rephrased.into_iter().map(count).sum();
    let share = rephrased as f64 / all as f64;
    assert!(all > 500 && (0.86..0.94).contains(&share), "{rephrased} of {all}");
}

#[test]
fn rows_are_limited() {
    assert!(items(1, 20).iter().all(|item| item.conversations.len() == 1));
}
