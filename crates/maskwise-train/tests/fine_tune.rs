//! `docs/fine-tuning.md` in short: `configs/fine-tune.toml` on three small pictures, and what comes of it.

#![allow(clippy::unwrap_used)] // The lints exempt test functions, not their helpers.

#[path = "../examples/fine_tuning_pictures/pictures.rs"]
mod pictures;

use candle_core::{DType, Device};
use maskwise_data::text::ConversationTemplate;
use maskwise_data::text::QuestionTemplates;
use maskwise_data::text::prompt::{question_prompt, tokenize_image_prompt};
use maskwise_models::systems::read::{LoadOptions, ModelFiles, ModelPlaces, PartTypes};
use maskwise_nn::weights::TensorSource;
use maskwise_train::StepReport;
use maskwise_train::config::TrainConfig;
use maskwise_train::session::{Begin, Recipe, Watcher, Which, merge};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

#[derive(Default)]
struct Seen {
    mask_losses: Vec<f64>,
    scores: Vec<Vec<(String, f64)>>,
}

impl Watcher for Seen {
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let mask_loss = report.terms.0.iter().find(|(name, _)| *name == "mask_loss");
        self.mask_losses.push(mask_loss.unwrap().1);
        ControlFlow::Continue(())
    }

    fn validated(&mut self, _: u64, scores: &[(String, f64)]) {
        self.scores.push(scores.to_vec());
    }

    fn notice(&mut self, text: &str) {
        panic!("{text}");
    }
}

/// The recipe of the guide with its folders inside of `folder`, and fewer steps.
fn recipe(folder: &Path) -> TrainConfig {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(repository.join("configs/fine-tune.toml")).unwrap();
    let at = |path: &Path| format!("\"{}", path.display().to_string().replace('\\', "/"));
    let text = text
        .replace("\"crates/", &format!("{}/", at(&repository.join("crates"))))
        .replace("\"my-pictures/", &format!("{}/", at(&folder.join("my-pictures"))))
        .replace("\"runs/", &format!("{}/", at(&folder.join("runs"))));
    let mut config = TrainConfig::parse(&text).unwrap();
    (config.run.steps, config.run.validation_interval) = (12, 12);
    config.schedule.warmup_steps = 0;
    config.data.validation.as_mut().unwrap().pictures = 1;
    config
}

#[test]
fn a_few_pictures_of_ones_own_teach_a_model() {
    let folder = tempfile::tempdir().unwrap();
    for (split, first, count) in [("train", 0, 3), ("val", 10, 2)] {
        pictures::write(&folder.path().join("my-pictures").join(split), first, count, 96).unwrap();
    }
    let config = recipe(folder.path());
    let mut seen = Seen::default();
    let progress = Recipe::Read(Box::new(config.clone())).train(Begin::New, &mut seen).unwrap();
    assert_eq!((progress.step, seen.scores.len()), (12, 1));
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (before, after) = (mean(&seen.mask_losses[..3]), mean(&seen.mask_losses[9..]));
    assert!(after < 0.75 * before, "{:?}", seen.mask_losses);
    // Image tokens and SAM's embedding of the three pictures trained on; of the two others SAM's only where the answer has a mask.
    let kept = fs::read_dir(folder.path().join("runs/features")).unwrap().count();
    assert!((8..=10).contains(&kept), "{kept}");
    let drawn = config.run.folder.join("pictures/step-000012");
    assert_eq!(fs::read_dir(drawn).unwrap().count(), 1);

    let merged = folder.path().join("my-model");
    merge(&config.run.folder, Which::Last, &merged, None, &mut |_, _| ()).unwrap();
    let files = ModelFiles::open(&merged, &ModelPlaces::default()).unwrap();
    let learned = files.open_checkpoint().unwrap();
    let start = ModelFiles::open(config.model.init_from.as_ref().unwrap(), &ModelPlaces::default()).unwrap();
    let start = start.open_checkpoint().unwrap();
    for (name, changed) in
        [("model.layers.0.self_attn.v_proj.weight", true), ("model.layers.0.self_attn.o_proj.weight", false)]
    {
        let read = |source: &dyn TensorSource| {
            let tensor = source.read(name, DType::F32, &Device::Cpu).unwrap();
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(read(learned.as_ref()) != read(start.as_ref()), changed, "{name}");
    }
    answers(&files, &folder.path().join("my-pictures/train/picture-00.png"));
}

/// The merged model answers the question about a picture that it was taught, and its answer names a mask.
fn answers(files: &ModelFiles, picture: &Path) {
    let options = LoadOptions {
        types: PartTypes::uniform(DType::F32),
        device: Device::Cpu,
        allow_untrained: false,
        on_progress: None,
    };
    let model = files.load(options).unwrap();
    let image = maskwise_data::image::decode_path(picture, &Default::default()).unwrap();
    let image_tokens = model.encode_for_language(&files.inputs.for_language(&image).unwrap()).unwrap();
    let template = ConversationTemplate::by_name(&files.system.conversation.generate).unwrap();
    let question = QuestionTemplates::read().short.fill("the gadget");
    let prompt = question_prompt(&template, &question, None).unwrap();
    let ids = tokenize_image_prompt(&files.tokenizer, &prompt).unwrap();
    let answer = model.generate(&ids, &image_tokens, 32, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(model.seg_positions(&answer.ids).unwrap().len(), 1);
}
