use crate::Sample;

/// Fewest samples with a target that a judgement is made on.
const FEWEST: usize = 20;
/// How far above a mask of the whole picture the mean IoU must lie.
const MARGIN: f64 = 0.02;

/// Why the figures look like those of random weights; none where they do not, or where there are too few samples to tell.
///
/// What a model must be better than is a mask of the whole picture, whose IoU is the target's share of the pixels.
pub fn near_random(samples: &[Sample]) -> Option<String> {
    let present: Vec<&Sample> = samples.iter().filter(|sample| sample.overlap.target > 0).collect();
    if present.len() < FEWEST {
        return None;
    }
    let mean = |value: &dyn Fn(&Sample) -> f64| {
        present.iter().map(|sample| value(sample)).sum::<f64>() / present.len() as f64
    };
    let found = mean(&|sample| sample.overlap.intersection as f64 / sample.overlap.union.max(1) as f64);
    let whole = mean(&|sample| sample.overlap.target as f64 / sample.overlap.pixels.max(1) as f64);
    if found > whole + MARGIN {
        return None;
    }
    let answered = present.iter().filter(|sample| sample.tokens > 0 && sample.found()).count();
    let hint = match answered * 10 < present.len() {
        true => {
            "hardly an answer has a mask: is [SEG] a token of the tokenizer, and was the model trained to write it?"
        }
        false => {
            "there are masks, but not of what is asked for: are all weights those of the trained model (a LLaVA-1.5 folder is not one), and is the image size right?"
        }
    };
    Some(format!(
        "the mean IoU of {found:.3} on {} questions is no better than masks of the whole picture ({whole:.3}); {hint}",
        present.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Overlap, SampleOutcome};

    fn samples(intersection: u64, union: u64, outcome: SampleOutcome) -> Vec<Sample> {
        let sample = |index| Sample {
            index,
            id: String::new(),
            family: String::new(),
            question: String::new(),
            answer: String::new(),
            outcome,
            error: None,
            exists: true,
            overlap: Overlap {
                intersection,
                union,
                predicted_ignored: 0,
                target: 100,
                pixels: 1000,
                ..Overlap::default()
            },
            tokens: 5,
            mask: None,
            pairs: Vec::new(),
        };
        (0..30).map(sample).collect()
    }

    #[test]
    fn a_trained_model_passes_and_noise_does_not() {
        assert_eq!(near_random(&samples(60, 120, SampleOutcome::Segmented)), None);
        assert_eq!(near_random(&samples(0, 120, SampleOutcome::Segmented)[..5]), None, "too few to tell");
        let noise = near_random(&samples(50, 550, SampleOutcome::Segmented)).unwrap();
        assert!(
            noise.contains("0.091") && noise.contains("0.100") && noise.contains("all weights"),
            "{noise}"
        );
        let silent = near_random(&samples(0, 100, SampleOutcome::Declined)).unwrap();
        assert!(silent.contains("[SEG]"), "{silent}");
    }
}
