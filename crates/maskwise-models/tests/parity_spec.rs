//! The vectors of the specification (`read_golden.json`): similarity points, similarity, positional encodings, sizes. Its losses,
//! rasters, metrics and learning rates belong to training and evaluation, which are not built yet; its image is tested with the
//! preprocessors.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // The lints exempt test functions, not their helpers.

mod common;

use candle_core::{DType, Device, Tensor};
use common::goldens::flat;
use common::losses::{binary_cross_entropy, dice};
use common::{POINTS, goldens_folder};
use maskwise_data::image::clip::ClipPreprocessor;
use maskwise_data::image::sam::resize_longest_side_size;
use maskwise_models::heads::similarity_points::{
    SimilarityPointsConfig, Thresholds, similarity, similarity_points,
};
use maskwise_models::sam::PromptEncoder;
use maskwise_nn::weights::{InMemory, Weights};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

fn golden() -> Option<Value> {
    let goldens = goldens_folder()?;
    let folder = std::env::var_os("MASKWISE_SPEC_GOLDENS").map(Into::into);
    let path = folder.unwrap_or_else(|| goldens.join("../specs/golden")).join("read_golden.json");
    if !path.is_file() {
        println!("skipped: there is no {}; MASKWISE_SPEC_GOLDENS names its folder", path.display());
        return None;
    }
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

fn dtype_of(name: &str) -> DType {
    match name {
        "float32" => DType::F32,
        "bfloat16" => DType::BF16,
        other => panic!("what is `{other}`?"),
    }
}

#[derive(Deserialize)]
struct PointsCase {
    kind: String,
    dtype: String,
    h: usize,
    w: usize,
    down_sample: usize,
    num_points: Option<usize>,
    t_pos: Option<f32>,
    t_neg: Option<f32>,
    points: Vec<[f32; 2]>,
    labels: Vec<i32>,
}

/// The synthetic maps of spec section 10, 24×24.
fn map(kind: &str) -> Vec<f64> {
    let value = |cell: usize| {
        let (r, c) = ((cell / 24) as f64, (cell % 24) as f64);
        let bump =
            |row: f64, column: f64, width: f64| (-((r - row).powi(2) + (c - column).powi(2)) / width).exp();
        match kind {
            "blob" => {
                40.0 * bump(7.3, 15.6, 18.0)
                    + 6.0 * (0.9 * r + 0.4).sin() * (0.55 * c - 0.2).cos()
                    + 0.01 * cell as f64
            }
            "two" => {
                30.0 * bump(4.0, 5.0, 8.0) + 28.0 * bump(18.5, 17.2, 12.0) - 5.0 * (0.31 * r * c / 3.0).cos()
            }
            other => panic!("what is the map `{other}`?"),
        }
    };
    (0..24 * 24).map(value).collect()
}

#[test]
fn similarity_points_of_the_specification() {
    let Some(golden) = golden() else { return };
    for (list, base) in
        [("sasp", SimilarityPointsConfig::read_7b()), ("sasp_13b", SimilarityPointsConfig::read_13b())]
    {
        let cases: Vec<PointsCase> = serde_json::from_value(golden[list].clone()).unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let Thresholds::Fixed { t_pos, t_neg } = base.thresholds else { panic!("fixed thresholds") };
            let config = SimilarityPointsConfig {
                num_points: case.num_points.or(base.num_points),
                thresholds: Thresholds::Fixed {
                    t_pos: case.t_pos.unwrap_or(t_pos),
                    t_neg: case.t_neg.unwrap_or(t_neg),
                },
                down_sample: case.down_sample,
                ..base.clone()
            };
            compare_points(&case, &config);
        }
    }
}

/// Each recorded point is one of ours with its label; equal values may stand in another order.
fn compare_points(case: &PointsCase, config: &SimilarityPointsConfig) {
    let name = format!("{} {} {}x{}", case.kind, case.dtype, case.h, case.w);
    let map = Tensor::from_vec(map(&case.kind), 24 * 24, &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    let map = map.to_dtype(dtype_of(&case.dtype)).unwrap();
    let found = similarity_points(&map, (case.h, case.w), config).unwrap();
    let coordinates = found.coordinates.to_vec2::<f32>().unwrap();
    let mut left: Vec<usize> = (0..coordinates.len()).collect();
    assert_eq!(coordinates.len(), case.points.len(), "{name}: number of points");
    for (point, label) in case.points.iter().zip(&case.labels) {
        let near = |index: &usize| {
            (0..2).all(|axis| f64::from((coordinates[*index][axis] - point[axis]).abs()) <= POINTS)
                && found.cells[*index].label == *label
        };
        let place = left
            .iter()
            .position(near)
            .unwrap_or_else(|| panic!("{name}: no point at {point:?} with label {label}"));
        left.remove(place);
    }
}

#[test]
fn similarity_of_the_specification() {
    let Some(golden) = golden() else { return };
    let numbers =
        |name: &str| -> Vec<f32> { serde_json::from_value(golden["similarity"][name].clone()).unwrap() };
    let rows = numbers("bf16_out").len();
    let half = |values: Vec<f64>, shape: &[usize]| {
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap()
    };
    let image = half((0..rows * 64).map(|index| 3.0 * (0.13 * index as f64).sin()).collect(), &[rows, 64]);
    let seg = half((0..64).map(|index| 5.0 * (0.29 * f64::from(index)).cos()).collect(), &[64]);
    assert_eq!(flat(&similarity(&image, &seg).unwrap()), numbers("bf16_out"));
    let wide = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap();
    for (found, expected) in
        flat(&similarity(&wide(&image), &wide(&seg)).unwrap()).iter().zip(numbers("f32_out"))
    {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
}

#[test]
fn positional_encodings_of_the_specification() {
    let Some(golden) = golden() else { return };
    for name in ["float32", "bfloat16"] {
        compare_encodings(&golden["pe"], name);
    }
}

/// Exact in bf16; in f32 to the digits of the sine.
fn compare_encodings(golden: &Value, name: &str) {
    let dtype = dtype_of(name);
    let (expected, limit) = (&golden[name], if dtype == DType::BF16 { 0.0 } else { 2e-5 });
    let encoder = prompt_encoder(dtype);
    let points: Vec<Vec<Vec<f64>>> = serde_json::from_value(golden["pts"].clone()).unwrap();
    let unit: Vec<f32> = points[0].iter().flatten().map(|value| *value as f32 / 1024.0).collect();
    let unit = Tensor::from_vec(unit, (points[0].len(), 2), &Device::Cpu).unwrap();
    let encoded =
        encoder.encode_positions(&unit).unwrap().to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
    let compare = |what: &str, found: &[f32], expected: &[f32]| {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= limit, "{name} {what}: {found} instead of {expected}");
        }
    };
    let rows = |what: &str| -> Vec<Vec<f32>> { serde_json::from_value(expected[what].clone()).unwrap() };
    for (row, encoded) in encoded.iter().enumerate() {
        compare("sines", encoded, &rows("point_first8")[row]);
        compare("cosines", &encoded[128..], &rows("point_cos_first4")[row]);
    }
    let dense = encoder.dense_positions().unwrap().squeeze(0).unwrap();
    for (what, channel, row) in [("dense_ch0_row0_first8", 0, 0), ("dense_ch130_row40_first8", 130, 40)] {
        let expected: Vec<f32> = serde_json::from_value(expected[what].clone()).unwrap();
        compare(what, &flat(&dense.get(channel).unwrap().get(row).unwrap()), &expected);
    }
}

/// The published sizes with the frequencies of a formula; what positions do not need is zero.
fn prompt_encoder(dtype: DType) -> PromptEncoder {
    let frequencies: Vec<f32> =
        (0..256).map(|index| (1.5 * (1.7 * f64::from(index) + 0.3).sin()) as f32).collect();
    let frequencies = Tensor::from_vec(frequencies, (2, 128), &Device::Cpu).unwrap();
    let mut values =
        HashMap::from([("pe_layer.positional_encoding_gaussian_matrix".to_owned(), frequencies)]);
    let mut zeros = |name: String, shape: &[usize]| {
        values.insert(name, Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap());
    };
    for kind in 0..4 {
        zeros(format!("point_embeddings.{kind}.weight"), &[1, 256]);
    }
    zeros("not_a_point_embed.weight".to_owned(), &[1, 256]);
    zeros("no_mask_embed.weight".to_owned(), &[1, 256]);
    for (index, shape) in [("0", [4, 1, 2, 2]), ("3", [16, 4, 2, 2]), ("6", [256, 16, 1, 1])] {
        zeros(format!("mask_downscaling.{index}.weight"), &shape);
        zeros(format!("mask_downscaling.{index}.bias"), &shape[..1]);
    }
    for (index, width) in [("1", 4), ("4", 16)] {
        zeros(format!("mask_downscaling.{index}.weight"), &[width]);
        zeros(format!("mask_downscaling.{index}.bias"), &[width]);
    }
    let weights = Weights::new(Box::new(InMemory::new(values)), dtype, &Device::Cpu);
    let encoder = PromptEncoder::load(64, 1024, &weights).unwrap();
    weights.finish().unwrap();
    encoder
}

#[test]
fn sizes_of_the_specification() {
    let Some(golden) = golden() else { return };
    let cases = golden["shapes"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let size = |name: &str| -> (usize, usize) { serde_json::from_value(case[name].clone()).unwrap() };
        let (height, width) = size("hw");
        assert_eq!(resize_longest_side_size(height, width, 1024), size("sam"));
        for edge in [224, 336] {
            let found = ClipPreprocessor::square(edge).resized_size(height, width);
            assert_eq!(found, size(&format!("clip{edge}")), "{height}x{width}");
        }
    }
}

/// The losses that the gradient tests use are those of the specification.
#[test]
fn losses_of_the_specification() {
    let Some(golden) = golden() else { return };
    let logits: Vec<f32> = (0..40).map(|index| (0.2 * f64::from(index) - 3.5) as f32).collect();
    let targets: Vec<f32> = (0..40).map(|index| f32::from(u8::from(index % 3 == 0))).collect();
    let tensor = |values: Vec<f32>| Tensor::from_vec(values, (2, 4, 5), &Device::Cpu).unwrap();
    let (logits, targets) = (tensor(logits), tensor(targets));
    for (name, found) in [("bce", binary_cross_entropy(&logits, &targets)), ("dice", dice(&logits, &targets))]
    {
        let (found, expected) =
            (found.unwrap().to_scalar::<f32>().unwrap(), golden["loss"][name].as_f64().unwrap());
        assert!((f64::from(found) - expected).abs() < 1e-5, "{name}: {found} instead of {expected}");
    }
}
