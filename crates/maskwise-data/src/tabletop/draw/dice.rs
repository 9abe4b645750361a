use crate::dataset::SampleRng;
use rand::RngExt;

/// The choices of a drawing hand.
pub(in crate::tabletop) struct Dice<'a>(pub(in crate::tabletop) &'a mut SampleRng);

impl Dice<'_> {
    /// A number between `low` and `high`.
    pub(in crate::tabletop) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.0.random::<f32>()
    }

    /// `value`, up to `share` of it more or less.
    pub(in crate::tabletop) fn about(&mut self, value: f32, share: f32) -> f32 {
        value * self.between(1.0 - share, 1.0 + share)
    }

    /// A whole number from `low` to `high`, both included.
    pub(in crate::tabletop) fn whole(&mut self, low: usize, high: usize) -> usize {
        self.0.random_range(low..=high)
    }

    /// True with probability `p`.
    pub(in crate::tabletop) fn chance(&mut self, p: f32) -> bool {
        self.0.random::<f32>() < p
    }

    /// One of `choices`, which must not be empty.
    pub(in crate::tabletop) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.whole(0, choices.len() - 1)]
    }
}
