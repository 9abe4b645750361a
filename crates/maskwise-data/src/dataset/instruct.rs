//! Conversations about pictures without masks: LLaVA-Instruct (spec 6.4).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt;
use serde::Deserialize;

use super::files::{decode, relative, unreadable};
use super::index::{Span, list_entries};
use super::{Asked, IndexCache, ValidationDataset, ValidationItem};
use super::{DatasetError, SampleRng, TrainingConversation, TrainingDataset, TrainingItem};

/// Training on LLaVA-Instruct or another file of its form. An item is one row of several rounds.
pub struct Instruct {
    entries: Entries,
}

/// The conversations of a file, read one by one.
struct Entries {
    name: String,
    file: PathBuf,
    images: PathBuf,
    places: Vec<Span>,
}

#[derive(Deserialize)]
struct Entry {
    image: String,
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    from: Speaker,
    value: String,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    Human,
    Gpt,
}

/// A conversation without the image's placeholder, and its picture.
struct Conversation {
    picture: PathBuf,
    rounds: Vec<(String, String)>,
}

impl Entries {
    fn open(name: &str, file: &Path, images: &Path, cache: &IndexCache) -> Result<Self, DatasetError> {
        let places = cache.open("instruct", &[file], || {
            let entries = list_entries(file, |_, _| Ok(()))?;
            Ok(entries.into_iter().map(|(place, ())| place).collect())
        })?;
        Ok(Self { name: name.to_owned(), file: file.to_owned(), images: images.to_owned(), places })
    }

    /// The entry at `index`. What the assistant says first is left out.
    fn conversation(&self, index: usize) -> Result<Conversation, DatasetError> {
        let wrong = |reason: &str| unreadable(&self.file, format!("entry {index}: {reason}"));
        let Entry { image, conversations: turns } =
            serde_json::from_slice(&self.places[index].read(&self.file)?)
                .map_err(|error| wrong(&error.to_string()))?;
        let first = turns.iter().position(|turn| turn.from == Speaker::Human).unwrap_or(turns.len());
        let not_in_turn = || wrong("its turns are not question and answer in turn");
        let mut rounds = Vec::new();
        for pair in turns[first..].chunks(2) {
            match pair {
                [question, answer] if (question.from, answer.from) == (Speaker::Human, Speaker::Gpt) => {
                    let text = question.value.replace("<image>", "");
                    rounds.push((text.trim().to_owned(), answer.value.clone()));
                }
                _ => return Err(not_in_turn()),
            }
        }
        if rounds.is_empty() {
            return Err(not_in_turn());
        }
        Ok(Conversation { picture: self.images.join(image), rounds })
    }

    fn id(&self, picture: &Path) -> String {
        format!("{}: {}", self.name, relative(picture, &self.images))
    }
}

impl Instruct {
    /// Opens a file such as `llava_instruct_150k.json`, whose pictures are in the folder `images` (`coco/train2017`).
    ///
    /// # Errors
    /// A file that is missing, empty or no list.
    pub fn open(name: &str, file: &Path, images: &Path) -> Result<Self, DatasetError> {
        Ok(Self { entries: Entries::open(name, file, images, &IndexCache::none())? })
    }
}

impl TrainingDataset for Instruct {
    fn name(&self) -> &str {
        &self.entries.name
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let Conversation { picture, rounds } =
            self.entries.conversation(rng.random_range(0..self.entries.places.len()))?;
        Ok(TrainingItem {
            id: self.entries.id(&picture),
            image: decode(&picture)?,
            conversations: vec![TrainingConversation { rounds, masks: Vec::new() }],
        })
    }
}

/// Validation on the first round of each conversation. None asks for a mask, so that a model is right that draws none.
pub struct InstructValidation {
    entries: Entries,
}

impl InstructValidation {
    /// Opens a file as [`Instruct::open`] does.
    ///
    /// # Errors
    /// As there.
    pub fn open(name: &str, file: &Path, images: &Path, cache: &IndexCache) -> Result<Self, DatasetError> {
        Ok(Self { entries: Entries::open(name, file, images, cache)? })
    }
}

impl ValidationDataset for InstructValidation {
    fn name(&self) -> &str {
        &self.entries.name
    }

    fn len(&self) -> usize {
        self.entries.places.len()
    }

    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError> {
        let Conversation { picture, rounds } = self.entries.conversation(index)?;
        let image = Arc::new(decode(&picture)?);
        let (question, answer) = rounds.into_iter().next().unwrap_or_default();
        Ok(ValidationItem {
            id: self.entries.id(&picture),
            target: vec![0; (image.width() * image.height()) as usize],
            image,
            file: Some(picture),
            question,
            asked: Asked::Question,
            answer,
            masks: 0,
            instances: Vec::new(),
            exists: false,
            family: String::new(),
        })
    }
}
