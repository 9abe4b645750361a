//! Questions and answers in words that are drawn from pools, as the reference's validation on referring expressions has them.

use rand_pcg::rand_core::SeedableRng;

use super::templates::draw_filled;
use super::{Asked, DatasetError, SampleRng, Templates, ValidationDataset, ValidationItem};
use crate::text::QuestionTemplates;

/// A dataset whose phrases and sentences are put into words drawn from pools (spec 7.1: SESAME's `SHORT_QUESTION` and `SHORT_ANSWER`).
///
/// Which words an item gets follows from the seed and its place alone, so that figures can be had again; the reference draws anew each time,
/// and its scores differ from run to run. Whole questions are asked as they stand, and answers that the dataset itself has are kept.
pub struct DrawnTemplates {
    items: Box<dyn ValidationDataset>,
    /// What the items were opened with.
    fixed: QuestionTemplates,
    templates: Templates,
    seed: u64,
}

impl DrawnTemplates {
    /// The items of a dataset that was opened with the templates `fixed`, in other words.
    pub fn new(
        items: Box<dyn ValidationDataset>,
        fixed: QuestionTemplates,
        templates: Templates,
        seed: u64,
    ) -> Self {
        Self { items, fixed, templates, seed }
    }
}

impl ValidationDataset for DrawnTemplates {
    fn name(&self) -> &str {
        self.items.name()
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn picture(&self, index: usize) -> usize {
        self.items.picture(index)
    }

    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError> {
        let mut item = self.items.item(index)?;
        // Weyl's sequence, so that neighbouring places start far apart.
        let place = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = SampleRng::seed_from_u64(self.seed ^ place);
        let Templates { short_question, long_question, short_answer, long_answer, .. } = &self.templates;
        let (questions, answers, text) = match &item.asked {
            Asked::Question => return Ok(item),
            Asked::Phrase(phrase) => (short_question, short_answer, phrase),
            Asked::Sentence(sentence) => (long_question, long_answer, sentence),
        };
        let is_fixed = [self.fixed.answer.fill(text), self.fixed.answer.0.clone()].contains(&item.answer);
        let question = draw_filled(questions, &mut rng, text, "");
        if is_fixed {
            item.answer = draw_filled(answers, &mut rng, text, "");
        }
        item.question = question;
        Ok(item)
    }
}
