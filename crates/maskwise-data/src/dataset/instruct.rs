//! Conversations about pictures without masks: LLaVA-Instruct (spec 6.4).

use std::path::{Path, PathBuf};

use rand::RngExt;
use serde::Deserialize;

use super::files::{decode, read_json, unreadable};
use super::{DatasetError, SampleRng, TrainingConversation, TrainingDataset, TrainingItem};

/// Training on LLaVA-Instruct or another file of its form. An item is one row of several rounds.
pub struct Instruct {
    name: String,
    file: PathBuf,
    images: PathBuf,
    entries: Vec<Entry>,
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

impl Instruct {
    /// Opens a file such as `llava_instruct_150k.json`, whose pictures are in the folder `images` (`coco/train2017`).
    ///
    /// # Errors
    /// A file that is missing, empty or damaged.
    pub fn open(name: &str, file: &Path, images: &Path) -> Result<Self, DatasetError> {
        let entries: Vec<Entry> = read_json(file)?;
        if entries.is_empty() {
            return Err(unreadable(file, "it has no entries"));
        }
        Ok(Self { name: name.to_owned(), file: file.to_owned(), images: images.to_owned(), entries })
    }

    /// Questions and answers of an entry, without the image's placeholder. What the assistant says first is left out.
    fn rounds(&self, index: usize) -> Result<Vec<(String, String)>, DatasetError> {
        let turns = &self.entries[index].conversations;
        let first = turns.iter().position(|turn| turn.from == Speaker::Human).unwrap_or(turns.len());
        let wrong = || {
            unreadable(&self.file, format!("entry {index}: its turns are not question and answer in turn"))
        };
        let mut rounds = Vec::new();
        for pair in turns[first..].chunks(2) {
            match pair {
                [question, answer] if (question.from, answer.from) == (Speaker::Human, Speaker::Gpt) => {
                    let text = question.value.replace("<image>", "");
                    rounds.push((text.trim().to_owned(), answer.value.clone()));
                }
                _ => return Err(wrong()),
            }
        }
        if rounds.is_empty() { Err(wrong()) } else { Ok(rounds) }
    }
}

impl TrainingDataset for Instruct {
    fn name(&self) -> &str {
        &self.name
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let index = rng.random_range(0..self.entries.len());
        let path = self.images.join(&self.entries[index].image);
        let rounds = self.rounds(index)?;
        Ok(TrainingItem {
            id: format!("{}: {}", self.name, path.display()),
            image: decode(&path)?,
            conversations: vec![TrainingConversation { rounds, masks: Vec::new() }],
        })
    }
}
