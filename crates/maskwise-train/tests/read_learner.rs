//! What must not alter a READ learner's numbers: kept features of frozen encoders, and activations computed twice.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

use candle_core::{DType, Device, Tensor};
use maskwise_data::dataset::{TrainingConversation, TrainingItem};
use maskwise_data::image::RgbImage;
use maskwise_data::mask::Mask;
use maskwise_models::systems::read::{ModelFiles, ModelPlaces, PartQuantization, PartTypes};
use maskwise_nn::weights::Quantization;
use maskwise_train::read::{
    FeatureSettings, LoraConfig, LossWeights, Part, PreparedItem, ReadLearner, ReadSettings,
    TrainedWeightsConfig,
};
use maskwise_train::{Gradients, Learner, LossTerms, MicroBatch};
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Adapters with dropout and `parts` on `tests/tiny-read/model`.
fn settings(parts: &[Part]) -> ReadSettings {
    let targets = vec!["q_proj".to_owned(), "down_proj".to_owned()];
    let weights = TrainedWeightsConfig {
        parts: parts.to_vec(),
        lora: Some(LoraConfig { rank: 4, alpha: 8.0, dropout: 0.3, targets }),
        first_trained_row: None,
        types: PartTypes::uniform(DType::F32),
        seed: 7,
    };
    let features = FeatureSettings::default();
    ReadSettings { weights, loss: LossWeights::default(), features, activation_checkpointing: false }
}

fn with_features(parts: &[Part], memory_bytes: usize, folder: Option<&Path>) -> ReadSettings {
    let features = FeatureSettings { memory_bytes, folder: folder.map(Path::to_path_buf) };
    ReadSettings { features, ..settings(parts) }
}

fn learner(model: &Path, settings: &ReadSettings) -> ReadLearner {
    let files = ModelFiles::open(model, &ModelPlaces::default()).unwrap();
    let learner = ReadLearner::new(files, settings, &Device::Cpu).unwrap();
    // The adapters' B begins at zero, which would leave A without a gradient.
    for (name, variable) in learner.parameters().iter().filter(|(name, _)| name.contains("lora_B")) {
        let value = |index: usize| ((index + name.len()) % 7) as f32 * 0.01 - 0.03;
        let values: Vec<f32> = (0..variable.elem_count()).map(value).collect();
        variable.set(&Tensor::from_vec(values, variable.shape(), &Device::Cpu).unwrap()).unwrap();
    }
    learner
}

fn tiny(settings: &ReadSettings) -> ReadLearner {
    learner(&repository().join("tests/tiny-read/model"), settings)
}

/// Two pictures of coloured stripes; the first has two conversations, one of which has nothing to segment.
fn items(learner: &ReadLearner) -> Vec<PreparedItem> {
    let item = |index: u8| {
        let side = 64;
        let mut image = RgbImage::new(side, side);
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            pixel.0 = [200, (x * 3) as u8, if x + y > 60 + 9 * u32::from(index) { 30 } else { 220 }];
        }
        let values: Vec<u8> = (0..side * side).map(|place| u8::from(place % side > 30)).collect();
        let mask = Mask::from_values(&values, side as usize, side as usize).unwrap();
        let talk = |question: &str, answer: &str, masks: Vec<Mask>| TrainingConversation {
            rounds: vec![(question.to_owned(), answer.to_owned())],
            masks,
        };
        let mut conversations = vec![talk("Where is the red star?", "Sure, [SEG] .", vec![mask])];
        if index == 0 {
            conversations.push(talk("Where is the blue circle?", "There is none.", Vec::new()));
        }
        learner.prepare(TrainingItem { id: format!("item {index}"), image, conversations }).unwrap()
    };
    [0, 1].map(item).to_vec()
}

fn step(learner: &ReadLearner) -> (LossTerms, Gradients) {
    learner.micro_batch(&MicroBatch { items: &items(learner), seed: 5 }).unwrap()
}

fn values(gradient: &Tensor) -> Vec<f32> {
    gradient.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_same_bits(left: &(LossTerms, Gradients), right: &(LossTerms, Gradients)) {
    assert_eq!(left.0, right.0);
    for (left, right) in left.1.iter().zip(&right.1) {
        assert!(left.as_ref().map(values) == right.as_ref().map(values));
    }
}

#[test]
fn kept_features_alter_no_bit_and_are_encoded_once() {
    for parts in [&Part::PUBLISHED[..], &[Part::MmProjector, Part::TextHiddenFcs]] {
        let plain = step(&tiny(&settings(parts)));
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("features");
        let (in_memory, on_disk) =
            (with_features(parts, 1 << 24, None), with_features(parts, 0, Some(&place)));
        for settings in [&in_memory, &on_disk] {
            let learner = tiny(settings);
            for _epoch in 0..2 {
                assert_same_bits(&step(&learner), &plain);
                // CLIP and SAM on two pictures.
                assert_eq!(learner.features().encoded(), 4);
            }
            assert!(learner.features().take_notices().is_empty());
        }
        assert_eq!(fs::read_dir(&place).unwrap().count(), 4);
        let later = tiny(&on_disk);
        assert_same_bits(&step(&later), &plain);
        assert_eq!(later.features().encoded(), 0);
    }
}

#[test]
fn memory_has_its_limit() {
    // An embedding of SAM is 16 · 16 · 64 floats, the image tokens 64 · 96.
    let learner = tiny(&with_features(&Part::PUBLISHED, 16 * 16 * 64 * 4 + 64 * 96 * 4, None));
    step(&learner);
    step(&learner);
    assert_eq!(learner.features().encoded(), 4 + 2);
}

#[test]
fn what_is_trained_is_not_kept() {
    let parts = [Part::VisionTower, Part::ImageEncoder];
    let learner = tiny(&with_features(&parts, 1 << 24, None));
    assert_same_bits(&step(&learner), &step(&tiny(&settings(&parts))));
    assert_eq!(learner.features().encoded(), 0);
}

#[test]
fn damaged_features_are_noticed_and_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let settings = with_features(&Part::PUBLISHED, 0, Some(folder.path()));
    let sound = step(&tiny(&settings));
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let whole = fs::read(&files[0]).unwrap();
    let mut flipped = whole.clone();
    let last = flipped.len() - 100; // Within the values: the checksum is the last 32 bytes.
    flipped[last] ^= 1;
    fs::write(&files[0], &flipped).unwrap();
    fs::write(&files[1], &fs::read(&files[1]).unwrap()[..1000]).unwrap();
    // A sound file of another image.
    fs::copy(&files[3], &files[2]).unwrap();

    let learner = tiny(&settings);
    assert_same_bits(&step(&learner), &sound);
    assert_eq!(learner.features().encoded(), 3);
    let notices = learner.features().take_notices();
    assert_eq!(notices.len(), 3);
    assert!(notices.iter().all(|notice| notice.contains("damaged and computed again")), "{notices:?}");
    assert!(learner.features().take_notices().is_empty());
    assert_eq!(fs::read(&files[0]).unwrap(), whole);
}

#[test]
fn other_frozen_weights_have_other_features() {
    let folder = tempfile::tempdir().unwrap();
    step(&tiny(&with_features(&Part::PUBLISHED, 0, Some(folder.path()))));
    // With the projector trained CLIP's features are kept instead of the image tokens; SAM's embeddings are the same.
    let learner = tiny(&with_features(&[Part::MmProjector], 0, Some(folder.path())));
    step(&learner);
    assert_eq!(learner.features().encoded(), 2);
}

#[test]
fn recomputed_activations_give_the_same_gradients() {
    for parts in [&Part::PUBLISHED[..], &[Part::TextHiddenFcs], &Part::ALL] {
        let kept = tiny(&settings(parts));
        let recomputed = tiny(&ReadSettings { activation_checkpointing: true, ..settings(parts) });
        let ((terms, gradients), (other_terms, other_gradients)) = (step(&kept), step(&recomputed));
        assert_eq!(terms, other_terms);
        for ((name, _), (gradient, other)) in
            kept.parameters().iter().zip(gradients.iter().zip(&other_gradients))
        {
            let (Some(gradient), Some(other)) = (gradient, other) else {
                assert!(gradient.is_none() && other.is_none(), "{name}");
                continue;
            };
            let (gradient, other) = (values(gradient), values(other));
            let square =
                |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>();
            let difference = square(&mut gradient.iter().zip(&other).map(|(left, right)| left - right));
            // The same sums in f32, of which two may be added in another order.
            assert!(difference.sqrt() <= 1e-6 * square(&mut gradient.iter().copied()).sqrt(), "{name}");
        }
    }
}

/// Peak memory is a process's, so the test runs itself as two processes with this in their environment.
#[cfg(target_os = "linux")]
const CHILD: &str = "MASKWISE_TEST_ACTIVATION_CHECKPOINTING";

#[cfg(target_os = "linux")]
#[test]
fn recomputing_activations_takes_less_memory() {
    use std::process::Command;
    if let Ok(setting) = std::env::var(CHILD) {
        return print_peak_of_a_long_sequence(setting == "true");
    }
    let peak = |setting: &str| -> f64 {
        let name = "recomputing_activations_takes_less_memory";
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args([name, "--exact", "--nocapture"]).env(CHILD, setting).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("peak KiB: "));
        line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    };
    let (kept, recomputed) = (peak("false"), peak("true"));
    println!("peak memory: {:.0} MiB kept, {:.0} MiB recomputed", kept / 1024.0, recomputed / 1024.0);
    assert!(recomputed < 0.6 * kept, "{recomputed} KiB against {kept}");
}

/// One step of a model of 12 narrow layers over 576 image tokens.
#[cfg(target_os = "linux")]
fn print_peak_of_a_long_sequence(activation_checkpointing: bool) {
    use maskwise_data::text::sentencepiece::SentencePiece;
    use maskwise_train::scratch::{ModelSizes, TokenizerFiles, write_model};
    let mini = repository().join("configs/mini");
    let mut sizes: ModelSizes =
        toml::from_str(&fs::read_to_string(mini.join("sizes.toml")).unwrap()).unwrap();
    (sizes.language.layers, sizes.language.max_position_embeddings) = (12, 900);
    (sizes.clip.image_size, sizes.clip.layers, sizes.sam.layers) = (384, 1, 1);
    sizes.sam.global_layers = vec![0];
    let sentencepiece = fs::read(mini.join("tokenizer.model")).unwrap();
    let pieces = SentencePiece::from_bytes(&sentencepiece).unwrap().vocab_size();
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = TokenizerFiles { sentencepiece, pieces };
    write_model(folder.path(), &sizes, &tokenizer, DType::F32, 1).unwrap();
    let learner = learner(
        folder.path(),
        &ReadSettings { activation_checkpointing, ..settings(&[Part::TextHiddenFcs]) },
    );
    let items = items(&learner);
    learner.micro_batch(&MicroBatch { items: &items[..1], seed: 1 }).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("\npeak KiB: {}", peak.trim().trim_end_matches(" kB"));
}

#[test]
fn without_weight_on_masks_sam_is_left_out_and_the_rest_stays_the_same() {
    let parts = [Part::LmHead, Part::TextHiddenFcs];
    let with_loss = |loss: LossWeights| ReadSettings { loss, ..with_features(&parts, 1 << 24, None) };
    let drawing =
        LossWeights { similarity: 1.5, first_token: 2.0, halfway_similarity: 0.5, ..LossWeights::default() };
    let drawing_learner = tiny(&with_loss(drawing));
    let learner = tiny(&with_loss(LossWeights { bce: 0.0, dice: 0.0, ..drawing }));
    let (drawn, silent) = (step(&drawing_learner), step(&learner));
    // CLIP and SAM on two pictures, or CLIP alone.
    assert_eq!((drawing_learner.features().encoded(), learner.features().encoded()), (4, 2));
    let term = |terms: &LossTerms, name: &str| terms.0.iter().find(|(known, _)| *known == name).unwrap().1;
    let names = ["ce_loss", "first_token_loss", "similarity_loss", "halfway_similarity_loss"];
    for name in names {
        assert_eq!(term(&drawn.0, name), term(&silent.0, name), "{name}");
        assert!(term(&silent.0, name) > 0.0, "{name}");
    }
    assert!(term(&drawn.0, "mask_loss") > 0.0 && term(&silent.0, "mask_loss") == 0.0);
    let sum: f64 = names.map(|name| term(&silent.0, name)).iter().sum();
    assert!((term(&silent.0, "loss") - sum).abs() < 1e-5 * sum);
    // The first tokens are some of all tokens, and not as likely as the others on average.
    assert_ne!(term(&silent.0, "first_token_loss") / 2.0, term(&silent.0, "ce_loss"));
    let of_prompt = |learner: &ReadLearner, gradients: &Gradients| {
        let names = learner.parameters().iter().zip(gradients);
        names.filter(|((name, _), gradient)| name.contains("text_hidden_fcs") && gradient.is_some()).count()
    };
    assert_eq!((of_prompt(&drawing_learner, &drawn.1), of_prompt(&learner, &silent.1)), (4, 0));
}

#[test]
fn the_similarity_losses_weigh_covered_and_free_cells_alike() {
    // Where every similarity is 0, each cell costs ln 2, whatever the mask covers; where nothing is covered, the covered half is missing.
    let none = LossWeights { ce: 0.0, bce: 0.0, dice: 0.0, ..LossWeights::default() };
    let of = |loss: LossWeights, name: &str| {
        let learner = tiny(&ReadSettings { loss, ..with_features(&[Part::LanguageModel], 1 << 24, None) });
        let norm = learner.parameters().get("model.norm.weight").unwrap();
        norm.set(&norm.zeros_like().unwrap()).unwrap();
        step(&learner).0.0.iter().find(|(known, _)| *known == name).unwrap().1
    };
    let loss = of(LossWeights { similarity: 1.0, ..none }, "similarity_loss");
    assert!((loss - std::f64::consts::LN_2).abs() < 1e-5, "{loss}");
    // Two answers have a mask, one has none.
    let loss = of(LossWeights { halfway_similarity: 1.0, ..none }, "halfway_similarity_loss");
    assert!((loss - std::f64::consts::LN_2 * 2.5 / 3.0).abs() < 1e-5, "{loss}");
}

#[test]
fn the_halfway_similarity_teaches_the_first_half_of_the_layers() {
    let loss =
        LossWeights { ce: 0.0, bce: 0.0, dice: 0.0, halfway_similarity: 1.0, ..LossWeights::default() };
    let learner = tiny(&ReadSettings { loss, ..with_features(&[Part::LanguageModel], 1 << 24, None) });
    let (_, gradients) = step(&learner);
    for ((name, _), gradient) in learner.parameters().iter().zip(&gradients) {
        let Some(layer) = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next()) else {
            continue;
        };
        let moves =
            gradient.as_ref().is_some_and(|gradient| values(gradient).iter().any(|value| *value != 0.0));
        // Of three layers the first two.
        assert_eq!(moves, layer != "2", "{name}");
    }
}

/// Adapters learn on rounded weights: what they are told hardly differs from what they are told on whole ones.
#[test]
fn adapters_train_on_quantized_weights() {
    let parts = [Part::MaskDecoder, Part::TextHiddenFcs];
    let whole = step(&tiny(&settings(&parts)));
    for (quantization, bound) in [(Quantization::Int8, 0.2), (Quantization::Int4, 0.8)] {
        let mut settings = settings(&parts);
        settings.weights.types.quantization.language = quantization;
        let rounded = step(&tiny(&settings));
        for ((name, whole), (_, rounded)) in whole.0.0.iter().zip(&rounded.0.0) {
            assert!((rounded / whole - 1.0).abs() < 0.1, "{quantization} {name}: {whole} {rounded}");
        }
        let (mut error, mut size) = (0.0, 0.0);
        for (whole, rounded) in whole.1.iter().zip(&rounded.1) {
            let (Some(whole), Some(rounded)) = (whole, rounded) else { continue };
            for (whole, rounded) in values(whole).iter().zip(values(rounded)) {
                error += f64::from(whole - rounded).powi(2);
                size += f64::from(*whole).powi(2);
            }
        }
        let error = (error / size).sqrt();
        println!("{quantization}: gradients differ by {error}");
        assert!(error > 0.0 && error < bound, "{quantization}: {error}");
        settings.weights.parts.push(Part::LanguageModel);
        let model = repository().join("tests/tiny-read/model");
        let files = ModelFiles::open(model.as_path(), &ModelPlaces::default()).unwrap();
        let refused = ReadLearner::new(files, &settings, &Device::Cpu).err().unwrap().to_string();
        assert!(refused.contains("which is to be trained"), "{refused}");
    }
}

/// What is merged into quantized weights would be rounded once more.
#[test]
fn a_quantized_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rounded = folder.path().join("rounded");
    let model = repository().join("tests/tiny-read/model");
    let files = ModelFiles::open(model.as_path(), &ModelPlaces::default()).unwrap();
    let quantization = PartQuantization { language: Quantization::Int8, ..PartQuantization::default() };
    let checkpoint = quantization.of_checkpoint(files.open_checkpoint().unwrap());
    let tower = files.open_vision_tower().unwrap();
    files.write_folder(&rounded, checkpoint.as_ref(), tower.as_ref(), None, &mut |_, _| ()).unwrap();
    let files = ModelFiles::open(rounded.as_path(), &ModelPlaces::default()).unwrap();
    assert_eq!(files.stored_quantization().unwrap(), quantization);
    let refused = ReadLearner::new(files, &settings(&[Part::MaskDecoder]), &Device::Cpu).err().unwrap();
    assert!(refused.to_string().contains("start from the model that it was rounded from"), "{refused}");
}
