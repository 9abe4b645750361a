//! Whole evaluations: the same bytes however they are run.

#![allow(clippy::unwrap_used)] // The lints exempt test functions, not their helpers.

use maskwise::data::dataset::{IndexCache, ValidationDataset};
use maskwise::hub::Environment;
use maskwise::tabletop::QuestionWeights;
use maskwise::{ModelSource, Segmenter, SegmenterOptions};
use maskwise_eval::{
    AnswerMode, AskConfig, Benchmark, Comparison, Conventions, EvalError, EvaluateConfig, Evaluation,
    OnError, SampleOutcome, Shard, evaluate, finish, finish_merged, merge,
};
use std::fs;
use std::path::{Path, PathBuf};

fn segmenter() -> Segmenter {
    let environment = Environment::from_lookup(|_| None).with_cache(Path::new("/nonexistent/hub"));
    let options = SegmenterOptions { environment: Some(environment), ..Default::default() };
    Segmenter::load(&ModelSource::default(), options).unwrap()
}

fn tabletop(count: usize) -> Benchmark {
    Benchmark::Tabletop {
        world_seed: 1,
        split: "test".to_owned(),
        count,
        questions: QuestionWeights::default(),
    }
}

fn config(benchmark: Benchmark, output: Option<PathBuf>) -> EvaluateConfig {
    let ask =
        AskConfig { answers: AnswerMode::Generated, max_new_tokens: 64, jobs: 2, on_error: OnError::Stop };
    EvaluateConfig { benchmark, shard: Shard::default(), ask, drawn_words: None, output, resume: false }
}

fn opened(segmenter: &Segmenter, config: &EvaluateConfig) -> Box<dyn ValidationDataset> {
    config.benchmark.open(segmenter.question_templates(), &IndexCache::none()).unwrap()
}

fn asked(segmenter: &Segmenter, config: &EvaluateConfig) -> Result<Evaluation, EvalError> {
    evaluate(segmenter, opened(segmenter, config).as_ref(), config, &mut |_, _| ())
}

fn run(segmenter: &Segmenter, config: &EvaluateConfig) -> Evaluation {
    let evaluation = asked(segmenter, config).unwrap();
    if config.shard.of == 1 {
        let items = opened(segmenter, config);
        finish(&evaluation, items.as_ref(), Conventions::default(), config.output.as_deref(), true).unwrap();
    }
    evaluation
}

/// The content of every file below a folder but the timings, by its path.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else if !path.ends_with("timings.jsonl") {
            found.push((path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_run_leaves_the_same_bytes_whole_broken_off_sharded_and_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let segmenter = segmenter();
    let whole = run(&segmenter, &config(tabletop(9), Some(at("whole"))));
    assert_eq!(whole.samples.len(), 9);
    assert!(whole.samples.iter().any(|sample| sample.found() && sample.overlap.intersection > 0));
    let expected = content(&at("whole"));
    let names: Vec<&str> = expected.iter().filter_map(|(path, _)| path.to_str()).collect();
    for name in ["run.json", "samples.jsonl", "summary.json", "summary.md", "report.html"] {
        assert!(names.contains(&name), "{names:?}");
    }

    let mut alone = config(tabletop(9), Some(at("alone")));
    alone.ask.jobs = 1;
    run(&segmenter, &alone);
    assert!(content(&at("alone")) == expected, "one picture at a time");

    // Broken off in the middle of the fifth line.
    let broken = at("broken");
    fs::create_dir(&broken).unwrap();
    fs::copy(at("whole/run.json"), broken.join("run.json")).unwrap();
    let lines = fs::read_to_string(at("whole/samples.jsonl")).unwrap();
    let half: usize = lines.lines().take(4).map(|line| line.len() + 1).sum::<usize>() + 20;
    fs::write(broken.join("samples.jsonl"), &lines[..half]).unwrap();
    let mut seen = Vec::new();
    let resumed = EvaluateConfig { resume: true, ..config(tabletop(9), Some(broken.clone())) };
    let items = opened(&segmenter, &resumed);
    let evaluation =
        evaluate(&segmenter, items.as_ref(), &resumed, &mut |done, total| seen.push((done, total))).unwrap();
    assert_eq!((seen[0], seen.len()), ((4, 9), 6), "four were kept, five asked");
    finish(&evaluation, items.as_ref(), Conventions::default(), Some(&broken), true).unwrap();
    assert!(content(&broken) == expected, "resumed");

    let mut shards = Vec::new();
    for number in [2, 1] {
        let path = at(&format!("shard-{number}"));
        let shard = Shard { number, of: 2 };
        run(&segmenter, &EvaluateConfig { shard, ..config(tabletop(9), Some(path.clone())) });
        shards.push(path);
    }
    let merged = merge(&shards).unwrap();
    finish_merged(&merged, Conventions::default(), &at("merged"), true).unwrap();
    fs::remove_file(at("merged/timings.jsonl")).unwrap();
    assert!(content(&at("merged")) == expected, "merged");
    let refused = merge(&shards[..1]).unwrap_err().to_string();
    assert!(refused.contains("shard 2 of 2 where shard 1 of 2 is due"), "{refused}");
}

#[test]
fn a_folder_of_another_run_is_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    let segmenter = segmenter();
    let first = config(tabletop(2), Some(folder.path().join("out")));
    run(&segmenter, &first);
    let again = asked(&segmenter, &first).unwrap_err().to_string();
    assert!(again.contains("holds an evaluation already"), "{again}");
    let other = EvaluateConfig { resume: true, benchmark: tabletop(3), ..first };
    let refused = asked(&segmenter, &other).unwrap_err().to_string();
    assert!(refused.contains("`benchmark` is") || refused.contains("`items` is"), "{refused}");
}

#[test]
fn a_forced_answer_gives_nothing_away() {
    let segmenter = segmenter();
    let benchmark = Benchmark::Tabletop {
        world_seed: 1,
        split: "test".to_owned(),
        count: 3,
        questions: QuestionWeights::false_only(),
    };
    let mut forced = config(benchmark, None);
    forced.ask.answers = AnswerMode::TeacherForced;
    let evaluation = run(&segmenter, &forced);
    for sample in &evaluation.samples {
        assert!(
            !sample.exists && sample.answer.contains("[SEG]") && sample.outcome != SampleOutcome::Declined
        );
    }
}

#[test]
fn several_masks_of_an_answer_are_scored_together_where_several_are_meant() {
    use maskwise::data::dataset::{Target, convert};
    use maskwise::data::text::QuestionTemplates;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let world =
        maskwise::tabletop::World::new(1, maskwise::tabletop::Split::Test, Default::default()).unwrap();
    let items = maskwise::tabletop::FirstPictures::new(world, 1);
    convert(&items, Target::JsonLines, &data, "val", &mut |_| ()).unwrap();
    let file = data.join("val.jsonl");
    let mut line: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    line["answer"] = "It is [SEG] and [SEG].".into();
    let mask = line["masks"][0].clone();
    line["masks"] = vec![mask.clone(), mask].into();
    fs::write(&file, format!("{line}\n")).unwrap();
    let benchmark = Benchmark::JsonLines { data, split: "val".to_owned() };
    assert_eq!(
        benchmark.open(QuestionTemplates::read(), &IndexCache::none()).unwrap().item(0).unwrap().masks,
        2
    );
    let mut forced = config(benchmark, None);
    forced.ask.answers = AnswerMode::TeacherForced;
    let both = run(&segmenter(), &forced).samples.remove(0);
    let Some(mask) = both.mask else { panic!("{both:?}") };
    assert_eq!(mask.area(), both.overlap.union - both.overlap.target + both.overlap.intersection);
}

/// A folder in ReasonSeg's layout of three Tabletop pictures.
fn reason_seg(folder: &Path) -> Benchmark {
    use maskwise::tabletop::{Layout, SceneConfig, Split, World, write_layout};
    let world = World::new(1, Split::Test, SceneConfig::default()).unwrap();
    write_layout(&world, Layout::ReasonSeg, folder, 3, &mut |_| ()).unwrap();
    Benchmark::ReasonSeg { data: folder.to_owned(), split: "test".to_owned() }
}

#[test]
fn the_same_questions_in_another_layout_have_the_same_answers() {
    use maskwise::data::dataset::{Target, convert};
    use maskwise::data::text::QuestionTemplates;
    use maskwise::tabletop::{Layout, SceneConfig, Split, World, write_layout};
    let folder = tempfile::tempdir().unwrap();
    let (refer, ours) = (folder.path().join("refer"), folder.path().join("ours"));
    let world = World::new(1, Split::Test, SceneConfig::default()).unwrap();
    write_layout(&world, Layout::FpRefCoco, &refer, 3, &mut |_| ()).unwrap();
    let published = Benchmark::refer(refer, "fprefcoco", None, "test".to_owned());
    let items = published.open(QuestionTemplates::bare(), &IndexCache::none()).unwrap();
    convert(items.as_ref(), Target::JsonLines, &ours, "val", &mut |_| ()).unwrap();
    let segmenter = segmenter();
    let answers = |benchmark: Benchmark| {
        let mut evaluation = run(&segmenter, &config(benchmark, None));
        evaluation.samples.iter_mut().for_each(|sample| sample.id.clear());
        evaluation.samples
    };
    let (one, two) =
        (answers(published), answers(Benchmark::JsonLines { data: ours, split: "val".to_owned() }));
    assert!(one.len() > 10 && one.iter().any(|sample| sample.found()), "{one:?}");
    assert_eq!(one, two);
}

#[test]
fn an_item_that_fails_stops_the_run_or_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let benchmark = reason_seg(&data);
    let segmenter = segmenter();
    let forced = |on_error: OnError| {
        let mut config = config(benchmark.clone(), None);
        config.ask = AskConfig { answers: AnswerMode::TeacherForced, on_error, ..config.ask };
        config
    };
    let sound = run(&segmenter, &forced(OnError::Stop));
    // Read and not written: the answer of the template, with its mask.
    assert!(
        sound
            .samples
            .iter()
            .all(|sample| sample.answer.contains("[SEG]") && sample.outcome != SampleOutcome::Declined)
    );
    fs::write(data.join("test/000001.jpg"), b"not a picture").unwrap();
    let error = asked(&segmenter, &forced(OnError::Stop)).unwrap_err();
    assert!(matches!(error, EvalError::Dataset(_)) && error.to_string().contains("000001.jpg"), "{error}");
    let skipped = run(&segmenter, &forced(OnError::Skip));
    assert_eq!(skipped.samples[1].outcome, SampleOutcome::Failed);
    assert!(skipped.samples[1].error.as_ref().unwrap().contains("000001.jpg"));
    assert_eq!(skipped.samples[2], sound.samples[2]);
    let summary = finish(
        &skipped,
        opened(&segmenter, &forced(OnError::Skip)).as_ref(),
        Conventions::default(),
        None,
        true,
    )
    .unwrap();
    assert_eq!((summary.failed, summary.all().unwrap().count), (1, 2));
}

#[test]
fn evaluations_are_compared_question_by_question() {
    let segmenter = segmenter();
    let first = run(&segmenter, &config(tabletop(6), None));
    let same = Comparison::new(&first, &first, &Conventions::default()).unwrap();
    assert_eq!((same.count, same.giou.mean, same.changed.len()), (6, 0.0, 0));
    let mut second = first.clone();
    let changed = second.samples.iter().position(|sample| sample.overlap.intersection > 0).unwrap();
    second.samples[changed].overlap.intersection = 0;
    second.samples[changed].answer = "Something | else.".to_owned();
    let comparison = Comparison::new(&first, &second, &Conventions::default()).unwrap();
    assert!(comparison.giou.mean < 0.0 && comparison.ciou.mean < 0.0 && comparison.changed.len() == 1);
    assert_eq!(comparison.changed[0].index, changed);
    assert!(comparison.to_string().contains("Something \\| else."), "{comparison}");
    second.record.answers = AnswerMode::TeacherForced;
    let refused = |second: &Evaluation| {
        Comparison::new(&first, second, &Conventions::default()).unwrap_err().to_string()
    };
    assert!(refused(&second).contains("teacher-forced"));
    second.samples.pop();
    assert!(refused(&second).contains("it has 5 of 6 items"));
}
