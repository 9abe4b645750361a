//! Several datasets as one, by rates (spec 5.5), and the item that stands at a position of a run.

use rand::{RngExt, SeedableRng};

use super::{DatasetError, SampleRng, TrainingDataset, TrainingItem};

/// The token whose masks an item brings.
const SEG: &str = "[SEG]";

/// Datasets that are drawn from by rates. A group of datasets that share one rate is a mixture with equal rates.
pub struct Mixture {
    name: String,
    parts: Vec<(Box<dyn TrainingDataset>, f64)>,
    total: f64,
}

impl Mixture {
    /// A mixture of datasets with their rates, which need not add up to anything.
    ///
    /// # Errors
    /// [`DatasetError::Config`] where there is no dataset with a rate above 0, or a rate is negative or not finite.
    pub fn new(name: &str, parts: Vec<(Box<dyn TrainingDataset>, f64)>) -> Result<Self, DatasetError> {
        if let Some((dataset, rate)) = parts.iter().find(|(_, rate)| !(rate.is_finite() && *rate >= 0.0)) {
            let dataset = dataset.name();
            return Err(DatasetError::Config(format!(
                "{name}: the rate {rate} of {dataset} is not 0 or more"
            )));
        }
        let total: f64 = parts.iter().map(|(_, rate)| rate).sum();
        if !(total.is_finite() && total > 0.0) {
            return Err(DatasetError::Config(format!(
                "{name}: no dataset has a rate above 0; give at least one"
            )));
        }
        Ok(Self { name: name.to_owned(), parts, total })
    }

    /// The item at `position` of the run with this seed: a pure function of both, whoever asks and in whatever order.
    ///
    /// # Errors
    /// As [`TrainingDataset::draw`], and where the item contradicts itself.
    pub fn item(&self, seed: u64, position: u64) -> Result<TrainingItem, DatasetError> {
        self.draw(&mut generator(seed, position))
    }

    fn pick(&self, rng: &mut SampleRng) -> &dyn TrainingDataset {
        let mut left = rng.random_range(0.0..self.total);
        let mut chosen = None;
        for (dataset, rate) in self.parts.iter().filter(|(_, rate)| *rate > 0.0) {
            chosen = Some(dataset);
            if left < *rate {
                break;
            }
            left -= rate;
        }
        &**chosen.unwrap_or(&self.parts[0].0)
    }
}

impl TrainingDataset for Mixture {
    fn name(&self) -> &str {
        &self.name
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let dataset = self.pick(rng);
        dataset.draw(rng).and_then(checked).map_err(|error| match error {
            DatasetError::Dataset { .. } => error,
            other => DatasetError::Dataset { dataset: dataset.name().to_owned(), source: Box::new(other) },
        })
    }
}

/// A generator for one position. Neighbouring seeds and positions have unrelated states.
fn generator(seed: u64, position: u64) -> SampleRng {
    let high = scramble(scramble(seed) ^ position);
    let low = scramble(high ^ seed);
    SampleRng::from_seed((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
}

/// The output function of SplitMix64 (Steele et al. 2014).
fn scramble(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Refuses an item whose masks a loss could not compare with the model's.
fn checked(item: TrainingItem) -> Result<TrainingItem, DatasetError> {
    let wrong = |reason: String| Err(DatasetError::Item { item: item.id.clone(), reason });
    let (width, height) = (item.image.width() as usize, item.image.height() as usize);
    if item.conversations.iter().all(|conversation| conversation.rounds.is_empty()) {
        return wrong("it has no question".to_owned());
    }
    for conversation in &item.conversations {
        let wanted: usize = conversation.rounds.iter().map(|(_, answer)| answer.matches(SEG).count()).sum();
        let found = conversation.masks.len();
        if wanted != found {
            return wrong(format!("the answers have {wanted} {SEG}, but there are {found} masks"));
        }
        if let Some(mask) =
            conversation.masks.iter().find(|mask| (mask.width, mask.height) != (width, height))
        {
            let size = format!("{}x{}", mask.width, mask.height);
            return wrong(format!("a mask of {size} belongs to an image of {width}x{height}"));
        }
    }
    Ok(item)
}
