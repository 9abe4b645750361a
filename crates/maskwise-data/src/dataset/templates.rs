//! Pools of questions and answers that training draws from (spec 4.2).

use std::path::Path;

use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use super::files::{read_json, unreadable};
use super::{DatasetError, SampleRng};

/// The pools. Texts hold `{class_name}`, `{sent}` and `{gt_name}`; the image placeholder is not part of them.
///
/// Serialises with the names of the reference's `qa_template.py` as keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub struct Templates {
    /// Questions about a thing: `{class_name}`.
    pub short_question: Vec<String>,
    /// Questions that are sentences: `{sent}`.
    pub long_question: Vec<String>,
    /// Answers to a short question: one `[SEG]`, maybe `{class_name}`.
    pub short_answer: Vec<String>,
    /// Answers to ReasonSeg's questions: one `[SEG]`.
    pub long_answer: Vec<String>,
    /// Denials, without `[SEG]`: maybe `{class_name}`.
    #[serde(default)]
    pub neg_answer: Vec<String>,
    /// Denials that name what is there instead: `{gt_name}`, maybe `{class_name}`.
    #[serde(default)]
    pub correct_answer: Vec<String>,
    /// Requests for an explanation, put behind a question.
    #[serde(default)]
    pub explanatory: Vec<String>,
}

/// A pool's name, its length in the published file, what each entry must hold, and what it may hold.
struct Rule {
    name: &'static str,
    published: usize,
    required: &'static str,
    allowed: &'static [&'static str],
    /// How often `[SEG]` stands in an entry.
    seg: usize,
}

const RULES: [Rule; 7] = [
    Rule { name: "SHORT_QUESTION", published: 100, required: CLASS, allowed: &[CLASS], seg: 0 },
    Rule { name: "LONG_QUESTION", published: 49, required: SENTENCE, allowed: &[SENTENCE], seg: 0 },
    Rule { name: "SHORT_ANSWER", published: 81, required: "", allowed: &[CLASS], seg: 1 },
    Rule { name: "LONG_ANSWER", published: 35, required: "", allowed: &[], seg: 1 },
    Rule { name: "NEG_ANSWER", published: 100, required: "", allowed: &[CLASS], seg: 0 },
    Rule {
        name: "CORRECT_ANSWER",
        published: 99,
        required: GROUND_TRUTH,
        allowed: &[CLASS, GROUND_TRUTH],
        seg: 0,
    },
    Rule { name: "EXPLANATORY", published: 3, required: "", allowed: &[], seg: 0 },
];
const CLASS: &str = "{class_name}";
const SENTENCE: &str = "{sent}";
const GROUND_TRUTH: &str = "{gt_name}";

impl Templates {
    /// LISA's pools. They have no answers to false premises.
    pub fn lisa() -> Self {
        let pool = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let answers = pool(&[
            "It is [SEG].",
            "Sure, [SEG].",
            "Sure, it is [SEG].",
            "Sure, the segmentation result is [SEG].",
            "[SEG].",
        ]);
        Self {
            short_question: pool(&[
                "Can you segment the {class_name} in this image?",
                "Please segment the {class_name} in this image.",
                "What is {class_name} in this image? Please respond with segmentation mask.",
                "What is {class_name} in this image? Please output segmentation mask.",
            ]),
            long_question: pool(&[
                "{sent} Please respond with segmentation mask.",
                "{sent} Please output segmentation mask.",
            ]),
            short_answer: answers.clone(),
            long_answer: answers,
            neg_answer: Vec::new(),
            correct_answer: Vec::new(),
            explanatory: pool(&[
                "Please output segmentation mask and explain why.",
                "Please output segmentation mask and explain the reason.",
                "Please output segmentation mask and give some explanation.",
            ]),
        }
    }

    /// Reads pools from a JSON object of lists of texts, with the keys `SHORT_QUESTION`, `LONG_QUESTION`, `SHORT_ANSWER`,
    /// `LONG_ANSWER`, `NEG_ANSWER`, `CORRECT_ANSWER` and `EXPLANATORY`. A leading `<image>` is taken off.
    ///
    /// # Errors
    /// [`DatasetError::Layout`] naming the file, the pool and the entry that lacks its placeholder or has another.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let mut templates: Self = read_json(path)?;
        for pool in templates.pools_mut() {
            for entry in pool {
                if let Some(text) = entry.strip_prefix("<image>") {
                    *entry = text.trim_start().to_owned();
                }
            }
        }
        match templates.check() {
            Some(reason) => Err(unreadable(path, reason)),
            None => Ok(templates),
        }
    }

    /// How the pools differ in number from those that SESAME and READ were trained with, one line for each; none if they do not.
    pub fn differences_from_published(&self) -> Vec<String> {
        let pools = RULES.iter().zip(self.pools()).filter(|(rule, pool)| pool.len() != rule.published);
        pools
            .map(|(rule, pool)| {
                format!("{} has {} entries, the published {}", rule.name, pool.len(), rule.published)
            })
            .collect()
    }

    /// What is wrong with the first entry that breaks the rules of its pool.
    pub(super) fn check(&self) -> Option<String> {
        for (rule, pool) in RULES.iter().zip(self.pools()) {
            if pool.is_empty() && !["NEG_ANSWER", "CORRECT_ANSWER", "EXPLANATORY"].contains(&rule.name) {
                return Some(format!("{} has no entry", rule.name));
            }
            for (index, entry) in pool.iter().enumerate() {
                let wrong =
                    |reason: String| Some(format!("{} entry {index}, {entry:?}: {reason}", rule.name));
                if !entry.contains(rule.required) {
                    return wrong(format!("it lacks {}", rule.required));
                }
                if entry.matches("[SEG]").count() != rule.seg {
                    return wrong(format!("it must have {} [SEG]", rule.seg));
                }
                let others =
                    [CLASS, SENTENCE, GROUND_TRUTH].into_iter().filter(|name| !rule.allowed.contains(name));
                if let Some(other) = others.into_iter().find(|other| entry.contains(other)) {
                    return wrong(format!("nothing is put in the place of {other} there"));
                }
            }
        }
        None
    }

    fn pools(&self) -> [&Vec<String>; 7] {
        let Self {
            short_question,
            long_question,
            short_answer,
            long_answer,
            neg_answer,
            correct_answer,
            explanatory,
        } = self;
        [short_question, long_question, short_answer, long_answer, neg_answer, correct_answer, explanatory]
    }

    fn pools_mut(&mut self) -> [&mut Vec<String>; 7] {
        let Self {
            short_question,
            long_question,
            short_answer,
            long_answer,
            neg_answer,
            correct_answer,
            explanatory,
        } = self;
        [short_question, long_question, short_answer, long_answer, neg_answer, correct_answer, explanatory]
    }
}

/// An entry of `pool`, drawn uniformly, with its placeholders filled; nothing inside of the fillings is interpreted.
pub(super) fn draw_filled(pool: &[String], rng: &mut SampleRng, text: &str, ground_truth: &str) -> String {
    let mut rest = pool.choose(rng).map_or("", String::as_str);
    let mut filled = String::with_capacity(rest.len() + text.len() + ground_truth.len());
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        filled.push_str(before);
        let fillings = [(CLASS, text), (SENTENCE, text), (GROUND_TRUTH, ground_truth)];
        match fillings.into_iter().find(|(placeholder, _)| from.starts_with(placeholder)) {
            Some((placeholder, filling)) => {
                filled.push_str(filling);
                rest = &from[placeholder.len()..];
            }
            None => {
                filled.push('{');
                rest = &from[1..];
            }
        }
    }
    filled + rest
}
