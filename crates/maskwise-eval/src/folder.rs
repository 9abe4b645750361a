//! The folder of an evaluation: what was asked, what came of it, tables.
//!
//! `run.json` says what was asked and how, `samples.jsonl` has a line for each question in the benchmark's order, `timings.jsonl` the
//! seconds of each stage, `summary.json` and `summary.md` the tables, `report.html` with `pictures/` the worst and best cases.
//! All but the timings are the same bytes whatever the number of threads, and whether the run was broken off or cut into shards.

use crate::{AnswerMode, Benchmark, EvalError, Measured, Sample, Shard, Summary};
use maskwise::atomic::{write_atomic, write_json};
use maskwise::data::text::QuestionTemplates;
use maskwise::{MaskPrompting, ModelIdentity, Timings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What was asked of what, and how: `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The version of maskwise.
    pub maskwise: String,
    /// The benchmark.
    pub benchmark: Benchmark,
    /// A fingerprint of its files; none where it has none.
    pub data: Option<String>,
    /// How many items it has.
    pub items: usize,
    /// Which part of it this run asks.
    pub shard: Shard,
    /// The model.
    pub model: ModelIdentity,
    /// A fingerprint of its files.
    pub weights: String,
    /// What prompts SAM.
    pub prompting: MaskPrompting,
    /// The words that the benchmark's texts are put into.
    pub templates: QuestionTemplates,
    /// Where other words than those were drawn: from what.
    #[serde(default)]
    pub drawn_words: Option<DrawnWords>,
    /// Who wrote the answers.
    pub answers: AnswerMode,
    /// At most this many tokens were written.
    pub max_new_tokens: usize,
}

/// Words that are drawn from pools, see [`DrawnTemplates`](maskwise::data::dataset::DrawnTemplates).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawnWords {
    /// A fingerprint of the file of pools.
    pub pools: String,
    /// The seed.
    pub seed: u64,
}

/// An evaluation's folder, open for its samples.
pub struct RunFolder {
    path: PathBuf,
    record: RunRecord,
    samples: BufWriter<File>,
    timings: BufWriter<File>,
}

#[derive(Serialize)]
struct TimingLine<'a> {
    index: usize,
    #[serde(flatten)]
    timings: &'a Timings,
}

const RECORD: &str = "run.json";
const SAMPLES: &str = "samples.jsonl";
const TIMINGS: &str = "timings.jsonl";
const SUMMARY: &str = "summary.json";
const TABLE: &str = "summary.md";

impl RunFolder {
    /// Makes a new folder.
    ///
    /// # Errors
    /// When there is one already, or the system refuses.
    pub fn create(path: &Path, record: RunRecord) -> Result<Self, EvalError> {
        if [RECORD, SAMPLES, TIMINGS].iter().any(|name| path.join(name).exists()) {
            let reason = "holds an evaluation already; resume it, or choose another folder";
            return Err(EvalError::folder(path, reason));
        }
        fs::create_dir_all(path).map_err(|error| EvalError::io(path, error))?;
        write_json(&path.join(RECORD), &record)?;
        Self::append(path, record)
    }

    /// Opens the folder of a run that was broken off, and says how many samples it has. Half a line at its end is dropped.
    ///
    /// # Errors
    /// When the folder is not there or belongs to another run, naming what differs.
    pub fn resume(path: &Path, record: RunRecord) -> Result<(Self, usize), EvalError> {
        let found: RunRecord = read_json(&path.join(RECORD))?;
        if let Some(difference) = difference(&found, &record) {
            let reason = format!("cannot be resumed: {difference}");
            return Err(EvalError::folder(path, reason));
        }
        let done = keep_whole_lines(&path.join(SAMPLES))?;
        keep_whole_lines(&path.join(TIMINGS))?;
        Ok((Self::append(path, record)?, done))
    }

    fn append(path: &Path, record: RunRecord) -> Result<Self, EvalError> {
        let open = |name: &str| {
            let path = path.join(name);
            let file = OpenOptions::new().create(true).append(true).open(&path);
            file.map(BufWriter::new).map_err(|error| EvalError::io(&path, error))
        };
        Ok(Self { samples: open(SAMPLES)?, timings: open(TIMINGS)?, path: path.to_owned(), record })
    }

    /// Writes a sample down; the system has it when this returns.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn add(&mut self, measured: &Measured) -> Result<(), EvalError> {
        let failed = |name: &str, error| EvalError::io(&self.path.join(name), error);
        write_line(&mut self.samples, &measured.sample).map_err(|error| failed(SAMPLES, error))?;
        let line = TimingLine { index: measured.sample.index, timings: &measured.timings };
        write_line(&mut self.timings, &line).map_err(|error| failed(TIMINGS, error))
    }

    /// The record.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }
}

/// An evaluation that has ended, read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// What was asked.
    pub record: RunRecord,
    /// What came of it, in order.
    pub samples: Vec<Sample>,
}

impl Evaluation {
    /// Reads a folder.
    ///
    /// # Errors
    /// When files are missing or damaged.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let record = read_json(&path.join(RECORD))?;
        let file = path.join(SAMPLES);
        let lines = BufReader::new(File::open(&file).map_err(|error| EvalError::io(&file, error))?).lines();
        let mut samples = Vec::new();
        for (number, line) in lines.enumerate() {
            let line = line.map_err(|error| EvalError::io(&file, error))?;
            let sample = serde_json::from_str(&line)
                .map_err(|error| EvalError::folder(&file, format!("line {}: {error}", number + 1)))?;
            samples.push(sample);
        }
        Ok(Self { record, samples })
    }

    /// Writes record and samples into a folder, as a single run would have.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub(crate) fn write(&self, path: &Path) -> Result<(), EvalError> {
        let mut folder = RunFolder::create(path, self.record.clone())?;
        let file = path.join(SAMPLES);
        for sample in &self.samples {
            write_line(&mut folder.samples, sample).map_err(|error| EvalError::io(&file, error))?;
        }
        Ok(())
    }

    /// Checks that every item of the benchmark has its sample, in order.
    ///
    /// # Errors
    /// With the first that is missing.
    pub fn check_complete(&self) -> Result<(), EvalError> {
        let misplaced = self.samples.iter().enumerate().find(|(place, sample)| sample.index != *place);
        let reason = match misplaced {
            Some((place, sample)) => format!("item {} stands where {place} is due", sample.index),
            None if self.samples.len() != self.record.items => {
                format!("it has {} of {} items", self.samples.len(), self.record.items)
            }
            None => return Ok(()),
        };
        Err(EvalError::Benchmark(format!("the evaluation is unfinished: {reason}; resume it")))
    }

    /// Writes the tables.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write_tables(&self, path: &Path, summary: &Summary) -> Result<(), EvalError> {
        write_json(&path.join(SUMMARY), summary)?;
        let text = format!("{}\n\n{summary}", self.record.title());
        Ok(write_atomic(&path.join(TABLE), |writer| writer.write_all(text.as_bytes()))?)
    }
}

impl RunRecord {
    /// One line above a table: the model, the benchmark, and who wrote the answers.
    pub fn title(&self) -> String {
        let answers = match self.answers {
            AnswerMode::Generated => "answers generated",
            AnswerMode::TeacherForced => "answers teacher-forced",
        };
        format!("{}, {}, {answers}", self.model.name, self.benchmark.name())
    }
}

/// What of two runs differs, in words. Where the files of model and benchmark lie does not count: fingerprints tell them apart.
pub(crate) fn difference(found: &RunRecord, wanted: &RunRecord) -> Option<String> {
    let values = |record: &RunRecord| {
        let mut record = record.clone();
        record.benchmark.forget_place();
        record.model.name.clear();
        serde_json::to_value(record).unwrap_or_default()
    };
    let (found, wanted) = (values(found), values(wanted));
    let fields = wanted.as_object()?;
    let (name, value) = fields.iter().find(|(name, value)| found.get(name.as_str()) != Some(value))?;
    Some(format!(
        "`{name}` is {value} here, but {} there",
        found.get(name).unwrap_or(&serde_json::Value::Null)
    ))
}

/// Cuts off what follows the last line end of a file, and counts its lines; a missing file has none.
fn keep_whole_lines(path: &Path) -> Result<usize, EvalError> {
    let failed = |error: io::Error| EvalError::io(path, error);
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed(error)),
    };
    let mut reader = BufReader::new(&file);
    let (mut whole, mut lines, mut line) = (0, 0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 || !line.ends_with(b"\n") {
            break;
        }
        whole += read as u64;
        lines += 1;
    }
    file.set_len(whole).map_err(failed)?;
    Ok(lines)
}

fn write_line(writer: &mut BufWriter<File>, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, value)?;
    writer.write_all(b"\n")?;
    writer.flush()
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, EvalError> {
    let text = fs::read(path).map_err(|error| EvalError::io(path, error))?;
    serde_json::from_slice(&text).map_err(|error| EvalError::folder(path, error.to_string()))
}
