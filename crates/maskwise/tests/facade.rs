//! The facade as a library: the committed checkpoint on the committed pictures.

#![allow(clippy::unwrap_used)]

use maskwise::convert::{ConvertOptions, convert};
use maskwise::hub::Environment;
use maskwise::image::{RgbImage, decode_path};
use maskwise::inspect::inspect;
use maskwise::mask::Mask;
#[cfg(feature = "embedded-model")]
use maskwise::tabletop::{SceneConfig, Split, World};
use maskwise::{
    AskMode, AskOptions, Error, Event, ModelPlaces, ModelSource, Outcome, PointsChoice, Segmenter,
    SegmenterOptions, Stage, StopReason, Turn,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const BLUE_CIRCLE: &str = "Segment the blue circle.";

/// A picture of the Tabletop world's test split about which the embedded model answers well.
#[cfg(feature = "embedded-model")]
const EMBEDDED_PICTURE: u64 = 194;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A small model that knows coloured shapes.
fn model_folder() -> PathBuf {
    repository().join("tests/tiny-read/model")
}

/// No variable of the process and no hub cache.
fn environment() -> Environment {
    Environment::from_lookup(|_| None).with_cache(Path::new("/nonexistent/hub"))
}

fn load(folder: &Path, points: PointsChoice) -> Segmenter {
    let options = SegmenterOptions { points, environment: Some(environment()), ..Default::default() };
    Segmenter::load(&ModelSource::Folder(folder.to_owned()), options).unwrap()
}

fn tiny_read() -> Segmenter {
    load(&model_folder(), PointsChoice::default())
}

fn picture(name: &str) -> RgbImage {
    decode_path(&repository().join("tests/tiny-read").join(name), &Default::default()).unwrap()
}

/// The blue pixels of the picture.
fn blue(image: &RgbImage) -> Mask {
    let is_blue = |pixel: &[u8]| pixel[2] > 150 && pixel[0] < 100 && pixel[1] < 120;
    let values: Vec<u8> = image.pixels().map(|pixel| u8::from(is_blue(&pixel.0))).collect();
    Mask::from_values(&values, image.height() as usize, image.width() as usize).unwrap()
}

#[test]
fn load_look_ask() {
    let (segmenter, image) = (tiny_read(), picture("shapes-a.png"));
    let mut scene = segmenter.look(&image).unwrap();
    let answer = scene.ask(BLUE_CIRCLE).unwrap();
    assert_eq!((answer.outcome, answer.text.as_str()), (Outcome::Segmented, "It is [SEG] ."));
    assert_eq!((answer.stop, answer.teacher_forced), (Some(StopReason::EndOfSequence), false));
    assert_eq!(&answer.model, segmenter.identity());
    let [mask] = &answer.masks[..] else { panic!("{} masks", answer.masks.len()) };
    let truth = blue(&image);
    assert!(mask.mask.iou(&truth).unwrap() > 0.9);
    assert_eq!(mask.to_rle().decode(), mask.mask);
    assert!(mask.scores.seg_probability > 0.9 && mask.scores.mean_probability > 0.5);

    // The similarity is highest on what was asked for, and 0 outside of the square that the language model saw.
    let map = mask.similarity_map().unwrap();
    assert_eq!(map.len(), 320 * 240);
    assert!(map.iter().all(|value| (0.0..=1.0).contains(value)));
    let mean = |inside: bool| {
        let chosen: Vec<f32> =
            (0..map.len()).filter(|i| truth.get(i % 320, i / 320) == inside).map(|i| map[i]).collect();
        chosen.iter().sum::<f32>() / chosen.len() as f32
    };
    assert!(mean(true) > 2.0 * mean(false), "{} inside, {} outside", mean(true), mean(false));
    assert!((0..240).all(|y| map[y * 320] == 0.0 && map[y * 320 + 319] == 0.0));
    let heat = mask.draw_similarity(&image).unwrap();
    assert_eq!(heat.dimensions(), image.dimensions());

    let overlay = answer.draw_on(&image).unwrap();
    let changed = |x, y| overlay.get_pixel(x, y) != image.get_pixel(x, y);
    assert!(changed(94, 120) && !changed(310, 230));
    assert!(answer.draw_on(&RgbImage::new(10, 10)).is_err(), "another image's size");

    let refusal = scene.ask("Where is the red circle?").unwrap();
    assert_eq!((refusal.outcome, refusal.masks.len()), (Outcome::Declined, 0));
    assert_eq!((refusal.timings.encode_for_language, refusal.timings.encode_for_masks), (0.0, 0.0));
    assert_eq!(refusal.draw_on(&image).unwrap(), image);
}

#[test]
fn earlier_turns_are_read_and_their_segs_not_drawn_again() {
    let (segmenter, image) = (tiny_read(), picture("shapes-a.png"));
    let mut scene = segmenter.look(&image).unwrap();
    let first = Turn { question: BLUE_CIRCLE.to_owned(), answer: "It is [SEG] .".to_owned() };
    let options = AskOptions {
        mode: AskMode::TeacherForced("It is [SEG] .".to_owned()),
        history: vec![first.clone(), first],
        ..Default::default()
    };
    let go_on = &mut |_| ControlFlow::Continue(());
    let answer = scene.ask_with("Segment the red triangle.", &options, go_on).unwrap();
    assert_eq!(answer.masks.len(), 1, "one [SEG] is this answer's, two are history");
    let alone = scene
        .ask_with("Segment the red triangle.", &AskOptions { history: Vec::new(), ..options }, go_on)
        .unwrap();
    assert_ne!(answer.masks[0].scores, alone.masks[0].scores, "the history is read");
}

#[test]
fn stages_are_told_and_writing_can_be_broken_off() {
    let (segmenter, image) = (tiny_read(), picture("shapes-a.png"));
    let mut scene = segmenter.look(&image).unwrap();
    let mut events = Vec::new();
    let answer = scene
        .ask_with(BLUE_CIRCLE, &AskOptions::default(), &mut |event| {
            events.push(event);
            ControlFlow::Continue(())
        })
        .unwrap();
    let stages: Vec<Event> =
        events.iter().copied().filter(|event| matches!(event, Event::Stage(_))).collect();
    let all = [Stage::EncodeForLanguage, Stage::Answer, Stage::EncodeForMasks, Stage::Masks];
    assert_eq!(stages, all.map(Event::Stage));
    assert_eq!(events.len() - stages.len(), answer.timings.tokens);
    let cancelled = scene
        .ask_with(BLUE_CIRCLE, &AskOptions::default(), &mut |event| match event {
            Event::Token(2) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .unwrap();
    assert_eq!((cancelled.stop, cancelled.timings.tokens), (Some(StopReason::Cancelled), 2));
}

#[test]
fn without_points_none_are_chosen() {
    let image = picture("shapes-a.png");
    let segmenter = load(&model_folder(), PointsChoice { none: true, ..Default::default() });
    let answer = segmenter.look(&image).unwrap().ask(BLUE_CIRCLE).unwrap();
    assert!(answer.masks[0].points.is_empty());
    assert!(answer.masks[0].mask.iou(&blue(&image)).unwrap() > 0.8);
}

#[test]
fn a_converted_model_is_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("converted");
    let source = ModelSource::Folder(model_folder());
    let mut told = (0, 0);
    convert(&source, &target, ConvertOptions::default(), &environment(), &mut |done, total| {
        told = (done, total)
    })
    .unwrap();
    assert!(told.0 > 0 && told.0 == told.1, "{told:?}");
    let image = picture("shapes-a.png");
    let answers = [tiny_read(), load(&target, PointsChoice::default())]
        .map(|segmenter| segmenter.look(&image).unwrap().ask(BLUE_CIRCLE).unwrap());
    assert_eq!(answers[0].masks[0].mask, answers[1].masks[0].mask);
    assert_eq!(answers[0].masks[0].scores, answers[1].masks[0].scores);
    let again = convert(&source, &target, ConvertOptions::default(), &environment(), &mut |_, _| {});
    assert!(again.unwrap_err().to_string().contains("exists already"));
}

#[cfg(feature = "embedded-model")]
#[test]
fn the_embedded_model_is_the_one_in_its_folder() {
    let mini = repository().join("crates/maskwise-mini/model");
    let options = || SegmenterOptions { environment: Some(environment()), ..Default::default() };
    let embedded = Segmenter::load(&ModelSource::default(), options()).unwrap();
    let folder = load(&mini, PointsChoice::default());
    let model = maskwise::EmbeddedModel::get().unwrap();
    let identity = embedded.identity();
    assert_eq!(identity.name, format!("embedded:{}", model.name));
    assert_eq!((identity.revision.as_deref(), identity.dtype.as_str()), (Some(model.version), "f32"));
    assert_eq!(identity.config_sha256, folder.identity().config_sha256);

    let world = World::new(1, Split::Test, SceneConfig::default()).unwrap();
    let item = world.validation_item(EMBEDDED_PICTURE).unwrap();
    let answers = [&embedded, &folder]
        .map(|segmenter| segmenter.look(&item.image).unwrap().ask(&item.question).unwrap());
    assert_eq!(answers[0].text, answers[1].text);
    let [mask, expected] = answers.each_ref().map(|answer| &answer.masks[0]);
    let (height, width) = (item.image.height() as usize, item.image.width() as usize);
    let target = Mask::from_values(&item.target, height, width).unwrap();
    assert!(mask.mask.iou(&target).unwrap() > 0.75);
    assert_eq!(mask.mask, expected.mask);
    assert_eq!((mask.scores, &mask.points), (expected.scores, &expected.points), "to the last bit");
    assert_eq!(mask.similarity_map().unwrap(), expected.similarity_map().unwrap(), "to the last bit");
}

#[cfg(feature = "embedded-model")]
#[test]
fn the_embedded_model_is_inspected_and_converted() {
    let source = ModelSource::default();
    let inspection = inspect(&source, ModelPlaces::default(), &environment()).unwrap();
    assert_eq!((inspection.defects, inspection.image_tokens), (None, 256));
    assert_eq!(inspection.vision_tower, Path::new("embedded model maskwise-mini: vision_tower"));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("converted");
    convert(&source, &target, ConvertOptions::default(), &environment(), &mut |_, _| {}).unwrap();
    let mini = repository().join("crates/maskwise-mini/model");
    let world = World::new(1, Split::Test, SceneConfig::default()).unwrap();
    let item = world.validation_item(EMBEDDED_PICTURE).unwrap();
    let [one, two] = [mini.as_path(), target.as_path()].map(|folder| {
        let segmenter = load(folder, PointsChoice::default());
        segmenter.look(&item.image).unwrap().ask(&item.question).unwrap()
    });
    assert_eq!(one.masks[0].mask, two.masks[0].mask);
    let sam = ModelPlaces { sam: Some(model_folder().join("model.safetensors")), ..Default::default() };
    let refusal = inspect(&source, sam, &environment()).unwrap_err().to_string();
    assert!(refusal.starts_with("embedded model maskwise-mini: "), "{refusal}");
}

#[test]
fn parameters_are_the_sum_of_the_tensors() {
    let source = ModelSource::Folder(model_folder());
    let inspection = inspect(&source, ModelPlaces::default(), &environment()).unwrap();
    let values: u64 = inspection.tensors.iter().map(|row| row.shape.iter().product::<usize>() as u64).sum();
    assert_eq!(inspection.parameters.values().sum::<u64>(), values);
    // Two bytes each, and nothing else but headers: what the files weigh.
    let files = ["model.safetensors", "clip/model.safetensors"].map(|name| {
        let bytes = std::fs::read(model_folder().join(name)).unwrap();
        bytes.len() as u64 - 8 - u64::from_le_bytes(bytes[..8].try_into().unwrap())
    });
    assert_eq!(2 * values, files.iter().sum::<u64>());
    assert_eq!(inspection.image_tokens, 64);
    assert_eq!(inspection.defects, None);
}

#[test]
fn images_and_questions_that_cannot_be_used_are_errors() {
    let segmenter = tiny_read();
    assert!(segmenter.look(&RgbImage::new(0, 0)).is_err());
    let image = picture("shapes-a.png");
    let mut scene = segmenter.look(&image).unwrap();
    assert!(matches!(scene.ask(" "), Err(Error::Text(_))));
    assert!(matches!(scene.ask("What is [SEG]?"), Err(Error::Text(_))));
    assert!(scene.ask(BLUE_CIRCLE).is_ok(), "an error leaves the scene usable");
    // A single pixel is an image too: an answer or an error, but no panic.
    if let Ok(mut scene) = segmenter.look(&RgbImage::new(1, 1)) {
        let _ = scene.ask(BLUE_CIRCLE);
    }
}

#[test]
fn a_segmenter_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let segmenter = tiny_read();
    shared(&segmenter);
    let image = picture("shapes-a.png");
    let ask = || segmenter.look(&image).unwrap().ask(BLUE_CIRCLE).unwrap().masks.remove(0).mask;
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(ask);
        (ask(), other.join().unwrap())
    });
    assert_eq!(one, two);
}
