//! SAM's image encoder beside the language model changes no answer.

#![allow(clippy::unwrap_used)]

use maskwise::hub::Environment;
use maskwise::image::{RgbImage, decode_path};
use maskwise::{
    Answer, AskOptions, Event, ModelSource, Scene, Segmenter, SegmenterOptions, Stage, THREADS_FOR_BOTH,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const QUESTIONS: [&str; 3] =
    ["Segment the blue circle.", "Where is the red circle?", "Segment the red triangle."];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tiny_read() -> Segmenter {
    let environment = Environment::from_lookup(|_| None).with_cache(Path::new("/nonexistent/hub"));
    let options = SegmenterOptions { environment: Some(environment), ..Default::default() };
    Segmenter::load(&ModelSource::Folder(repository().join("tests/tiny-read/model")), options).unwrap()
}

fn picture() -> RgbImage {
    decode_path(&repository().join("tests/tiny-read/shapes-a.png"), &Default::default()).unwrap()
}

fn on<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn assert_equal(one: &Answer, other: &Answer) {
    assert_eq!(one.text, other.text);
    assert_eq!(one.masks.len(), other.masks.len());
    for (one, other) in one.masks.iter().zip(&other.masks) {
        assert!(one.mask == other.mask, "{}", one.phrase);
        assert_eq!(one.scores, other.scores);
        assert!(one.points == other.points);
    }
}

/// The answer and whether SAM's encoder was told of.
fn ask(scene: &mut Scene, question: &str) -> (Answer, bool) {
    let mut is_told = false;
    let on_event = &mut |event| {
        is_told |= event == Event::Stage(Stage::EncodeForMasks);
        ControlFlow::Continue(())
    };
    let answer = scene.ask_with(question, &AskOptions::default(), on_event).unwrap();
    (answer, is_told)
}

#[test]
fn answers_are_the_same_beside_and_after() {
    let (segmenter, picture) = (tiny_read(), picture());
    for question in QUESTIONS {
        let (after, is_told) = on(1, || ask(&mut segmenter.look(&picture).unwrap(), question));
        assert_eq!(is_told, !after.masks.is_empty(), "SAM runs after the answer, if it is needed");
        let (beside, is_told) =
            on(THREADS_FOR_BOTH, || ask(&mut segmenter.look(&picture).unwrap(), question));
        assert!(!is_told && beside.timings.encode_for_masks == 0.0, "SAM runs beside the answer");
        assert_equal(&beside, &after);
    }
}

#[test]
fn it_may_be_refused() {
    let (segmenter, picture) = (tiny_read(), picture());
    let options = AskOptions { encode_beside: false, ..AskOptions::default() };
    let ask = || {
        let mut scene = segmenter.look(&picture).unwrap();
        scene.ask_with(QUESTIONS[0], &options, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    assert!(on(THREADS_FOR_BOTH, ask).timings.encode_for_masks > 0.0);
}

#[test]
fn further_questions_find_the_encoding() {
    let (segmenter, picture) = (tiny_read(), picture());
    let run = || {
        let mut scene = segmenter.look(&picture).unwrap();
        QUESTIONS.map(|question| ask(&mut scene, question).0)
    };
    let (beside, after) = (on(THREADS_FOR_BOTH, run), on(1, run));
    assert!(after.iter().any(|answer| !answer.masks.is_empty()));
    beside.iter().zip(&after).for_each(|(beside, after)| assert_equal(beside, after));
}

#[test]
fn answers_written_together_too() {
    let (segmenter, picture) = (tiny_read(), picture());
    let run = || {
        let mut scene = segmenter.look(&picture).unwrap();
        let go_on = &mut |_, _| ControlFlow::Continue(());
        let answers = scene.ask_all(&QUESTIONS, &AskOptions::default(), go_on);
        answers.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let (beside, after) = (on(THREADS_FOR_BOTH, run), on(1, run));
    assert!(beside.iter().all(|answer| answer.timings.encode_for_masks == 0.0));
    beside.iter().zip(&after).for_each(|(beside, after)| assert_equal(beside, after));
}

#[test]
fn writing_can_be_broken_off() {
    let (segmenter, picture) = (tiny_read(), picture());
    let break_off = |event| match event {
        Event::Token(2) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let run = || {
        let mut scene = segmenter.look(&picture).unwrap();
        scene.ask_with(QUESTIONS[0], &AskOptions::default(), &mut break_off.clone()).unwrap()
    };
    let (beside, after) = (on(THREADS_FOR_BOTH, run), on(1, run));
    assert_eq!(beside.timings.tokens, 2);
    assert_equal(&beside, &after);
}
