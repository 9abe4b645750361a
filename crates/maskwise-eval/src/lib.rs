//! Evaluation: what models answer, measured.
//!
//! [`evaluate`] asks a model all questions of a [`Benchmark`] and writes an evaluation's folder; [`Summary`] makes tables of its samples,
//! [`Comparison, Likeness`] tells whether one evaluation is better than another, [`merge`] puts shards together.

mod analysis;
mod benchmark;
mod compare;
mod conventions;
mod diagnosis;
mod error;
mod evaluate;
mod folder;
mod interval;
mod matching;
mod merge;
mod report;
mod run;
mod sample;
mod summary;
mod table;

pub use analysis::{
    AnalysisConfig, MaskRow, PointsCell, PointsGrid, ablation, compare_sheets, masks_chart, points,
    points_chart, positives_chart, seg_token, similarity_sheets,
};
pub use benchmark::{Benchmark, REFER};
pub use compare::{Change, Comparison, Likeness};
pub use conventions::{Conventions, EmptyTargets, IgnoredPixels, OverlappedPixels};
pub use diagnosis::near_random;
pub use error::EvalError;
pub use evaluate::{EvaluateConfig, evaluate, finish, finish_merged};
pub use folder::{DrawnWords, Evaluation, RunFolder, RunRecord};
pub use interval::Interval;
pub use matching::{Matching, Pair};
pub use merge::merge;
pub use report::write_report;
pub use run::{AnswerMode, AskConfig, Measured, OnError, Shard};
pub use sample::{Overlap, Sample, SampleOutcome};
pub use summary::{Confusion, PRECISION_AT, Row, Summary};
pub use table::Table;
