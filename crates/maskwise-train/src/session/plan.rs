//! What a recipe would do, from the shapes of its model alone.

use super::Recipe;
use super::start::{Shapes, shapes};
use crate::TrainError;
use crate::config::{ComputeType, ModelSection, QuantizeType, TrainConfig};
use crate::read::{LoraConfig, Part};
use maskwise_nn::weights::TensorInfo;
use std::fmt;

/// What a recipe trains, how much memory that takes and how long it goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingPlan {
    /// The parts of the model, adapters last.
    pub parts: Vec<PlannedPart>,
    /// Memory by what it is for.
    pub memory: MemoryEstimate,
    /// Optimiser steps.
    pub steps: u64,
    /// Items of a step: those of a micro-batch times the micro-batches.
    pub items_per_step: u64,
    /// Each dataset with the items that will be drawn from it, on average. They are drawn at random by their rates, so there is no epoch.
    pub datasets: Vec<(String, f64)>,
}

/// A part of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPart {
    /// Its name, as `[trainable]` takes it, or `lora`.
    pub name: String,
    /// How many numbers are trained.
    pub trained: u64,
    /// How many are not.
    pub frozen: u64,
}

/// Bytes that a run holds. The activations are a rough estimate, within a factor of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Frozen weights in the type that they compute in.
    pub frozen: u64,
    /// The f32 values of what is trained.
    pub masters: u64,
    /// Copies of what is trained in the type that it computes in, where that is not f32.
    pub copies: u64,
    /// The sum of the gradients, and those of each micro-batch that is computed at the same time.
    pub gradients: u64,
    /// AdamW's two means; Muon keeps one, which is counted as two.
    pub moments: u64,
    /// What the language model keeps for the backward pass, and the masks.
    pub activations: u64,
}

impl MemoryEstimate {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.frozen + self.masters + self.copies + self.gradients + self.moments + self.activations
    }
}

impl Recipe {
    /// What the recipe would do. Reads the small files of its model and the shapes of its tensors, no weights and no data, and writes
    /// nothing.
    ///
    /// # Errors
    /// When the model is not there or lacks something that the recipe does not give.
    pub fn plan(&self) -> Result<TrainingPlan, TrainError> {
        let (model, run) = (self.model(), self.run());
        model.check_paths()?;
        let shapes = shapes(model, &run.folder, run.seed)?;
        let (trained, lora, by_rows) = match self {
            Self::Read(config) => {
                let trainable = &config.trainable;
                (trainable.parts.clone(), config.lora.as_ref(), trainable.new_vocabulary_rows_only)
            }
            Self::Vision(config) => {
                let encoders = config.vision.encoders.iter();
                (encoders.flat_map(|encoder| encoder.parts()).copied().collect(), None, false)
            }
        };
        let parts = parts(&shapes, &trained, lora, by_rows);
        let steps = run.steps;
        let items_per_step = (run.batch_size * run.grad_accumulation_steps) as u64;
        let at_once = run.thread_count().min(run.grad_accumulation_steps).max(1) as u64;
        let activations = match self {
            Self::Read(config) => language_activations(config, &shapes),
            Self::Vision(_) => 0,
        };
        let activations = activations * run.batch_size as u64 * at_once;
        let memory = memory(&parts, model, at_once, activations);
        let datasets = self.shares((steps * items_per_step) as f64);
        Ok(TrainingPlan { parts, memory, steps, items_per_step, datasets })
    }

    /// How many of `items` come from each dataset on average.
    fn shares(&self, items: f64) -> Vec<(String, f64)> {
        match self {
            Self::Read(config) => {
                let datasets = &config.data.datasets;
                let total: f64 = datasets.iter().map(|dataset| dataset.rate).sum();
                let share = |dataset: &crate::config::DatasetSection| {
                    (dataset.kind.name().to_owned(), items * dataset.rate / total)
                };
                datasets.iter().map(share).collect()
            }
            Self::Vision(_) => vec![("tabletop".to_owned(), items)],
        }
    }
}

/// The parts of the model with what is trained of each.
fn parts(shapes: &Shapes, trained: &[Part], lora: Option<&LoraConfig>, by_rows: bool) -> Vec<PlannedPart> {
    let tensors = || shapes.checkpoint.iter().chain(&shapes.tower);
    let of_part = |part: Part| {
        let (mut values, mut new_rows) = (0, 0);
        for (name, info) in tensors().filter(|(name, _)| part.holds(name)) {
            let count = info.element_count() as u64;
            let rows = info.shape.first().copied().unwrap_or(1);
            let by_rows = by_rows && matches!(part, Part::EmbedTokens | Part::LmHead);
            let kept = if by_rows { shapes.first_new_row.min(rows) } else { 0 };
            values += if name.ends_with(".rotary_emb.inv_freq") { 0 } else { count };
            new_rows += count / rows as u64 * (rows - kept) as u64;
        }
        let trained = if trained.contains(&part) { new_rows } else { 0 };
        PlannedPart { name: part.name().to_owned(), trained, frozen: values - trained }
    };
    let mut parts: Vec<PlannedPart> = Part::ALL.into_iter().map(of_part).collect();
    if let Some(lora) = lora {
        let trained = lora.count(&shapes.checkpoint);
        parts.push(PlannedPart { name: format!("lora (rank {})", lora.rank), trained, frozen: 0 });
    }
    parts
}

/// Bytes for `parts` with `at_once` micro-batches at the same time.
fn memory(parts: &[PlannedPart], model: &ModelSection, at_once: u64, activations: u64) -> MemoryEstimate {
    let mut memory = MemoryEstimate { activations, ..MemoryEstimate::default() };
    for part in parts {
        // In half precision the image encoders and SAM compute in f32 all the same (`PartTypes::exact`).
        let of_images =
            ["vision_tower", "image_encoder", "prompt_encoder", "mask_decoder"].contains(&part.name.as_str());
        let half = model.dtype == ComputeType::Bf16 && !of_images;
        memory.frozen += match model.quantize {
            Some(QuantizeType::Int8) if part.name == Part::LanguageModel.name() => part.frozen,
            Some(QuantizeType::Int4) if part.name == Part::LanguageModel.name() => part.frozen * 9 / 16,
            _ => part.frozen * if half { 2 } else { 4 },
        };
        memory.copies += if half { 2 * part.trained * at_once } else { 0 };
        memory.masters += 4 * part.trained;
        memory.gradients += 4 * part.trained * (1 + at_once);
        memory.moments += 8 * part.trained;
    }
    memory
}

/// Text of the system prompt and the first question, and of each further conversation, in tokens: what the papers' templates come to.
const SHARED_TOKENS: usize = 60;
const ROW_TOKENS: usize = 60;

/// Bytes that one item's language model keeps for the backward pass: for each position and layer about ten vectors of the hidden width and
/// four of the MLP's, in the type that it computes in.
fn language_activations(config: &TrainConfig, shapes: &Shapes) -> u64 {
    let info = |name: &str| shapes.checkpoint.get(name).map(|info: &TensorInfo| info.shape.as_slice());
    let Some(&[inner, width]) = info("model.layers.0.mlp.gate_proj.weight") else { return 0 };
    let layers = (0..)
        .take_while(|layer| info(&format!("model.layers.{layer}.mlp.gate_proj.weight")).is_some())
        .count();
    let positions = shapes.image_tokens + SHARED_TOKENS + config.data.num_classes_per_sample * ROW_TOKENS;
    let bytes = if config.model.dtype == ComputeType::Bf16 { 2 } else { 4 };
    (positions * layers * (10 * width + 4 * inner) * bytes) as u64
}

impl fmt::Display for TrainingPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<18} {:>14} {:>14}", "part", "trained", "frozen")?;
        let row = |out: &mut fmt::Formatter<'_>, name: &str, trained, frozen| {
            writeln!(out, "{name:<18} {:>14} {:>14}", grouped(trained), grouped(frozen))
        };
        for part in &self.parts {
            row(out, &part.name, part.trained, part.frozen)?;
        }
        let sum = |count: fn(&PlannedPart) -> u64| self.parts.iter().map(count).sum::<u64>();
        row(out, "all", sum(|part| part.trained), sum(|part| part.frozen))?;
        writeln!(out)?;
        let memory = &self.memory;
        for (name, bytes) in [
            ("frozen weights", memory.frozen),
            ("trained weights", memory.masters),
            ("their copies", memory.copies),
            ("gradients", memory.gradients),
            ("moments", memory.moments),
            ("activations", memory.activations),
            ("memory, about", memory.total()),
        ] {
            writeln!(out, "{name:<18} {:>10.2} GiB", bytes as f64 / (1_u64 << 30) as f64)?;
        }
        writeln!(out)?;
        let items = self.steps * self.items_per_step;
        writeln!(
            out,
            "{} steps of {} items: {} items",
            grouped(self.steps),
            self.items_per_step,
            grouped(items)
        )?;
        for (name, count) in &self.datasets {
            writeln!(out, "  {name:<16} {:>14}", grouped(count.round() as u64))?;
        }
        Ok(())
    }
}

/// `1 234 567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{LanguageSizes, ModelSizes};

    /// The sizes of READ-7B.
    fn published() -> Shapes {
        let sizes = ModelSizes::published(LanguageSizes {
            hidden_size: 4096,
            intermediate_size: 11_008,
            layers: 32,
            heads: 32,
            max_position_embeddings: 4096,
        });
        let (checkpoint, tower) = sizes.tensors();
        Shapes { checkpoint, tower, image_tokens: 576, first_new_row: 32_000 }
    }

    #[test]
    fn read_7b_trains_what_the_paper_says() {
        let lora: LoraConfig = toml::from_str("rank = 8").unwrap();
        let all = parts(&published(), &Part::PUBLISHED, Some(&lora), false);
        let trained = |name: &str| all.iter().find(|part| part.name.starts_with(name)).unwrap().trained;
        // Spec 5.2: 4.19 M + 262.17 M + 4.06 M + 17.83 M, about 288.25 M.
        assert_eq!(trained("lora"), 4_194_304);
        assert_eq!(trained("embed_tokens") + trained("lm_head"), 262_168_576);
        assert!((4_055_000..4_065_000).contains(&trained("mask_decoder")), "{}", trained("mask_decoder"));
        assert_eq!(trained("text_hidden_fcs"), 17_830_144);
        let total: u64 = all.iter().map(|part| part.trained).sum();
        assert!((288_200_000..288_300_000).contains(&total), "{total}");
        assert_eq!(trained("image_encoder") + trained("vision_tower"), 0);
        let rows = parts(&published(), &Part::PUBLISHED, None, true);
        let table = rows.iter().find(|part| part.name == "lm_head").unwrap();
        assert_eq!((table.trained, table.frozen), (3 * 4096, 32_000 * 4096));
    }

    #[test]
    fn memory_of_read_7b_in_half_precision() {
        let lora: LoraConfig = toml::from_str("rank = 8").unwrap();
        let shapes = published();
        let parts = parts(&shapes, &Part::PUBLISHED, Some(&lora), false);
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        let config = TrainConfig::read(&folder.join("read-7b-from-sesame.toml")).unwrap();
        let found = memory(&parts, &config.model, 1, 2 * language_activations(&config, &shapes));
        let (trained, images) = (288_250_000.0, 941_000_000.0);
        let close = |bytes: u64, expected: f64| (bytes as f64 / expected - 1.0).abs() < 0.01;
        // The language model without its trained tables has 6.50 billion weights (spec 2.1), CLIP and SAM's encoders 0.94 (spec 2.2, 2.3).
        assert!(close(found.frozen, 2.0 * 6.497e9 + 4.0 * images), "{found:?}");
        assert!(close(found.masters, 4.0 * trained) && close(found.gradients, 8.0 * trained), "{found:?}");
        assert!(close(found.moments, 8.0 * trained) && close(found.copies, 2.0 * (trained - 4.06e6)));
        let mut model = ModelSection { dtype: ComputeType::F32, ..config.model };
        let uniform = memory(&parts, &model, 1, 0);
        assert_eq!((uniform.copies, uniform.activations), (0, 0));
        model.quantize = Some(QuantizeType::Int4);
        let saved = uniform.frozen - memory(&parts, &model, 1, 0).frozen;
        assert!(close(saved, 6.476e9 * (4.0 - 9.0 / 16.0)), "{saved}");
        println!("{found:?} {:.1} GiB", found.total() as f64 / (1_u64 << 30) as f64);
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([7, 999, 1000, 1_234_567].map(grouped), ["7", "999", "1 000", "1 234 567"]);
    }
}
