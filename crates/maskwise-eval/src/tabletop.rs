//! The Tabletop world as a benchmark: generated answers, by family of questions.

use crate::{EvalError, Sample, Summary};
use maskwise::Segmenter;
use maskwise::mask::overlap_with_target;
use maskwise::tabletop::{QuestionFamily, QuestionWeights, SceneConfig, Split, World};
use rayon::prelude::*;

/// Which pictures and questions.
#[derive(Clone, Debug, PartialEq)]
pub struct TabletopConfig {
    /// Which world.
    pub world_seed: u64,
    /// Which of its splits.
    pub split: Split,
    /// How many pictures; each is asked one question.
    pub count: u64,
    /// How often each family is asked for.
    pub questions: QuestionWeights,
}

/// Asks `segmenter` the questions of `config`; it writes its answers. The samples come in the order of the pictures, whatever the
/// number of threads. `on_progress` hears after each.
///
/// # Errors
/// [`EvalError::Benchmark`] when the world has no such questions, [`EvalError::Model`] naming the item that the model refused.
pub fn evaluate(
    segmenter: &Segmenter,
    config: &TabletopConfig,
    on_progress: &(dyn Fn() + Sync),
) -> Result<Vec<Sample>, EvalError> {
    let benchmark = |error: &dyn std::fmt::Display| EvalError::Benchmark(error.to_string());
    let world = World::new(config.world_seed, config.split, SceneConfig::default())
        .map_err(|error| benchmark(&error))?
        .with_questions(config.questions, 1);
    let measure = |index: u64| {
        let item = world.validation_item(index).map_err(|error| benchmark(&error))?;
        let failed = |error| EvalError::Model { id: item.id.clone(), source: Box::new(error) };
        let mut scene = segmenter.look(&item.image).map_err(failed)?;
        let answer = scene.ask(&item.question).map_err(failed)?;
        let empty = Vec::new();
        let prediction = answer.masks.first().map_or(&empty, |mask| &mask.mask.data);
        let (intersection, union) = match answer.masks.is_empty() {
            true => (0, item.target.iter().filter(|value| **value == 1).count() as u64),
            false => overlap_with_target(prediction, &item.target),
        };
        on_progress();
        Ok(Sample {
            id: item.id.clone(),
            family: item.family.clone(),
            question: item.question.clone(),
            exists: item.exists,
            found: prediction.contains(&1),
            answer: answer.text,
            intersection,
            union,
        })
    };
    (0..config.count).into_par_iter().map(measure).collect()
}

/// The table of `samples`, families in their usual order.
pub fn summarize(samples: &[Sample]) -> Summary {
    let families: Vec<&str> = QuestionFamily::ALL.iter().map(|family| family.name()).collect();
    Summary::new(samples, &families)
}
