//! The stages, each built, run and taken down.

use super::{BenchOptions, BenchStage, StageTime};
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use maskwise_data::image::clip::ClipPreprocessor;
use maskwise_data::image::sam::SamPreprocessor;
use maskwise_data::image::{DecodeOptions, RgbImage, decode_bytes};
use maskwise_models::clip::ClipVisionModel;
use maskwise_models::llama::{KeyValueCache, LlamaModel};
use maskwise_models::published::{RandomWeights, Shapes, clip_shapes, clip_vit_l, read_shapes};
use maskwise_models::sam::{DECODER_HEADS, PointPrompt, Prompts, Sam, postprocess_masks};
use maskwise_models::systems::read::{PartTypes, Projector};
use maskwise_nn::ops::with_precision;
use maskwise_nn::weights::{Quantization, Weights};
use std::time::Instant;

/// Width and height of the picture.
const PICTURE: (usize, usize) = (1024, 683);
/// Side of SAM's input and of its grid.
const SAM_INPUT: usize = 1024;
const SAM_GRID: usize = 64;
/// Points that prompt SAM, about as many as READ-7B gives.
const POINTS: usize = 30;

pub(super) fn time(stage: BenchStage, options: &BenchOptions, layers: usize) -> Result<StageTime> {
    let types = PartTypes::exact(options.dtype.dtype(), &Device::Cpu);
    match stage {
        BenchStage::Image => image(options),
        BenchStage::Clip => clip(options, types),
        BenchStage::Prefill => prefill(options, types, layers),
        BenchStage::Decode => decode(options, types, layers),
        BenchStage::SamEncoder => sam_encoder(options, types),
        BenchStage::SamDecoder => sam_decoder(options, types),
    }
}

/// Times `work` as exactly as the options ask: once, and then as often as they say.
fn repeat(options: &BenchOptions, mut work: impl FnMut() -> Result<()>) -> Result<(f64, f64)> {
    let mut timed = || {
        let start = Instant::now();
        with_precision(options.mode.precision(), &mut work)?;
        Ok::<_, Error>(start.elapsed().as_secs_f64())
    };
    let first = timed()?;
    let mut later = (0..options.repeats.max(1)).map(|_| timed()).collect::<Result<Vec<_>>>()?;
    later.sort_by(f64::total_cmp);
    Ok((first, later[later.len() / 2]))
}

fn weights(shapes: &Shapes, dtype: DType, quantization: Quantization) -> Weights {
    let source = Box::new(RandomWeights::new(shapes));
    Weights::new(source, dtype, &Device::Cpu).with_quantization(quantization)
}

fn noise(shape: &[usize], dtype: DType) -> Result<Tensor> {
    let count = shape.iter().product::<usize>();
    let value = |index: usize| ((index * 7919 + 13) % 2003) as f32 / 1001.0 - 1.0;
    Ok(Tensor::from_vec((0..count).map(value).collect(), shape, &Device::Cpu)?.to_dtype(dtype)?)
}

fn image(options: &BenchOptions) -> Result<StageTime> {
    let (width, height) = PICTURE;
    let mut picture = image::RgbImage::new(width as u32, height as u32);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        pixel.0 = [(x / 4) as u8, (y / 3) as u8, ((x * y) >> 9) as u8];
    }
    let mut file = Vec::new();
    let encoded = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 90).encode_image(&picture);
    encoded.map_err(|error| Error::Device(format!("the picture cannot be encoded: {error}")))?;
    let (clip, sam) = (ClipPreprocessor::square(336), SamPreprocessor::new(SAM_INPUT));
    let (first, later) = repeat(options, || {
        let picture: RgbImage = decode_bytes(&file, &DecodeOptions::default())?;
        clip.preprocess(&picture)?;
        sam.preprocess(&picture)?;
        Ok(())
    })?;
    let what = format!("JPEG {width}x{height} to pixels of CLIP and SAM");
    Ok(StageTime { stage: BenchStage::Image.name(), what, first, later, operations: 0.0, bytes: 0.0 })
}

fn clip(options: &BenchOptions, types: PartTypes) -> Result<StageTime> {
    let config = clip_vit_l();
    let depth = config.num_hidden_layers - 1;
    let language = options.language.config();
    let shapes = clip_shapes(&config);
    let kept = options.mode.kept(options.quantization.vision);
    let tower = ClipVisionModel::load(&config, depth, &weights(&shapes, types.vision, kept))?;
    let shapes = read_shapes(&language, options.sam.size());
    let projector = weights(&shapes, types.language, Quantization::None).pp("model.mm_projector");
    let projector = Projector::load(config.hidden_size, language.hidden_size, &projector)?;
    let pixels = noise(&[1, 3, config.image_size, config.image_size], types.vision)?;
    let (first, later) = repeat(options, || {
        let features = tower.patch_features(&pixels)?.to_dtype(types.language)?;
        projector.forward(&features)?;
        Ok(())
    })?;
    let (width, wide) = (config.hidden_size as f64, language.hidden_size as f64);
    let patches = config.grid().pow(2) as f64;
    let tokens = patches + 1.0;
    let patch = (3 * config.patch_size.pow(2)) as f64;
    let layer = 2.0 * tokens * 12.0 * width * width + 4.0 * tokens * tokens * width;
    let operations =
        depth as f64 * layer + 2.0 * patches * patch * width + 2.0 * patches * (width * wide + wide * wide);
    let what = "ViT-L/14 at 336 px and the projector".to_owned();
    Ok(StageTime { stage: BenchStage::Clip.name(), what, first, later, operations, bytes: 0.0 })
}

/// The language model with some of its layers, and the dtype that it computes in.
fn language(options: &BenchOptions, types: PartTypes, layers: usize) -> Result<(LlamaModel, DType)> {
    let mut config = options.language.config();
    config.num_hidden_layers = layers;
    let shapes = read_shapes(&config, options.sam.size());
    let quantized = options.quantization.language;
    // A quantized one computes in f32.
    let dtype = if quantized.bits().is_none() { types.language } else { DType::F32 };
    let kept = options.mode.kept(quantized);
    let mut model = LlamaModel::load(&config, &weights(&shapes, dtype, kept))?;
    model.keep_head_as(options.mode.kept(Quantization::None))?;
    Ok((model, dtype))
}

fn prefill(options: &BenchOptions, types: PartTypes, layers: usize) -> Result<StageTime> {
    let (model, dtype) = language(options, types, layers)?;
    let config = options.language.config();
    let prompt = noise(&[1, options.prompt, config.hidden_size], dtype)?;
    let (first, later) = repeat(options, || {
        model.forward(&prompt, Some(&mut KeyValueCache::new(layers)), None)?;
        Ok(())
    })?;
    let share = config.num_hidden_layers as f64 / layers as f64;
    let (tokens, width, inner) =
        (options.prompt as f64, config.hidden_size as f64, config.intermediate_size as f64);
    // Each token sees half of the prompt.
    let layer = 2.0 * tokens * (4.0 * width * width + 3.0 * width * inner) + 2.0 * tokens * tokens * width;
    Ok(StageTime {
        stage: BenchStage::Prefill.name(),
        what: format!("{} positions of the prompt", options.prompt),
        first: first * share,
        later: later * share,
        operations: layer * config.num_hidden_layers as f64,
        bytes: 0.0,
    })
}

fn decode(options: &BenchOptions, types: PartTypes, layers: usize) -> Result<StageTime> {
    let (model, dtype) = language(options, types, layers)?;
    let config = options.language.config();
    let token = model.embed(&Tensor::zeros((1, 1), DType::U32, &Device::Cpu)?)?;
    let prompt = noise(&[1, options.prompt, config.hidden_size], dtype)?;
    let mut cache = KeyValueCache::new(layers);
    model.forward(&prompt, Some(&mut cache), None)?;
    let mut hidden = token.clone();
    let (first, in_layers) = repeat(options, || {
        cache.truncate(options.prompt);
        for _ in 0..options.tokens.max(1) {
            hidden = model.forward(&token, Some(&mut cache), None)?;
        }
        Ok(())
    })?;
    let (_, head) = repeat(options, || {
        for _ in 0..options.tokens.max(1) {
            model.logits(&hidden)?;
        }
        Ok(())
    })?;
    let share = config.num_hidden_layers as f64 / layers as f64;
    let tokens = options.tokens.max(1) as f64;
    let per_token = |in_layers: f64| (in_layers * share + head) / tokens;
    let (width, inner, depth) =
        (config.hidden_size as f64, config.intermediate_size as f64, config.num_hidden_layers as f64);
    let size = dtype.size_in_bytes() as f64;
    let bytes = |quantization: Quantization| match options.mode.kept(quantization) {
        Quantization::None => size,
        Quantization::Bf16 => 2.0,
        Quantization::Int8 => 1.0,
        // Four bits, and sixteen for each 32 of them.
        Quantization::Int4 => 4.5 / 8.0,
    };
    let cached = 2.0 * (options.prompt as f64 + tokens / 2.0) * width * size;
    let head_bytes = width * config.vocab_size as f64 * bytes(Quantization::None);
    let values = 4.0 * width * width + 3.0 * width * inner;
    Ok(StageTime {
        stage: BenchStage::Decode.name(),
        what: format!("a token behind {} positions", options.prompt),
        first: per_token(first),
        later: per_token(in_layers),
        operations: 2.0 * (values * depth + width * config.vocab_size as f64),
        bytes: depth * (values * bytes(options.quantization.language) + cached) + head_bytes,
    })
}

fn sam_encoder(options: &BenchOptions, types: PartTypes) -> Result<StageTime> {
    let size = options.sam.size();
    let sam = sam(options, types)?;
    let pixels = noise(&[1, 3, SAM_INPUT, SAM_INPUT], types.sam)?;
    let (first, later) = repeat(options, || {
        sam.image_encoder.forward(&pixels)?;
        Ok(())
    })?;
    let width = size.width as f64;
    let cells = (SAM_GRID * SAM_GRID) as f64;
    // Windows of 14 cells fill the grid up to 70.
    let (windows, window) = (25.0, 196.0);
    let block = |is_global: bool| {
        let (attended, scores) =
            if is_global { (cells, cells * cells) } else { (windows * window, windows * window * window) };
        2.0 * attended * 4.0 * width * width + 2.0 * cells * 8.0 * width * width + 4.0 * scores * width
    };
    let blocks: f64 = (0..size.depth).map(|index| block(size.is_global(index))).sum();
    let neck = 2.0 * cells * (width * 256.0 + 9.0 * 256.0 * 256.0);
    let patches = 2.0 * cells * 3.0 * 256.0 * width;
    Ok(StageTime {
        stage: BenchStage::SamEncoder.name(),
        what: format!("ViT of {} blocks, {} wide, at {SAM_INPUT} px", size.depth, size.width),
        first,
        later,
        operations: blocks + neck + patches,
        bytes: 0.0,
    })
}

fn sam_decoder(options: &BenchOptions, types: PartTypes) -> Result<StageTime> {
    let sam = sam(options, types)?;
    let embedding = noise(&[1, 256, SAM_GRID, SAM_GRID], types.sam)?;
    let (width, height) = PICTURE;
    let coordinates = (noise(&[1, POINTS, 2], DType::F32)?.affine(300.0, 350.0))?;
    let labels = vec![(0..POINTS).map(|index| (index % 2) as i32).collect()];
    let text = noise(&[1, 1, 256], types.language)?;
    let (first, later) = repeat(options, || {
        let points = PointPrompt { coordinates: coordinates.clone(), labels: labels.clone() };
        let prompts = Prompts { points: Some(points), text: Some(text.clone()), ..Prompts::default() };
        let prompts = sam.prompt_encoder.forward(&prompts)?;
        let prediction = sam.decode(&embedding, &prompts, false)?;
        postprocess_masks(&prediction.logits, SAM_INPUT, (height, width), (height, width))?;
        Ok(())
    })?;
    let what = format!("a mask from {POINTS} points and a text prompt, at {width}x{height}");
    Ok(StageTime { stage: BenchStage::SamDecoder.name(), what, first, later, operations: 0.0, bytes: 0.0 })
}

fn sam(options: &BenchOptions, types: PartTypes) -> Result<Sam> {
    let mut language = options.language.config();
    language.num_hidden_layers = 0;
    let shapes = read_shapes(&language, options.sam.size());
    let kept = options.mode.kept(options.quantization.sam);
    let weights = weights(&shapes, types.sam, kept).pp("model.visual_model");
    Ok(Sam::load(DECODER_HEADS, types.language, &weights)?)
}
