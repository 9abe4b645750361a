//! Answering items, each image decoded and encoded once.

use crate::decode::decode;
use crate::exit::{Ending, describe};
use crate::output::Output;
use crate::questions::Item;
use crate::ui;
use indicatif::ProgressBar;
use maskwise::image::DecodeOptions;
use maskwise::{Answer, AskMode, AskOptions, Outcome, Record, Scene, Segmenter, StopReason};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Images whose encodings are kept for questions to come.
const SCENES: usize = 4;

/// What answers items.
pub(crate) struct Answerer<'a> {
    segmenter: &'a Segmenter,
    decode: DecodeOptions,
    output: Output,
    polygons: bool,
    options: AskOptions,
    stages: ProgressBar,
    /// The images looked at last, the latest at the end.
    scenes: Vec<(PathBuf, Scene<'a>)>,
}

/// An item that was answered.
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) record: Record,
    pub(crate) files: Vec<PathBuf>,
}

/// A line of the output: a record with what the input called it, or why there is none.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum OutputLine<'a> {
    Answered {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a serde_json::Value>,
        #[serde(flatten)]
        record: &'a Record,
    },
    Failed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a serde_json::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        image: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        question: Option<&'a str>,
        error: String,
    },
}

impl<'a> OutputLine<'a> {
    pub(crate) fn failed(item: Option<&'a Item>, error: &anyhow::Error) -> Self {
        Self::Failed {
            id: item.and_then(|item| item.id.as_ref()),
            image: item.map(|item| item.image.as_str()),
            question: item.map(|item| item.question.as_str()),
            error: describe(error),
        }
    }
}

impl<'a> Answerer<'a> {
    pub(crate) fn new(
        segmenter: &'a Segmenter,
        decode: DecodeOptions,
        output: Output,
        polygons: bool,
        options: AskOptions,
        stages: ProgressBar,
    ) -> Self {
        Self { segmenter, decode, output, polygons, options, stages, scenes: Vec::new() }
    }

    /// Answers items about one image; one that has an answer of its own stands alone. The encodings of the last few images are kept.
    pub(crate) fn answer(&mut self, items: &[Item]) -> Vec<anyhow::Result<Answered>> {
        let Some(first) = items.first() else { return Vec::new() };
        let mut scene = match self.scene(&first.path) {
            Ok(scene) => scene,
            Err(error) => {
                let failed = |_| Err(anyhow::anyhow!(describe(&error)));
                return items.iter().map(failed).collect();
            }
        };
        let mut options = self.options.clone();
        if let Some(answer) = &first.answer {
            options.mode = AskMode::TeacherForced(answer.clone());
        }
        let questions: Vec<&str> = items.iter().map(|item| item.question.as_str()).collect();
        let answers = scene.ask_all(&questions, &options, &mut |_, event| {
            ui::show(&self.stages, event);
            ControlFlow::Continue(())
        });
        let answered =
            items.iter().zip(answers).map(|(item, answer)| self.write(item, &scene, answer?)).collect();
        self.scenes.push((first.path.clone(), scene));
        answered
    }

    /// The image at `path`, which is no longer among those that are kept.
    fn scene(&mut self, path: &Path) -> anyhow::Result<Scene<'a>> {
        if let Some(index) = self.scenes.iter().position(|(kept, _)| kept == path) {
            return Ok(self.scenes.remove(index).1);
        }
        if self.scenes.len() == SCENES {
            self.scenes.remove(0);
        }
        Ok(self.segmenter.look(&decode(path, &self.decode)?)?)
    }

    fn write(&self, item: &Item, scene: &Scene, answer: Answer) -> anyhow::Result<Answered> {
        let mut record = Record::new(&item.image, scene.image().dimensions(), &answer);
        if self.polygons {
            for (entry, mask) in record.masks.iter_mut().zip(&answer.masks) {
                entry.polygons = Some(polygons(&mask.mask));
            }
        }
        let files = self.output.write(&item.name, &item.path, scene.image(), &answer, &mut record)?;
        Ok(Answered { answer, record, files })
    }
}

/// COCO polygons, holes joined to their outlines.
fn polygons(mask: &maskwise::mask::Mask) -> Vec<Vec<f64>> {
    mask.to_polygons().iter().map(|polygon| polygon.to_single_ring().concat()).collect()
}

/// Why there is no mask to see, in words, where there is none.
pub(crate) fn without_mask(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Segmented => None,
        Outcome::Declined => Some("no mask: there is no [SEG] in the answer"),
        Outcome::Empty => Some("empty mask: there is a [SEG] in the answer, but no pixel belongs to it"),
    }
}

/// Why an answer is not whole, where it is not.
pub(crate) fn cut_off(stop: Option<StopReason>) -> Option<&'static str> {
    match stop {
        Some(StopReason::MaxNewTokens) => Some("cut off: the answer reached --max-new-tokens"),
        Some(StopReason::ContextFull) => Some("cut off: the model's context is full"),
        _ => None,
    }
}

/// The ending that an outcome stands for.
pub(crate) fn ending(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Segmented => Ending::Done,
        Outcome::Declined | Outcome::Empty => Ending::WithoutMask,
    }
}
