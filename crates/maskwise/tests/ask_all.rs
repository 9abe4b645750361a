//! Questions that are asked together are answered as if each were asked alone.

#![allow(clippy::unwrap_used)]

use maskwise::hub::Environment;
use maskwise::image::{RgbImage, decode_path};
#[cfg(feature = "embedded-model")]
use maskwise::tabletop::{SceneConfig, Split, World};
use maskwise::{
    Answer, AskMode, AskOptions, DtypeChoice, Error, Event, ModelSource, QUESTIONS_TOGETHER, Result, Scene,
    Segmenter, SegmenterOptions, Stage, StopReason, Turn,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const BLUE_CIRCLE: &str = "Segment the blue circle.";
const RED_CIRCLE: &str = "Where is the red circle?";
const BOTH: &str = "Segment the blue circle and the red triangle.";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn load(source: &ModelSource, dtype: Option<DtypeChoice>) -> Segmenter {
    let environment = Environment::from_lookup(|_| None).with_cache(Path::new("/nonexistent/hub"));
    let options = SegmenterOptions { dtype, environment: Some(environment), ..Default::default() };
    Segmenter::load(source, options).unwrap()
}

/// A small model that knows coloured shapes.
fn tiny_read(dtype: Option<DtypeChoice>) -> Segmenter {
    load(&ModelSource::Folder(repository().join("tests/tiny-read/model")), dtype)
}

fn picture() -> RgbImage {
    decode_path(&repository().join("tests/tiny-read/shapes-a.png"), &Default::default()).unwrap()
}

fn together(scene: &mut Scene, questions: &[&str], options: &AskOptions) -> Vec<Result<Answer>> {
    scene.ask_all(questions, options, &mut |_, _| ControlFlow::Continue(()))
}

fn alone(scene: &mut Scene, questions: &[&str], options: &AskOptions) -> Vec<Result<Answer>> {
    let mut answers = Vec::new();
    for question in questions {
        answers.push(scene.ask_with(question, options, &mut |_| ControlFlow::Continue(())));
    }
    answers
}

#[track_caller]
fn assert_equal(together: &[Result<Answer>], alone: &[Result<Answer>]) {
    assert_eq!(together.len(), alone.len());
    for (together, alone) in together.iter().zip(alone) {
        let (one, other) = match (together, alone) {
            (Ok(one), Ok(other)) => (one, other),
            (Err(one), Err(other)) => {
                assert_eq!(one.to_string(), other.to_string());
                continue;
            }
            _ => panic!("{together:?} {alone:?}"),
        };
        let told = |answer: &Answer| {
            let tokens = answer.timings.tokens;
            (answer.question.clone(), answer.text.clone(), answer.stop, answer.teacher_forced, tokens)
        };
        assert_eq!(told(one), told(other));
        assert_eq!((one.outcome, one.masks.len()), (other.outcome, other.masks.len()), "{}", one.question);
        for (one, other) in one.masks.iter().zip(&other.masks) {
            assert!(one.mask == other.mask || one.mask.iou(&other.mask).unwrap() >= 0.999);
            assert_eq!((&one.phrase, one.points.len()), (&other.phrase, other.points.len()));
            assert!((one.scores.seg_probability - other.scores.seg_probability).abs() < 1e-3);
            assert!((one.scores.predicted_iou - other.scores.predicted_iou).abs() < 1e-3);
        }
    }
}

#[cfg(feature = "embedded-model")]
#[test]
fn the_embedded_model_answers_twenty_questions_as_one_by_one() {
    let segmenter = load(&ModelSource::default(), None);
    let world = World::new(1, Split::Test, SceneConfig::default()).unwrap();
    let texts = |picture: u64| world.sample(picture).unwrap().questions.into_iter().map(|asked| asked.text);
    // Of this picture, of others, and some twice.
    let texts: Vec<String> = [194, 194, 195, 196, 197].into_iter().flat_map(texts).take(20).collect();
    let questions: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert!(questions.len() == 20 && questions.len() > 2 * QUESTIONS_TOGETHER);
    let image = world.validation_item(194).unwrap().image;
    let options = AskOptions::default();
    let mut scene = segmenter.look(&image).unwrap();
    let found = together(&mut scene, &questions, &options);
    let mut other = segmenter.look(&image).unwrap();
    assert_equal(&found, &alone(&mut other, &questions, &options));
    let answers: Vec<&Answer> = found.iter().map(|answer| answer.as_ref().unwrap()).collect();
    assert!(answers.iter().filter(|answer| !answer.masks.is_empty()).count() >= 5);
    let lengths = answers.iter().map(|answer| answer.timings.tokens);
    assert!(lengths.clone().min() < lengths.max(), "answers end at different places");

    // The first question pays for what all share; time is given to all that were answered together.
    assert!(answers[0].timings.encode_for_language > 0.0);
    assert!(answers[1..].iter().all(|answer| answer.timings.encode_for_language == 0.0));
    let seconds_of_a_token = |answer: &&Answer| answer.timings.answer / answer.timings.tokens as f64;
    let [first, second] = [0, 1].map(|index| seconds_of_a_token(&answers[index]));
    assert!(first > 0.0 && (first / second - 1.0).abs() < 1e-9, "{first} {second}");
    let drawn = scene.draw_again(&segmenter.mask_prompting()).unwrap();
    assert!(drawn.iter().map(|mask| &mask.mask).eq(answers[19].masks.iter().map(|mask| &mask.mask)));

    // A limit that some answers reach.
    let short = AskOptions { max_new_tokens: 6, ..options };
    assert_equal(&together(&mut scene, &questions[..5], &short), &alone(&mut other, &questions[..5], &short));
}

#[test]
fn one_bad_question_does_not_stop_the_others() {
    let (segmenter, image) = (tiny_read(None), picture());
    let long = "blue ".repeat(3000);
    let questions = [BLUE_CIRCLE, " ", BOTH, "What is [SEG]?", &long, RED_CIRCLE];
    let options = AskOptions::default();
    let mut scene = segmenter.look(&image).unwrap();
    let found = together(&mut scene, &questions, &options);
    assert_equal(&found, &alone(&mut segmenter.look(&image).unwrap(), &questions, &options));
    for bad in [1, 3, 4] {
        assert!(matches!(found[bad], Err(Error::Text(_))), "{}", questions[bad]);
    }
    assert_eq!(found[2].as_ref().unwrap().masks.len(), 2);
    // With nothing left to share, and with nothing at all.
    for questions in [&[" ", BLUE_CIRCLE][..], &[" "], &[]] {
        assert_equal(&together(&mut scene, questions, &options), &alone(&mut scene, questions, &options));
    }
    let nothing = AskOptions { max_new_tokens: 0, ..options };
    assert!(together(&mut scene, &[BLUE_CIRCLE, BOTH], &nothing).iter().all(Result::is_err));
    assert!(scene.ask(BLUE_CIRCLE).is_ok(), "an error leaves the scene usable");
}

#[test]
fn events_name_their_question_and_one_answer_can_be_broken_off() {
    let (segmenter, image) = (tiny_read(None), picture());
    let mut scene = segmenter.look(&image).unwrap();
    let mut events = Vec::new();
    let answers =
        scene.ask_all(&["", BLUE_CIRCLE, BOTH, RED_CIRCLE], &AskOptions::default(), &mut |index, event| {
            events.push((index, event));
            if (index, event) == (2, Event::Token(3)) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
    let stages: Vec<(usize, Stage)> = events
        .iter()
        .filter_map(|(index, event)| match event {
            Event::Stage(stage) => Some((*index, *stage)),
            Event::Token(_) => None,
        })
        .collect();
    let expected =
        [(1, Stage::EncodeForLanguage), (1, Stage::Answer), (1, Stage::EncodeForMasks), (1, Stage::Masks)];
    assert_eq!(stages, expected);
    for (index, answer) in answers.iter().enumerate().skip(1) {
        let told: Vec<Event> = events
            .iter()
            .filter(|told| told.0 == index && matches!(told.1, Event::Token(_)))
            .map(|told| told.1)
            .collect();
        let tokens = answer.as_ref().unwrap().timings.tokens;
        assert_eq!(told, (1..=tokens).map(Event::Token).collect::<Vec<_>>());
    }
    let cancelled = answers[2].as_ref().unwrap();
    assert_eq!((cancelled.stop, cancelled.timings.tokens), (Some(StopReason::Cancelled), 3));
    assert_eq!(answers[1].as_ref().unwrap().stop, Some(StopReason::EndOfSequence));
    assert_eq!(answers[3].as_ref().unwrap().text, "There is no red circle in this image.");
}

#[test]
fn given_answers_history_and_half_precision() {
    let image = picture();
    let questions = [BLUE_CIRCLE, RED_CIRCLE, BOTH];
    let history = vec![Turn { question: BLUE_CIRCLE.to_owned(), answer: "It is [SEG] .".to_owned() }];
    let mode = AskMode::TeacherForced("It is [SEG] .".to_owned());
    for dtype in [None, Some(DtypeChoice::Bf16)] {
        let segmenter = tiny_read(dtype);
        for options in [
            AskOptions::default(),
            AskOptions { history: history.clone(), ..AskOptions::default() },
            AskOptions { mode: mode.clone(), ..AskOptions::default() },
        ] {
            let found = together(&mut segmenter.look(&image).unwrap(), &questions, &options);
            assert_equal(&found, &alone(&mut segmenter.look(&image).unwrap(), &questions, &options));
        }
    }
}
