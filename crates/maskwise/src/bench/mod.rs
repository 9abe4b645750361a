//! How long each stage of an answer takes on this machine: networks of the published sizes with random weights, no download.

mod report;
mod stages;

pub use report::{BenchReport, MachineLimits, StageTime};

use crate::device::{DtypeChoice, NumericMode};
use crate::error::Result;
use maskwise_models::llama::LlamaConfig;
use maskwise_models::published::{SamSize, llama_7b, llama_13b};
use maskwise_models::systems::read::PartQuantization;
use std::fmt;
use std::str::FromStr;

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The language model.
    pub language: LanguageSize,
    /// How many of its layers are built and run; times are those of all layers, in proportion. All if absent.
    pub layers: Option<usize>,
    /// SAM's image encoder.
    pub sam: SamChoice,
    /// Positions of the prompt, image tokens included.
    pub prompt: usize,
    /// Tokens of the answer.
    pub tokens: usize,
    /// The dtype of the language model.
    pub dtype: DtypeChoice,
    /// How each part keeps the weights of its large linear layers.
    pub quantization: PartQuantization,
    /// How closely the reference's rounding is followed.
    pub mode: NumericMode,
    /// How often a stage is run after its first time; the median counts.
    pub repeats: usize,
    /// The stages; all if empty.
    pub stages: Vec<BenchStage>,
}

/// The sizes of published language models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanguageSize {
    /// LLaMA-7B.
    B7,
    /// LLaMA-13B.
    B13,
}

impl LanguageSize {
    fn config(self) -> LlamaConfig {
        match self {
            Self::B7 => llama_7b(),
            Self::B13 => llama_13b(),
        }
    }
}

/// The sizes of published SAMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamChoice {
    /// ViT-B.
    VitB,
    /// ViT-L.
    VitL,
    /// ViT-H, which READ uses.
    VitH,
}

impl SamChoice {
    fn size(self) -> SamSize {
        match self {
            Self::VitB => SamSize::VIT_B,
            Self::VitL => SamSize::VIT_L,
            Self::VitH => SamSize::VIT_H,
        }
    }
}

/// The stages of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BenchStage {
    /// A JPEG to pixels, and those to what CLIP and SAM take.
    Image,
    /// The vision tower and the projector.
    Clip,
    /// The language model reads the prompt.
    Prefill,
    /// It writes a token.
    Decode,
    /// SAM's image encoder.
    SamEncoder,
    /// Prompt encoder, mask decoder, and the mask at the size of the image.
    SamDecoder,
}

impl BenchStage {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Image, Self::Clip, Self::Prefill, Self::Decode, Self::SamEncoder, Self::SamDecoder];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Clip => "clip",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::SamEncoder => "sam-encoder",
            Self::SamDecoder => "sam-decoder",
        }
    }
}

impl fmt::Display for BenchStage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for BenchStage {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|stage| stage.name() == text);
        found.ok_or_else(|| format!("unknown stage `{text}`; known are {names}"))
    }
}

/// Runs the stages one after the other, each with weights of its own, and measures what this machine can do at most. `on_stage` hears what
/// begins. Runs on the threads of the current rayon pool.
///
/// # Errors
/// When options do not fit each other, or a network cannot be run.
pub fn bench(options: &BenchOptions, on_stage: &mut dyn FnMut(&str)) -> Result<BenchReport> {
    let config = options.language.config();
    let layers = options.layers.unwrap_or(config.num_hidden_layers).clamp(1, config.num_hidden_layers);
    let mut times = Vec::new();
    let stages: &[BenchStage] = if options.stages.is_empty() { &BenchStage::ALL } else { &options.stages };
    for stage in BenchStage::ALL.into_iter().filter(|stage| stages.contains(stage)) {
        on_stage(stage.name());
        times.push(stages::time(stage, options, layers)?);
    }
    // Before the limits are measured, whose memory is no part of an answer.
    let peak_memory = report::peak_memory();
    on_stage("the machine's limits");
    Ok(BenchReport {
        limits: MachineLimits::measure(),
        layers: (layers, config.num_hidden_layers),
        prompt: options.prompt,
        tokens: options.tokens,
        stages: times,
        peak_memory,
    })
}
