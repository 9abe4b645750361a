use super::*;
use crate::Decay;

/// The least that a recipe must say; `FOLDER` stands for a folder that is there.
const SMALLEST: &str = r#"
[model]
init_from = "FOLDER"
[[data.datasets]]
kind = "reason_seg"
folder = "FOLDER"
[schedule]
learning_rate = 3e-4
[run]
folder = "runs/one"
steps = 5000
batch_size = 2
"#;

fn smallest() -> String {
    // A slash is understood everywhere and needs no escape.
    SMALLEST.replace("FOLDER", &std::env::temp_dir().display().to_string().replace('\\', "/"))
}

fn error(text: &str) -> String {
    let error = TrainConfig::parse(text).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn defaults_are_those_of_the_papers() {
    let config = TrainConfig::parse(&smallest()).unwrap();
    assert_eq!(config.trainable.parts, Part::PUBLISHED);
    assert_eq!((config.loss.ce, config.loss.bce, config.loss.dice), (1.0, 2.0, 0.5));
    assert_eq!((config.optimizer.betas, config.optimizer.max_gradient_norm), ([0.9, 0.95], 1.0));
    assert_eq!((config.schedule.warmup_steps, config.schedule.decay), (100, Decay::Linear));
    assert!(!config.schedule.deepspeed_first_step && config.lora.is_none());
    assert_eq!((config.data.num_classes_per_sample, config.run.seed), (3, 42));
}

#[test]
fn the_resolved_recipe_reads_back_as_itself() {
    let text = smallest() + "\n[lora]\nrank = 8\n[optimizer]\nmax_gradient_norm = inf\n";
    let config = TrainConfig::parse(&text).unwrap();
    let resolved = toml::to_string_pretty(&config).unwrap();
    assert!(resolved.contains("epsilon") && resolved.contains("num_classes_per_sample"), "{resolved}");
    assert_eq!(TrainConfig::parse(&resolved).unwrap(), config);
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let with = |old: &str, new: &str| {
        let text = smallest();
        assert!(text.contains(old));
        error(&text.replace(old, new))
    };
    let unknown = with("steps = 5000", "stepps = 5000");
    assert!(unknown.starts_with("line 11: unknown field `stepps`, expected one of"), "{unknown}");
    assert!(with("steps = 5000", "steps = \"many\"").starts_with("line 11: invalid type"));
    assert!(with("steps = 5000", "").contains("missing field `steps`"));
    assert!(with("[run]", "[run").starts_with("line 9"));
    assert!(with("kind = \"reason_seg\"", "kind = \"coco\"").contains("unknown variant `coco`"));
    assert!(with("batch_size = 2", "batch_size = 0").starts_with("run.batch_size"));
    assert!(with("batch_size = 2", "batch_size = 2\nvalidation_interval = 5").contains("[data.validation]"));
    assert!(with("learning_rate = 3e-4", "learning_rate = -3e-4").starts_with("schedule.learning_rate"));
    assert!(
        with("kind = \"reason_seg\"", "kind = \"reason_seg\"\nrate = -1")
            .starts_with("data.datasets[0].rate")
    );
    assert!(with("[model]", "[lora]\nrank = 0\n[model]").starts_with("lora: rank is 0"));
    assert!(with("[model]", "[trainable]\nparts = []\n[model]").starts_with("trainable.parts"));
    assert!(with("[model]", "[optimizer]\nbetas = [0.9, 1.5]\n[model]").starts_with("optimizer.betas"));
    assert!(with("[model]", "[loss]\nce = -1.0\n[model]").starts_with("loss: ce"));
    assert!(with("[model]", "[model]\narchitecture = \"b\"").starts_with("model: give either"));
    let from_nothing = with("init_from", "sam = \"sam.pth\"\narchitecture");
    assert!(from_nothing.starts_with("model: vision_tower, sam and system"), "{from_nothing}");
    assert!(with("[model]", "[model]\nsystem = \"llava\"").contains("unknown variant `llava`"));
}

#[test]
fn data_that_is_not_there_is_named() {
    let text = smallest();
    let missing = text.replacen("folder = \"", "folder = \"/nowhere", 1);
    let found = TrainConfig::parse(&missing).unwrap().check_paths().unwrap_err().to_string();
    assert!(
        found.starts_with("data.datasets[0].folder: /nowhere") && found.contains("is not there"),
        "{found}"
    );
    let line = text.lines().find(|line| line.starts_with("folder")).unwrap();
    assert!(error(&text.replacen(line, "", 1)).contains("say where the dataset lies"));
    let header = text.find("[[data").unwrap()..text.find("[schedule]").unwrap();
    let mut empty = text;
    empty.replace_range(header, "[data]\ndatasets = []\n");
    assert!(error(&empty).starts_with("data.datasets: is empty"));
}

#[test]
fn only_what_alters_the_numbers_is_compared_on_resume() {
    let config = TrainConfig::parse(&smallest()).unwrap();
    let alike = {
        let mut other = config.clone();
        other.run.threads = 7;
        other.run.folder = "elsewhere".into();
        other.run.checkpoint_interval = 1;
        other.model.init_from = Some("moved".into());
        other.model.activation_checkpointing = true;
        other.data.workers = 9;
        other.data.datasets[0].folder = Some("moved".into());
        other
    };
    assert_eq!(config.mathematics().unwrap(), alike.mathematics().unwrap());
    let changes: [fn(&mut TrainConfig); 6] = [
        |config| config.run.steps = 1,
        |config| config.run.batch_size = 1,
        |config| config.run.seed = 1,
        |config| config.data.datasets[0].rate = 2.0,
        |config| config.optimizer.max_gradient_norm = f64::INFINITY,
        |config| config.loss.dice = 4.0,
    ];
    for change in changes {
        let mut other = config.clone();
        change(&mut other);
        assert_ne!(config.mathematics().unwrap(), other.mathematics().unwrap());
    }
}

#[test]
fn the_run_folder_says_what_the_run_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig::parse(&smallest()).unwrap();
    let settings = config.mathematics().unwrap();
    let identity = crate::RunIdentity { model: "m1".to_owned(), data: "d1".to_owned(), settings };
    crate::write_run_record(&folder.path().join("run"), &config, &identity).unwrap();
    assert_eq!(TrainConfig::read(&folder.path().join("run/config.toml")).unwrap(), config);
    let record: Value =
        serde_json::from_slice(&fs::read(folder.path().join("run/run.json")).unwrap()).unwrap();
    let version = format!("maskwise {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(record, json!({ "version": version, "model": "m1", "data": "d1" }));
    let missing = TrainConfig::read(&folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(missing.contains("cannot read") && missing.contains("none.toml"), "{missing}");
}

fn tabletop(more: &str) -> TrainConfig {
    let folder = std::env::temp_dir().display().to_string().replace('\\', "/");
    let data = "kind = \"tabletop\"\nsize = 64\nworld_seed = 3\n";
    let text = smallest().replace(&format!("kind = \"reason_seg\"\nfolder = \"{folder}\"\n"), data);
    TrainConfig::parse(&(text + more)).unwrap()
}

#[test]
fn the_mixture_draws_what_the_recipe_names() {
    let config = tabletop("");
    let item = config.data.mixture().unwrap().item(1, 5).unwrap();
    assert!(item.id.starts_with("tabletop train") && item.image.dimensions() == (64, 64), "{}", item.id);
    assert!((1..=3).contains(&item.conversations.len()));
    assert_eq!(config.data.mixture().unwrap().item(1, 5).unwrap(), item);

    let mut other = config.clone();
    other.data.datasets[0].kind = DatasetKind::SemSeg;
    other.data.datasets[0].subsets = vec!["imagenet".to_owned()];
    assert!(other.data.mixture().err().unwrap().to_string().contains("\"imagenet\" is no semantic dataset"));
    other.data.datasets[0].kind = DatasetKind::ReasonSeg;
    other.data.datasets[0].folder = Some("nowhere".into());
    assert!(other.data.mixture().err().unwrap().to_string().contains("nowhere"));
}

#[test]
fn validation_takes_the_first_items() {
    let questions = maskwise_data::text::QuestionTemplates::read;
    assert!(tabletop("").data.open_validation(questions()).unwrap().is_none());
    let section = "[data.validation]\nkind = \"tabletop\"\nsize = 64\n";
    let set = tabletop(&format!("{section}limit = 3\n")).data.open_validation(questions()).unwrap().unwrap();
    assert_eq!((set.name(), set.len()), ("tabletop", 3));
    assert!(set.item(2).unwrap().id.starts_with("tabletop validation 2"));
    let endless = tabletop(section).data.open_validation(questions());
    assert!(endless.err().unwrap().to_string().starts_with("data.validation.limit"));
    let wrong = tabletop(&format!("{section}limit = 3\nsplit = \"new\"\n")).data.open_validation(questions());
    assert!(wrong.err().unwrap().to_string().starts_with("data.validation.split"));
}

#[test]
fn the_recipes_that_come_along_parse() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut folders = vec![configs];
    let mut recipes = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "toml") && !path.ends_with("sizes.toml") {
                crate::session::Recipe::read(&path).unwrap();
                recipes += 1;
            }
        }
    }
    assert!(recipes >= 7, "{recipes} recipes");
}

#[test]
fn the_papers_figures_stand_in_the_recipes() {
    let read = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        TrainConfig::read(&folder.join(format!("{name}.toml"))).unwrap()
    };
    // Spec 5.3: rank, rate, rates of the datasets in the order of the paper, items of a step.
    for (name, rank, rate, rates, items) in [
        ("read-7b-from-sesame", 8, 3e-4, vec![10.0, 1.0, 1.0, 1.0, 1.0, 10.0], 80),
        ("read-7b-from-llava", 64, 1e-4, vec![10.0, 1.0, 1.0, 1.0, 1.0, 10.0], 80),
        ("read-13b-from-llava", 64, 3e-4, vec![10.0, 10.0, 2.0, 3.0, 1.0, 1.0], 80),
        ("read-13b-second-stage", 64, 1e-4, vec![3.0, 10.0, 2.0, 3.0, 1.0, 10.0], 80),
        ("sesame", 8, 3e-4, vec![12.0, 2.0, 2.0, 1.0], 96),
        ("lisa", 8, 3e-4, vec![9.0, 3.0, 3.0, 1.0], 160),
    ] {
        let config = read(name);
        let found: Vec<f64> = config.data.datasets.iter().map(|dataset| dataset.rate).collect();
        let lora = config.lora.as_ref().unwrap();
        assert_eq!((lora.rank, lora.alpha, lora.dropout), (rank, 16.0, 0.05), "{name}");
        assert_eq!((config.schedule.learning_rate, found), (rate, rates), "{name}");
        assert_eq!(config.run.batch_size * config.run.grad_accumulation_steps, items, "{name}");
        assert_eq!((config.schedule.warmup_steps, config.optimizer.betas), (100, [0.9, 0.95]), "{name}");
    }
}
