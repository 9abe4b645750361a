//! Questions and answers in words that are drawn from pools, as the reference's validation on referring expressions has them.

use rand_pcg::rand_core::SeedableRng;

use super::templates::draw_filled;
use super::{Asked, DatasetError, SampleRng, Templates, ValidationDataset, ValidationItem};

/// A dataset whose phrases and sentences are put into words drawn from pools (spec 7.1: SESAME's `SHORT_QUESTION` and `SHORT_ANSWER`).
///
/// Which words an item gets follows from the seed and its place alone, so that figures can be had again; the reference draws anew each time,
/// and its scores differ from run to run. Whole questions are asked as they stand.
pub struct DrawnTemplates {
    items: Box<dyn ValidationDataset>,
    templates: Templates,
    seed: u64,
}

impl DrawnTemplates {
    /// The items of a dataset in other words.
    pub fn new(items: Box<dyn ValidationDataset>, templates: Templates, seed: u64) -> Self {
        Self { items, templates, seed }
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
        let Templates { short_question, long_question, short_answer, .. } = &self.templates;
        match &item.asked {
            Asked::Question => {}
            Asked::Phrase(phrase) => {
                item.question = draw_filled(short_question, &mut rng, phrase, "");
                // An answer with several masks is the dataset's own.
                if item.masks <= 1 {
                    item.answer = draw_filled(short_answer, &mut rng, phrase, "");
                }
            }
            Asked::Sentence(sentence) => {
                item.question = draw_filled(long_question, &mut rng, sentence, "");
            }
        }
        Ok(item)
    }
}
