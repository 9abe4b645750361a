use clap::{Args, ValueEnum};
use maskwise::{
    DeviceChoice, DtypeChoice, ModelPlaces, ModelSource, NumericMode, PartQuantization, PointsChoice,
    Quantization, Segmenter, SegmenterOptions,
};
use std::path::PathBuf;

/// Which model, where and how.
#[derive(Debug, Args)]
pub(crate) struct ModelArguments {
    /// A model folder, ORG/NAME[@REVISION] from the hub cache, or `embedded`: the model in the program.
    #[arg(long, short, env = "MASKWISE_MODEL", default_value_t, value_name = "MODEL")]
    pub(crate) model: ModelSource,
    /// The folder of the CLIP tower that config.json names.
    #[arg(long, value_name = "DIR")]
    vision_tower: Option<PathBuf>,
    /// A SAM .pth for a checkpoint without one.
    #[arg(long, value_name = "FILE")]
    sam: Option<PathBuf>,
    /// Where to run: cpu, cuda, cuda:N or metal.
    #[arg(long, env = "MASKWISE_DEVICE", default_value_t, value_name = "DEVICE")]
    device: DeviceChoice,
    /// f32 or bf16; by the model's size if absent.
    #[arg(long, env = "MASKWISE_DTYPE", value_name = "DTYPE")]
    dtype: Option<DtypeChoice>,
    /// The dtype of the vision tower alone.
    #[arg(long, value_name = "DTYPE")]
    vision_dtype: Option<DtypeChoice>,
    /// The dtype of SAM alone.
    #[arg(long, value_name = "DTYPE")]
    sam_dtype: Option<DtypeChoice>,
    #[command(flatten)]
    quantize: QuantizeArguments,
    /// exact rounds as the reference does; fast lets CLIP, SAM's image encoder and the language model multiply in bf16 where processors are
    /// quicker with that (AMX).
    #[arg(long, default_value_t = NumericMode::Fast, value_name = "MODE")]
    mode: NumericMode,
    /// How many similarity points prompt SAM.
    #[arg(long, value_name = "N", conflicts_with = "no_points")]
    points: Option<usize>,
    /// Similarity from which a point is positive, 0 to 1.
    #[arg(long, value_name = "T", conflicts_with = "no_points")]
    t_pos: Option<f32>,
    /// Similarity up to which a point is negative, 0 to 1.
    #[arg(long, value_name = "T", conflicts_with = "no_points")]
    t_neg: Option<f32>,
    /// Factor by which the grid of image tokens is reduced before points are chosen.
    #[arg(long, value_name = "N", conflicts_with = "no_points")]
    down_sample: Option<usize>,
    /// No points: prompt SAM with the text embedding alone, as LISA and SESAME do.
    #[arg(long)]
    no_points: bool,
    /// Load weights that look untrained all the same.
    #[arg(long)]
    allow_untrained: bool,
}

/// Which parts keep the weights of their large linear layers in fewer bits.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct QuantizeArguments {
    /// Keep the weights of the language model's attention and MLP in eight bits, half of bf16's memory, or in four and a half; on cpu only.
    #[arg(long, value_name = "TYPE")]
    quantize: Option<QuantizeChoice>,
    /// The same for the vision tower.
    #[arg(long, value_name = "TYPE")]
    quantize_vision: Option<QuantizeChoice>,
    /// The same for SAM's image encoder.
    #[arg(long, value_name = "TYPE")]
    quantize_sam: Option<QuantizeChoice>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum QuantizeChoice {
    /// Eight bits, with a scale for each output.
    Int8,
    /// Four bits, with a step and an offset for each 32 inputs.
    Int4,
}

impl QuantizeArguments {
    pub(crate) fn parts(self) -> PartQuantization {
        let of = |choice: Option<QuantizeChoice>| match choice {
            None => Quantization::None,
            Some(QuantizeChoice::Int8) => Quantization::Int8,
            Some(QuantizeChoice::Int4) => Quantization::Int4,
        };
        PartQuantization {
            language: of(self.quantize),
            vision: of(self.quantize_vision),
            sam: of(self.quantize_sam),
        }
    }
}

impl ModelArguments {
    /// Loads the model, calling `on_progress` with (bytes read, bytes in all).
    pub(crate) fn load(
        &self,
        on_progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> anyhow::Result<Segmenter> {
        let options = SegmenterOptions {
            device: self.device,
            dtype: self.dtype,
            vision_dtype: self.vision_dtype,
            sam_dtype: self.sam_dtype,
            quantization: self.quantize.parts(),
            mode: self.mode,
            places: ModelPlaces {
                vision_tower: self.vision_tower.clone(),
                sam: self.sam.clone(),
                ..ModelPlaces::default()
            },
            points: PointsChoice {
                none: self.no_points,
                num_points: self.points,
                t_pos: self.t_pos,
                t_neg: self.t_neg,
                down_sample: self.down_sample,
            },
            allow_untrained: self.allow_untrained,
            on_progress: Some(Box::new(on_progress)),
            environment: None,
        };
        Ok(Segmenter::load(&self.model, options)?)
    }
}
