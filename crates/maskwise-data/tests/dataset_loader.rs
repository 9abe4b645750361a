//! Mixing by rates, and the loader: order, resuming, failures, the end.

#![allow(clippy::unwrap_used)] // Helpers outside #[test] functions are test code as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use image::RgbImage;
use maskwise_data::dataset::{
    DatasetError, Loader, LoaderConfig, Mixture, SampleRng, TrainingConversation, TrainingDataset,
    TrainingItem,
};
use maskwise_data::mask::Mask;
use rand::RngExt;

type Make = fn(u64) -> TrainingItem;

/// Items that carry a number from their generator.
struct Numbers {
    name: &'static str,
    item: Make,
}

impl TrainingDataset for Numbers {
    fn name(&self) -> &str {
        self.name
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        Ok((self.item)(rng.random_range(0..1_000_000)))
    }
}

fn good(number: u64) -> TrainingItem {
    TrainingItem {
        id: number.to_string(),
        image: RgbImage::new(2, 1),
        conversations: vec![TrainingConversation {
            rounds: vec![("Where?".to_owned(), "It is [SEG].".to_owned())],
            masks: vec![Mask::empty(2, 1)],
        }],
    }
}

fn dataset(name: &'static str, item: Make) -> Box<dyn TrainingDataset> {
    Box::new(Numbers { name, item })
}

fn mixture() -> Arc<Mixture> {
    let parts = vec![(dataset("a", good), 9.0), (dataset("b", |n| good(n + 1_000_000)), 1.0)];
    Arc::new(Mixture::new("all", parts).unwrap())
}

fn config(start: u64, workers: usize) -> LoaderConfig {
    LoaderConfig { seed: 42, start, workers, ahead: 7 }
}

#[test]
fn an_item_is_a_function_of_seed_and_position() {
    let mixture = mixture();
    let id = |seed, position| mixture.item(seed, position).unwrap().id;
    let first: Vec<String> = (0..200).map(|position| id(1, position)).collect();
    assert_eq!((0..200).rev().map(|position| id(1, position)).collect::<Vec<_>>(), {
        let mut reversed = first.clone();
        reversed.reverse();
        reversed
    });
    let other: Vec<String> = (0..200).map(|position| id(2, position)).collect();
    assert!(first.iter().zip(&other).all(|(a, b)| a != b));
    // Pinned, so that a run can be resumed by a later version.
    assert_eq!([id(0, 0), id(0, 1), id(1, 0)], PINNED);
}

const PINNED: [&str; 3] = ["881261", "434539", "1147034"];

#[test]
fn rates_are_the_shares() {
    let mixture = mixture();
    let of_b = (0..20_000).filter(|&position| mixture.item(3, position).unwrap().id.len() > 6).count();
    // Ten standard deviations of a binomial with 20,000 draws at 0.1.
    assert!((of_b as f64 - 2000.0).abs() < 10.0 * (20_000.0_f64 * 0.1 * 0.9).sqrt(), "{of_b}");
    let nothing = vec![(dataset("a", good), 0.0), (dataset("b", |n| good(n + 1_000_000)), 1.0)];
    let mixture = Mixture::new("all", nothing).unwrap();
    assert!((0..500).all(|position| mixture.item(3, position).unwrap().id.len() > 6));
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    for rates in [&[][..], &[0.0], &[1.0, -1.0], &[f64::NAN], &[f64::INFINITY], &[f64::MAX, f64::MAX]] {
        let parts = rates.iter().map(|&rate| (dataset("a", good), rate)).collect();
        let error = Mixture::new("all", parts).err().unwrap();
        assert!(error.to_string().starts_with("all: "), "{error}");
    }
}

#[test]
fn items_that_contradict_themselves_are_refused_by_name() {
    let cases: [(Make, &str); 3] = [
        (
            |_| {
                let mut item = good(5);
                item.conversations[0].masks.clear();
                item
            },
            "dataset x: 5: the answers have 1 [SEG], but there are 0 masks",
        ),
        (
            |_| {
                let mut item = good(5);
                item.conversations[0].masks[0] = Mask::empty(1, 2);
                item
            },
            "dataset x: 5: a mask of 1x2 belongs to an image of 2x1",
        ),
        (|_| TrainingItem { conversations: Vec::new(), ..good(5) }, "dataset x: 5: it has no question"),
    ];
    for (item, message) in cases {
        let mixture = Mixture::new("all", vec![(dataset("x", item), 1.0)]).unwrap();
        assert_eq!(mixture.item(0, 0).unwrap_err().to_string(), message);
    }
}

#[test]
fn the_sequence_is_the_same_for_any_number_of_workers_and_from_anywhere() {
    let mixture = mixture();
    let expected: Vec<String> = (0..60).map(|position| mixture.item(42, position).unwrap().id).collect();
    for workers in [1, 2, 5] {
        // Uneven work, so that items finish out of order.
        let prepare = |item: TrainingItem| {
            std::thread::sleep(Duration::from_micros(item.id.parse::<u64>().unwrap() % 5 * 100));
            item.id
        };
        let loader = Loader::start(mixture.clone(), config(0, workers), prepare).unwrap();
        let ids: Vec<String> = loader.take(60).map(Result::unwrap).collect();
        assert_eq!(ids, expected, "{workers} workers");
        let mut loader = Loader::start(mixture.clone(), config(23, workers), prepare).unwrap();
        assert_eq!(loader.position(), 23);
        let ids: Vec<String> = loader.by_ref().take(37).map(Result::unwrap).collect();
        assert_eq!(ids, expected[23..], "{workers} workers");
        assert_eq!(loader.position(), 60);
    }
}

#[test]
fn failures_arrive_at_their_position_and_the_rest_goes_on() {
    let fail = |item: TrainingItem| {
        assert!(!item.id.ends_with('7'), "no sevens");
        item.id
    };
    let mixture = mixture();
    let loader = Loader::start(mixture.clone(), config(0, 3), fail).unwrap();
    let mut failed = 0;
    for (position, item) in loader.take(80).enumerate() {
        let id = mixture.item(42, position as u64).unwrap().id;
        match item {
            Ok(found) => assert_eq!(found, id),
            Err(error) => {
                failed += 1;
                assert!(id.ends_with('7'));
                assert_eq!(
                    error.to_string(),
                    format!("preparing the item at position {position} failed: no sevens")
                );
            }
        }
    }
    assert!(failed > 0);
}

#[test]
fn work_ahead_is_bounded_and_dropping_joins_the_threads() {
    let prepared = Arc::new(AtomicUsize::new(0));
    let counter = prepared.clone();
    let count = move |item: TrainingItem| {
        counter.fetch_add(1, Ordering::SeqCst);
        item.id
    };
    let mut loader = Loader::start(mixture(), config(0, 4), count).unwrap();
    loader.next().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(prepared.load(Ordering::SeqCst), 8);
    drop(loader);
    // The closure, and with it the counter's second handle, lives as long as the threads.
    assert_eq!(Arc::strong_count(&prepared), 1);
}
