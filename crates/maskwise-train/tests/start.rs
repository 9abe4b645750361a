//! Runs that start from a LLaVA, or from one system as another, and what becomes of them.

#![allow(clippy::unwrap_used)]

mod tiny;

use candle_core::{DType, Device, Tensor};
use maskwise_models::systems::read::{Family, LoadOptions, ModelFiles, ModelPlaces, PartTypes, SystemConfig};
use maskwise_nn::weights::open_checkpoint;
use maskwise_train::session::{Begin, Recipe, Watcher, Which, merge};
use maskwise_train::{StepReport, TrainError};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use tiny::{PIECES, edit, recipe, slashed, write_llava, write_read};

struct Quiet;

impl Watcher for Quiet {
    fn step(&mut self, _: &StepReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn validated(&mut self, _: u64, _: &[(String, f64)]) {}

    fn notice(&mut self, _: &str) {}
}

fn train(folder: &Path, text: &str, begin: Begin) -> Result<(), TrainError> {
    let path = folder.join("recipe.toml");
    fs::write(&path, text).unwrap();
    Recipe::read(&path)?.train(begin, &mut Quiet).map(|_| ())
}

fn llava_model(folder: &Path) -> String {
    let folder = slashed(folder);
    format!(
        "init_from = \"{folder}/llava\"\nvision_tower = \"{folder}/tower\"\nsam = \"{folder}/sam.safetensors\"\nsystem = \"read\"\n"
    )
}

fn tensor(folder: &Path, name: &str) -> Tensor {
    open_checkpoint(folder).unwrap().read(name, DType::F32, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn load(folder: &Path) -> ModelFiles {
    let files = ModelFiles::open(folder, &ModelPlaces::default()).unwrap();
    let types = PartTypes::uniform(DType::F32);
    let options = LoadOptions { types, device: Device::Cpu, allow_untrained: true, on_progress: None };
    files.load(options).unwrap();
    files
}

const TABLES: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];

#[test]
fn a_llava_becomes_a_read() {
    let folder = tempfile::tempdir().unwrap();
    let llava = write_llava(folder.path());
    let text = recipe(folder.path(), &llava_model(folder.path()), "");
    train(folder.path(), &text, Begin::New).unwrap();
    let start = folder.path().join("run/start");
    let files = load(&start);
    let ids = [files.special.seg, files.special.im_start, files.special.im_end];
    assert_eq!(ids.map(|id| id as usize), [PIECES, PIECES + 1, PIECES + 2]);
    assert_eq!(files.system, SystemConfig::published(Family::Read, 32));
    assert_eq!(files.config.architectures, ["READForCausalLM"]);
    // The rules of the tokenizer that the systems were trained with, whatever LLaVA's file says.
    assert_eq!(files.tokenizer.encode("a [SEG].", false).unwrap()[1], PIECES as u32);
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(start.join("tokenizer_config.json")).unwrap()).unwrap();
    assert_eq!(config["legacy"], true);

    for name in TABLES {
        let (old, new) = (tensor(&llava, name), tensor(&start, name));
        assert_eq!((old.dims(), new.dims()), (&[PIECES, 32][..], &[PIECES + 3, 32][..]));
        assert_eq!(values(&new.narrow(0, 0, PIECES).unwrap()), values(&old));
        let rows = values(&new.narrow(0, PIECES, 3).unwrap());
        let deviation = (rows.iter().map(|value| value * value).sum::<f32>() / rows.len() as f32).sqrt();
        assert!((0.015..0.025).contains(&deviation), "{name}: {deviation}");
    }
    assert_ne!(
        values(&tensor(&start, TABLES[0]).get(PIECES).unwrap()),
        values(&tensor(&start, TABLES[1]).get(PIECES).unwrap())
    );
    let checkpoint = open_checkpoint(&start).unwrap();
    let dtype = |name: &str| checkpoint.tensors()[name].dtype;
    assert_eq!((dtype("model.norm.weight"), dtype(TABLES[0])), (DType::F16, DType::F16));
    assert_eq!(dtype("model.text_hidden_fcs.0.0.weight"), DType::F32);
    let head = values(&tensor(&start, "model.text_hidden_fcs.0.2.weight"));
    let (bound, largest) =
        (1.0 / 32.0_f32.sqrt(), head.iter().fold(0.0_f32, |most, value| most.max(value.abs())));
    assert!(largest <= bound && largest > 0.9 * bound, "{largest}");
    let sam = candle_core::safetensors::load(folder.path().join("sam.safetensors"), &Device::Cpu).unwrap();
    let decoder = "mask_decoder.mask_tokens.weight";
    assert_eq!(values(&tensor(&start, &format!("model.visual_model.{decoder}"))), values(&sam[decoder]));
    let mut left: Vec<String> = fs::read_dir(folder.path().join("run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("start"))
        .collect();
    left.sort();
    assert_eq!(left, ["start", "start.txt"]);

    // It is written once, and only one model's run goes on in this folder.
    let before = fs::metadata(start.join("model.safetensors")).unwrap().modified().unwrap();
    train(folder.path(), &text, Begin::Resume).unwrap();
    assert_eq!(fs::metadata(start.join("model.safetensors")).unwrap().modified().unwrap(), before);
    let other = text.replace("\"read\"", "\"sesame\"");
    let error = train(folder.path(), &other, Begin::Resume).unwrap_err().to_string();
    assert!(error.starts_with("run.folder") && error.contains("made from another model"), "{error}");
}

#[test]
fn what_a_start_lacks_is_named_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    write_llava(folder.path());
    let model = llava_model(folder.path());
    let without = |key: &str| {
        let lines: Vec<&str> = model.lines().filter(|line| !line.starts_with(key)).collect();
        let error = train(folder.path(), &recipe(folder.path(), &lines.join("\n"), ""), Begin::New);
        let error = error.unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with(&format!("model.{key}: is missing")), "{error}");
        assert!(!folder.path().join("run/start").exists() && !folder.path().join("run/checkpoints").exists());
        error
    };
    assert!(without("sam").contains(".pth"));
    assert!(without("system").contains("LlavaLlamaForCausalLM"));
    assert!(without("vision_tower").contains("someone/tower-of-the-hub"));

    fs::write(folder.path().join("sam.safetensors"), b"no tensors").unwrap();
    let error = train(folder.path(), &recipe(folder.path(), &model, ""), Begin::New).unwrap_err().to_string();
    assert!(error.contains("sam.safetensors"), "{error}");
    assert!(!folder.path().join("run/start").exists());
}

#[test]
fn a_sesame_becomes_a_read_and_a_read_stays_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let read = write_read(folder.path());
    let model =
        |more: &str| recipe(folder.path(), &format!("init_from = \"{}\"\n{more}", slashed(&read)), "");
    train(folder.path(), &model(""), Begin::New).unwrap();
    assert!(!folder.path().join("run/start").exists());
    fs::remove_dir_all(folder.path().join("run")).unwrap();

    let as_sesame = |value: &mut serde_json::Value| {
        value["system"] = "sesame".into();
        value["similarity_points"] = serde_json::Value::Null;
    };
    edit(&read.join("maskwise.json"), &read.join("maskwise.json"), as_sesame);
    train(folder.path(), &model("system = \"read\""), Begin::New).unwrap();
    let start = folder.path().join("run/start");
    assert_eq!(load(&start).system, SystemConfig::published(Family::Read, 32));
    for name in ["model.text_hidden_fcs.0.0.weight", "model.embed_tokens.weight"] {
        assert_eq!(values(&tensor(&start, name)), values(&tensor(&read, name)));
    }
    fs::remove_dir_all(folder.path().join("run")).unwrap();

    // A second SAM is not taken silently.
    fs::write(folder.path().join("sam.pth"), b"").unwrap();
    let sam = format!("sam = \"{}/sam.pth\"", slashed(folder.path()));
    let error = train(folder.path(), &model(&sam), Begin::New).unwrap_err().to_string();
    assert!(error.contains("holds a SAM of its own"), "{error}");
}

#[test]
fn a_run_from_a_grown_vocabulary_merges_into_a_complete_model() {
    let folder = tempfile::tempdir().unwrap();
    write_llava(folder.path());
    let model = llava_model(folder.path()) + "dtype = \"bf16\"\n";
    let more = "[lora]\nrank = 4\nalpha = 8\ndropout = 0.0\n[trainable]\nnew_vocabulary_rows_only = true\n";
    train(folder.path(), &recipe(folder.path(), &model, more), Begin::New).unwrap();
    let (run, merged) = (folder.path().join("run"), folder.path().join("merged"));
    // The sources may be gone by then.
    fs::remove_dir_all(folder.path().join("llava")).unwrap();
    merge(&run, Which::Last, &merged, Some(DType::F32), &mut |_, _| {}).unwrap();
    load(&merged);

    let trained = candle_core::safetensors::load(
        run.join("checkpoints/step-000002/parameters.safetensors"),
        &Device::Cpu,
    )
    .unwrap();
    let start = run.join("start");
    let layer = "model.layers.1.self_attn.q_proj";
    let (a, b) = (
        &trained[&format!("{layer}.lora_A.default.weight")],
        &trained[&format!("{layer}.lora_B.default.weight")],
    );
    assert!(values(b).iter().any(|value| *value != 0.0));
    let weight = format!("{layer}.weight");
    let expected = (tensor(&start, &weight) + (b.matmul(a).unwrap() * 2.0).unwrap()).unwrap();
    assert_eq!(values(&tensor(&merged, &weight)), values(&expected));
    for name in TABLES {
        let (before, after) = (tensor(&start, name), tensor(&merged, name));
        let rows = |table: &Tensor, from, count| values(&table.narrow(0, from, count).unwrap());
        assert_eq!(trained[name].dims(), [3, 32]);
        assert_eq!(rows(&after, 0, PIECES), rows(&before, 0, PIECES));
        assert_eq!(rows(&after, PIECES, 3), values(&trained[name]));
    }
    // `<im_end>` is in every prompt, so it learned; an image row of the output table need not have been a target.
    assert_ne!(values(&trained[TABLES[0]]), values(&tensor(&start, TABLES[0]).narrow(0, PIECES, 3).unwrap()));
    let frozen = "model.layers.1.mlp.up_proj.weight";
    assert_eq!(values(&tensor(&merged, frozen)), values(&tensor(&start, frozen)));
}
