//! Scenes with questions, by number.

use super::draw::Dice;
use super::split::Split;
use super::{Question, QuestionWeights, Scene, SceneConfig, SceneError, is_unseen_pair, question};
use crate::dataset::{
    Asked, DatasetError, SampleRng, TrainingConversation, TrainingDataset, TrainingItem, ValidationDataset,
    ValidationItem,
};
use rand::RngExt;
use std::sync::Arc;

/// A split of the Tabletop world: endlessly many pictures with questions, each a function of (seed, split, index).
///
/// As a [`TrainingDataset`] it is named "tabletop"; an item is a picture with its questions, one conversation each.
#[derive(Clone, Debug)]
pub struct World {
    seed: u64,
    split: Split,
    scenes: SceneConfig,
    weights: QuestionWeights,
    questions: usize,
}

/// A picture with questions.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The picture and what is in it.
    pub scene: Scene,
    /// Different questions about it; none only if the weights leave out every family that the picture has.
    pub questions: Vec<Question>,
}

impl World {
    /// The split of the world `seed`, with up to 6 questions a picture and the default weights of families.
    ///
    /// [`SceneConfig::allowed`] is replaced: the split decides which kinds have which colours.
    ///
    /// # Errors
    /// [`SceneError`] if nothing can be drawn by `scenes`.
    pub fn new(seed: u64, split: Split, scenes: SceneConfig) -> Result<World, SceneError> {
        let allowed: fn(_, _) -> bool = match split {
            Split::Unseen => |_, _| true,
            _ => |kind, colour| !is_unseen_pair(kind, colour),
        };
        let scenes = SceneConfig { allowed, ..scenes };
        // Drawing tells whether the configuration is sound.
        Scene::draw(&mut split.rng(seed, 0), &scenes)?;
        Ok(World { seed, split, scenes, weights: QuestionWeights::default(), questions: 6 })
    }

    /// The same pictures with other questions: `weights` of the families, and up to `questions` (at least 1) a picture.
    pub fn with_questions(self, weights: QuestionWeights, questions: usize) -> World {
        World { weights, questions: questions.max(1), ..self }
    }

    /// The split.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Picture `index` (below 2^62) with its questions.
    ///
    /// # Errors
    /// None that [`World::new`] has not found.
    pub fn sample(&self, index: u64) -> Result<Sample, SceneError> {
        let mut rng = self.split.rng(self.seed, index);
        let scene = Scene::draw(&mut rng, &self.scenes)?;
        let questions = self.ask(&mut rng, &scene, &self.weights, self.questions);
        Ok(Sample { scene, questions })
    }

    /// Up to `count` questions about `scene` with other weights.
    pub(super) fn ask(
        &self,
        rng: &mut SampleRng,
        scene: &Scene,
        weights: &QuestionWeights,
        count: usize,
    ) -> Vec<Question> {
        question::ask(&mut Dice(rng), scene, self.split, weights, count)
    }

    /// Picture `index` with its first question, for validation.
    ///
    /// # Errors
    /// As [`World::sample`].
    pub fn validation_item(&self, index: u64) -> Result<ValidationItem, DatasetError> {
        let single = World { questions: 1, ..self.clone() };
        let Sample { scene, questions } = single.sample(index).map_err(unsound)?;
        let Some(question) = questions.into_iter().next() else { return Err(nothing_to_ask(index)) };
        Ok(ValidationItem {
            id: format!("tabletop {} {index}", self.split),
            target: question.mask(&scene).data,
            exists: question.exists(),
            family: question.family.name().to_owned(),
            question: question.text,
            asked: Asked::Question,
            answer: question.answer,
            image: Arc::new(scene.image),
            masks: 1,
            instances: Vec::new(),
            file: None,
        })
    }
}

/// The first pictures of a world, one question each.
pub struct FirstPictures {
    world: World,
    count: usize,
}

impl FirstPictures {
    /// The first `count` pictures of `world`.
    pub fn new(world: World, count: usize) -> Self {
        Self { world, count }
    }
}

impl ValidationDataset for FirstPictures {
    fn name(&self) -> &str {
        "tabletop"
    }

    fn len(&self) -> usize {
        self.count
    }

    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError> {
        self.world.validation_item(index as u64)
    }
}

impl TrainingDataset for World {
    fn name(&self) -> &str {
        "tabletop"
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let index = rng.random::<u64>() >> 2;
        let Sample { scene, questions } = self.sample(index).map_err(unsound)?;
        let conversations: Vec<TrainingConversation> = questions
            .into_iter()
            .map(|question| TrainingConversation {
                masks: if question.exists() { vec![question.mask(&scene)] } else { Vec::new() },
                rounds: vec![(question.text, question.answer)],
            })
            .collect();
        if conversations.is_empty() {
            return Err(nothing_to_ask(index));
        }
        Ok(TrainingItem { id: format!("tabletop {} {index}", self.split), image: scene.image, conversations })
    }
}

fn unsound(error: SceneError) -> DatasetError {
    DatasetError::Config(error.to_string())
}

fn nothing_to_ask(index: u64) -> DatasetError {
    DatasetError::Item {
        item: format!("tabletop {index}"),
        reason: "no question of the wanted families fits the picture; give false premises a weight, they always do".to_owned(),
    }
}
