use super::QuantizeArguments;
use clap::{Args, ValueEnum};
use maskwise::bench::{BenchOptions, BenchStage, LanguageSize, SamChoice};
use maskwise::{DtypeChoice, NumericMode};

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// The size of the language model.
    #[arg(long, value_enum, default_value_t = SizeChoice::B7, value_name = "SIZE")]
    language: SizeChoice,
    /// Run this many of its layers and reckon the rest in proportion; all if absent.
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// The size of SAM's image encoder.
    #[arg(long, value_enum, default_value_t = SamArgument::VitH, value_name = "SIZE")]
    sam: SamArgument,
    /// Positions of the prompt, image tokens included.
    #[arg(long, default_value_t = 640, value_name = "N", value_parser = positive())]
    prompt: u64,
    /// Tokens of the answer.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = positive())]
    tokens: u64,
    /// The dtype of the language model where it is not quantized: f32 or bf16.
    #[arg(long, default_value_t = DtypeChoice::F32, value_name = "DTYPE")]
    dtype: DtypeChoice,
    #[command(flatten)]
    quantize: QuantizeArguments,
    /// exact rounds as the reference does; fast rounds otherwise where that is quicker.
    #[arg(long, default_value_t = NumericMode::Fast, value_name = "MODE")]
    mode: NumericMode,
    /// How often each stage is run after its first time; the median counts.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = positive())]
    repeats: u64,
    /// Measure this stage only (image, clip, prefill, decode, sam-encoder, sam-decoder); may be given several times.
    #[arg(long = "stage", value_name = "STAGE")]
    stages: Vec<BenchStage>,
    /// Threads; as many as there are processors if absent.
    #[arg(long, value_name = "N", value_parser = positive())]
    pub(crate) threads: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn positive() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..100_000)
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SizeChoice {
    #[value(name = "7b")]
    B7,
    #[value(name = "13b")]
    B13,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SamArgument {
    VitB,
    VitL,
    VitH,
}

impl BenchArguments {
    pub(crate) fn options(&self) -> BenchOptions {
        BenchOptions {
            language: match self.language {
                SizeChoice::B7 => LanguageSize::B7,
                SizeChoice::B13 => LanguageSize::B13,
            },
            layers: self.layers,
            sam: match self.sam {
                SamArgument::VitB => SamChoice::VitB,
                SamArgument::VitL => SamChoice::VitL,
                SamArgument::VitH => SamChoice::VitH,
            },
            prompt: self.prompt as usize,
            tokens: self.tokens as usize,
            dtype: self.dtype,
            quantization: self.quantize.parts(),
            mode: self.mode,
            repeats: self.repeats as usize,
            stages: self.stages.clone(),
        }
    }
}
