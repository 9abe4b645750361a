//! ReasonSeg's layout (spec 6.3).

use super::{LayoutError, World};
use super::{both_premises, create_folder, folder_name, text_of, write_jpeg, write_json};
use crate::mask::labelme::{LabelMe, Shape};
use crate::mask::outlines;
use crate::tabletop::Sample;
use serde::Serialize;
use std::path::Path;

/// A picture's annotation: what LabelMe reads, with ReasonSeg's and SESAME's fields.
#[derive(Serialize)]
struct Annotation<'a> {
    #[serde(flatten)]
    shapes: LabelMe,
    text: Vec<&'a str>,
    is_sentence: bool,
    /// Question, whether it is a sentence, answer.
    #[serde(rename = "false_premise_QA")]
    false_premises: Vec<(&'a str, bool, &'a str)>,
}

pub(super) fn write(
    world: &World,
    folder: &Path,
    count: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<(), LayoutError> {
    let folder = folder.join(folder_name(world.split()));
    create_folder(&folder)?;
    let mut written = 0;
    for index in 0.. {
        let sample = both_premises(world, index)?;
        // A picture of two things that are the same may leave nothing to ask.
        let Some(annotation) = annotation(&sample, &format!("{index:06}.jpg")) else { continue };
        write_jpeg(&folder.join(format!("{index:06}.jpg")), &sample.scene.image)?;
        write_json(&folder.join(format!("{index:06}.json")), &annotation)?;
        written += 1;
        progress(written);
        if written == count {
            break;
        }
    }
    Ok(())
}

/// The first true question of a picture and all false ones; `None` if either is missing.
fn annotation<'a>(sample: &'a Sample, image: &str) -> Option<Annotation<'a>> {
    let question = sample.questions.iter().find(|question| question.exists())?;
    let mask = question.mask(&sample.scene);
    let mut shapes = LabelMe::new(image, mask.height, mask.width);
    shapes.shapes = outlines::of(&mask).into_iter().map(shape).collect();
    let (text, is_sentence) = text_of(question);
    let denied = sample.questions.iter().filter(|question| !question.exists());
    let false_premises: Vec<_> = denied
        .map(|question| {
            let (text, is_sentence) = text_of(question);
            (text, is_sentence, question.answer.as_str())
        })
        .collect();
    (!false_premises.is_empty()).then_some(Annotation {
        shapes,
        text: vec![text],
        is_sentence,
        false_premises,
    })
}

fn shape(points: Vec<[f64; 2]>) -> Shape {
    Shape {
        label: "target".to_owned(),
        points,
        group_id: None,
        description: String::new(),
        shape_type: "polygon".to_owned(),
        flags: serde_json::Map::new(),
    }
}
