//! Semantic segmentation as conversations: ADE20K, COCO-Stuff and Mapillary by label maps, PACO-LVIS and PASCAL-Part by instances
//! (spec 6.1).
//!
//! The reference draws one of the five uniformly; a [`Mixture`](super::Mixture) with equal rates does the same. Where an image has no
//! usable label another one of the same dataset is drawn.

mod class_maps;
mod label_maps;
mod labels;
mod parts;

use rand::RngExt;

use super::composition::single;
use super::{Composition, Convention, SampleRng, TrainingConversation};
use crate::mask::Mask;

pub use label_maps::{LabelMaps, LabelMapsValidation};
pub use parts::PartInstances;
pub(super) use parts::{class_phrase, paco_lvis_files, pascal_part_files};

/// Shares of items that ask for absent classes and deny them, and that name a present class instead.
const DENIALS: f64 = 0.07;
const CORRECTIONS: f64 = 0.08;

/// What the rows of an item ask for.
#[derive(Clone, Copy, PartialEq)]
enum Premise {
    True,
    Denied,
    Corrected,
}

impl Premise {
    fn draw(composition: &Composition, rng: &mut SampleRng) -> Self {
        let at: f64 = rng.random();
        match composition.convention {
            Convention::Read if at < DENIALS => Self::Denied,
            Convention::Read if at < DENIALS + CORRECTIONS => Self::Corrected,
            _ => Self::True,
        }
    }
}

/// Rows about present classes, or about absent ones of which each takes the place of a present one.
fn conversations(
    composition: &Composition,
    rng: &mut SampleRng,
    premise: Premise,
    present: Vec<(String, Mask)>,
    absent: Vec<String>,
) -> Vec<TrainingConversation> {
    let mut rows = Vec::new();
    if premise == Premise::True {
        for (name, mask) in present {
            let name = name.to_lowercase();
            let question = composition.short_question(rng, &name);
            rows.push(single(question, composition.short_answer(rng, &name), Some(mask)));
        }
        return rows;
    }
    for ((there, _), name) in present.into_iter().zip(absent) {
        let (there, name) = (there.to_lowercase(), name.to_lowercase());
        let question = composition.short_question(rng, &name);
        let answer = match premise {
            Premise::Corrected => composition.correction(rng, &name, &there),
            _ => composition.denial(rng, &name),
        };
        rows.push(single(question, answer, None));
    }
    rows
}
