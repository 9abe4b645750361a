use crate::TrainError;
use serde::{Deserialize, Serialize};

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// In a straight line to zero at the end of the run.
    #[default]
    Linear,
    /// Along half a cosine to zero at the end of the run.
    Cosine,
    /// Not at all.
    Constant,
}

/// The learning rate as a function of the optimiser step: the `[schedule]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The full rate, above 0; 3e-4 in the papers.
    pub learning_rate: f64,
    /// Steps over which the rate rises in a straight line from zero.
    #[serde(default = "default_warmup_steps")]
    pub warmup_steps: u64,
    /// What follows the warm-up.
    #[serde(default)]
    pub decay: Decay,
    /// The rates that DeepSpeed 0.10.3 really used with `WarmupDecayLR` (spec 5.3): it sets a rate only after a step, so the first
    /// step runs at the full rate, the second at zero, and every later one at the rate meant for the step before.
    #[serde(default)]
    pub deepspeed_first_step: bool,
}

fn default_warmup_steps() -> u64 {
    100
}

impl Schedule {
    /// Checks the settings against a run of `total_steps`.
    ///
    /// # Errors
    /// [`TrainError::Setting`] with the key at fault.
    pub fn check(&self, total_steps: u64) -> Result<(), TrainError> {
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            let reason =
                format!("{} is no learning rate; give a positive number such as 3e-4", self.learning_rate);
            return Err(TrainError::setting("schedule.learning_rate", reason));
        }
        if self.warmup_steps >= total_steps.max(1) {
            let reason =
                format!("{} does not end within the {total_steps} steps of the run", self.warmup_steps);
            return Err(TrainError::setting("schedule.warmup_steps", reason));
        }
        Ok(())
    }

    /// The rate of optimiser step `step`, counted from 0, in a run of `total_steps`.
    ///
    /// No step is wasted on a rate of zero: the last step of the warm-up runs at the full rate and the last step of the run is the
    /// last above zero. (With [`Schedule::deepspeed_first_step`] the second step is at zero, as in the reference.)
    pub fn rate(&self, step: u64, total_steps: u64) -> f64 {
        let factor = match (self.deepspeed_first_step, step) {
            (true, 0) => 1.0,
            (true, _) => self.factor(step - 1, total_steps),
            (false, _) if step < self.warmup_steps => self.factor(step + 1, total_steps),
            (false, _) => self.factor(step, total_steps),
        };
        self.learning_rate * factor
    }

    /// `m(i)` of spec 5.3.
    fn factor(&self, index: u64, total_steps: u64) -> f64 {
        if index < self.warmup_steps {
            return index as f64 / self.warmup_steps as f64;
        }
        let remaining = total_steps.saturating_sub(index) as f64
            / total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        match self.decay {
            Decay::Linear => remaining,
            Decay::Cosine => 0.5 - 0.5 * (std::f64::consts::PI * remaining).cos(),
            Decay::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule(decay: Decay, warmup_steps: u64, deepspeed_first_step: bool) -> Schedule {
        Schedule { learning_rate: 3e-4, warmup_steps, decay, deepspeed_first_step }
    }

    /// Optimiser step counted from 1 and its rate: `lr_schedules.py` of DeepSpeed 0.10.3 (`WarmupDecayLR`, linear warm-up of 100,
    /// 10000 steps, lr 3e-4), driven in the order of its engine.
    const DEEPSPEED: [(u64, f64); 17] = [
        (1, 0.0003),
        (2, 0.0),
        (3, 2.9999999999999997e-06),
        (4, 5.999999999999999e-06),
        (5, 8.999999999999999e-06),
        (51, 0.000147),
        (100, 0.000294),
        (101, 0.00029699999999999996),
        (102, 0.0003),
        (103, 0.00029996969696969694),
        (104, 0.0002999393939393939),
        (501, 0.0002879090909090909),
        (5001, 0.00015154545454545453),
        (9999, 9.09090909090909e-08),
        (10000, 6.06060606060606e-08),
        (10001, 3.03030303030303e-08),
        (10002, 0.0),
    ];

    #[test]
    fn the_quirk_gives_the_rates_that_deepspeed_used() {
        let schedule = schedule(Decay::Linear, 100, true);
        for (step, expected) in DEEPSPEED {
            let rate = schedule.rate(step - 1, 10_000);
            assert!(
                (rate - expected).abs() <= 1e-15 * expected.max(1.0),
                "step {step}: {rate} is not {expected}"
            );
        }
    }

    #[test]
    fn without_the_quirk_no_step_is_wasted() {
        let linear = schedule(Decay::Linear, 4, false);
        let factors: Vec<f64> = (0..8).map(|step| linear.rate(step, 8) / 3e-4).collect();
        let expected = [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25];
        assert!(
            factors.iter().zip(expected).all(|(found, wanted)| (found - wanted).abs() < 1e-12),
            "{factors:?}"
        );
        let cosine = schedule(Decay::Cosine, 0, false);
        assert!((cosine.rate(4, 8) - 1.5e-4).abs() < 1e-12);
        assert_eq!(cosine.rate(0, 8), 3e-4);
        assert_eq!(schedule(Decay::Constant, 0, false).rate(7, 8), 3e-4);
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused() {
        assert!(schedule(Decay::Linear, 100, false).check(101).is_ok());
        let error = schedule(Decay::Linear, 100, false).check(100).unwrap_err().to_string();
        assert!(error.contains("schedule.warmup_steps") && error.contains("100"), "{error}");
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let wrong = Schedule { learning_rate: rate, ..schedule(Decay::Linear, 0, false) };
            assert!(wrong.check(10).unwrap_err().to_string().contains("schedule.learning_rate"));
        }
    }

    proptest! {
        #[test]
        fn rates_rise_then_fall_and_stay_in_range(warmup in 0_u64..50, rest in 1_u64..100, cosine: bool) {
            let schedule = schedule(if cosine { Decay::Cosine } else { Decay::Linear }, warmup, false);
            let rates: Vec<f64> = (0..warmup + rest).map(|step| schedule.rate(step, warmup + rest)).collect();
            prop_assert!(rates.iter().all(|rate| *rate > 0.0 && *rate <= 3e-4 * (1.0 + 1e-12)));
            let peak = (warmup as usize).min(rates.len() - 1);
            prop_assert!(rates[..peak].is_sorted() && rates[peak..].iter().rev().is_sorted());
        }
    }
}
