//! Times training steps of a model on one batch of the Tabletop world, and writes that batch for `benches/peers/train_step.py`, which
//! times the same steps in PyTorch.
//!
//! ```sh
//! cargo run --release -p maskwise-train --example train_step -- MODEL_FOLDER BATCH.safetensors [ITEMS] [STEPS]
//! ```
//!
//! Run it with `RAYON_NUM_THREADS=1 MIMALLOC_PURGE_DELAY=-1`, which `maskwise train` sets for itself. The batch is computed as two
//! micro-batches on a thread each, as a run with `threads = 2` does.

use candle_core::{DType, Device, Tensor};
use maskwise_data::dataset::Mixture;
use maskwise_data::tabletop::{QuestionWeights, SceneConfig, Split, World};
use maskwise_models::systems::read::{ModelFiles, ModelPlaces, PartTypes};
use maskwise_train::read::{
    FeatureSettings, LossWeights, Part, PreparedItem, ReadLearner, ReadSettings, TrainedWeightsConfig,
};
use maskwise_train::{GradientSum, Learner, MicroBatch, Optimizer, OptimizerConfig};
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, target) = match arguments.as_slice() {
        [folder, target, ..] => (Path::new(folder), Path::new(target)),
        _ => return Err("usage: train_step MODEL_FOLDER BATCH.safetensors [ITEMS] [STEPS]".into()),
    };
    let number = |index: usize, default: usize| arguments.get(index).map_or(Ok(default), |text| text.parse());
    let (count, steps) = (number(2, 8)?, number(3, 8)?);

    let weights = TrainedWeightsConfig {
        parts: Part::ALL.to_vec(),
        lora: None,
        first_trained_row: None,
        types: PartTypes::uniform(DType::F32),
        seed: 0,
    };
    let features = FeatureSettings::default();
    let settings =
        ReadSettings { weights, loss: LossWeights::default(), features, activation_checkpointing: false };
    let learner =
        ReadLearner::new(ModelFiles::open(folder, &ModelPlaces::default())?, &settings, &Device::Cpu)?;
    let world =
        World::new(1, Split::Train, SceneConfig::default())?.with_questions(QuestionWeights::default(), 6);
    let mixture = Mixture::new("tabletop", vec![(Box::new(world), 1.0)])?;
    let items = (0..count as u64)
        .map(|position| Ok(learner.prepare(mixture.item(1, position)?)?))
        .collect::<Result<Vec<_>, Failure>>()?;
    write_batch(&items, target)?;
    let (terms, _) = learner.micro_batch(&MicroBatch { items: &items, seed: 0 })?;
    let rows: usize = items.iter().map(|item| item.rows.len()).sum();
    say(format_args!("{count} pictures, {rows} questions; as one batch {:?}", terms.0));

    let pool = || rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pools = [pool()?, pool()?];
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), learner.parameters())?;
    let mut times = Vec::new();
    for _ in 0..steps {
        let start = Instant::now();
        let halves = [&items[..count / 2], &items[count / 2..]];
        let compute = |half, pool: &rayon::ThreadPool| {
            pool.install(|| learner.micro_batch(&MicroBatch { items: half, seed: 0 }))
        };
        let gradients = std::thread::scope(|scope| {
            let other = scope.spawn(|| compute(halves[1], &pools[1]));
            let first = compute(halves[0], &pools[0])?;
            let second = other.join().map_err(|_| "a thread panicked")??;
            Ok::<_, Failure>([first.1, second.1])
        })?;
        let mut sum = GradientSum::default();
        for part in gradients {
            sum.add(part)?;
        }
        // A rate of zero: every step computes on the same weights, as the peer's does.
        optimizer.step(learner.parameters(), &sum.finish(), 0.0, 0.5)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    say(format_args!("median {:.3} s a step, best {:.3} s", times[times.len() / 2], times[0]));
    Ok(())
}

/// The examples' own words; libraries do not print.
#[allow(clippy::print_stdout)]
fn say(line: std::fmt::Arguments) {
    println!("{line}");
}

/// Pixels, ids, labels and masks of every item: `clip.I`, `sam.I`, `ids.I.R`, `labels.I.R`, `masks.I.R`.
fn write_batch(items: &[PreparedItem], target: &Path) -> Result<(), Failure> {
    let mut tensors = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        for (name, pixels) in [("clip", &item.clip_pixels), ("sam", &item.sam.pixels)] {
            let shape = (pixels.channels, pixels.height, pixels.width);
            tensors.insert(format!("{name}.{index}"), Tensor::from_slice(&pixels.data, shape, &Device::Cpu)?);
        }
        for (row, content) in item.rows.iter().enumerate() {
            let length = content.ids.len();
            tensors.insert(
                format!("ids.{index}.{row}"),
                Tensor::from_slice(&content.ids, length, &Device::Cpu)?,
            );
            let labels = Tensor::from_slice(&content.labels, length, &Device::Cpu)?;
            tensors.insert(format!("labels.{index}.{row}"), labels);
            for mask in &content.masks {
                let values = Tensor::from_slice(&mask.data, (mask.height, mask.width), &Device::Cpu)?;
                tensors.insert(format!("masks.{index}.{row}"), values);
            }
        }
    }
    Ok(candle_core::safetensors::save(&tensors, target)?)
}
