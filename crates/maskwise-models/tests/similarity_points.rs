//! What similarity as points does at its edges: maps that hold nothing, images of odd sizes, the paper's own settings.

#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor, Var};
use maskwise_models::ModelError;
use maskwise_models::heads::similarity_points::{
    Sampling, SimilarityPoints, SimilarityPointsConfig, SimilarityValues, Thresholds, similarity_points,
};

fn map(values: Vec<f32>) -> Tensor {
    let count = values.len();
    Tensor::from_vec(values, count, &Device::Cpu).unwrap()
}

/// A hill on a `side`² grid with its top at (`row`, `column`).
fn hill(side: usize, row: f32, column: f32) -> Vec<f32> {
    let height = |cell: usize| {
        let (y, x) = ((cell / side) as f32 - row, (cell % side) as f32 - column);
        30.0 * (-(y * y + x * x) / 12.0).exp() + 0.01 * (cell % 17) as f32
    };
    (0..side * side).map(height).collect()
}

fn points(
    values: Vec<f32>,
    size: (usize, usize),
    config: &SimilarityPointsConfig,
) -> Result<SimilarityPoints, ModelError> {
    similarity_points(&map(values), size, config)
}

#[test]
fn maps_that_hold_nothing_are_refused_with_the_reason() {
    let config = SimilarityPointsConfig::read_7b();
    let mut with_nan = hill(24, 8.0, 8.0);
    with_nan[17] = f32::NAN;
    let mut with_infinity = hill(24, 8.0, 8.0);
    with_infinity[3] = f32::INFINITY;
    for (values, word) in [
        (vec![2.5; 576], "same value"),
        (with_nan, "cell 17"),
        (with_infinity, "cell 3"),
        (hill(24, 8.0, 8.0)[..575].to_vec(), "square"),
        (Vec::new(), "square"),
    ] {
        let error = points(values, (60, 80), &config).unwrap_err();
        assert!(matches!(error, ModelError::Similarity(_)), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    // Different cells, but the same mean in every 2x2 block.
    let checkers = (0..576).map(|cell| ((cell % 24 + cell / 24) % 2) as f32).collect();
    assert!(points(checkers, (60, 80), &config).unwrap_err().to_string().contains("down-sampling"));
    assert!(points(hill(24, 8.0, 8.0), (0, 80), &config).is_err());
}

#[test]
fn settings_out_of_range_are_refused() {
    let fixed = |t_pos, t_neg| Thresholds::Fixed { t_pos, t_neg };
    let read = SimilarityPointsConfig::read_7b();
    for config in [
        SimilarityPointsConfig { num_points: Some(0), ..read.clone() },
        SimilarityPointsConfig { down_sample: 0, ..read.clone() },
        SimilarityPointsConfig { map_size: 0, ..read.clone() },
        SimilarityPointsConfig { thresholds: fixed(0.2, 0.8), ..read.clone() },
        SimilarityPointsConfig { thresholds: fixed(f32::NAN, 0.2), ..read.clone() },
        SimilarityPointsConfig { thresholds: Thresholds::MeanDeviation { epsilon: -1.0 }, ..read.clone() },
    ] {
        let error = points(hill(24, 8.0, 8.0), (60, 80), &config).unwrap_err();
        assert!(matches!(error, ModelError::Points(_)), "{config:?}: {error}");
    }
    // More reduction than there are cells.
    let config = SimilarityPointsConfig { down_sample: 25, ..read };
    assert!(matches!(points(hill(24, 8.0, 8.0), (60, 80), &config), Err(ModelError::Similarity(_))));
}

#[test]
fn every_image_size_gives_points_on_the_image() {
    for size in
        [(1, 1), (1, 2), (2, 3), (1, 5000), (5000, 1), (7, 4), (13, 12), (333, 500), (47, 47), (158, 94)]
    {
        for config in [
            SimilarityPointsConfig::read_7b(),
            SimilarityPointsConfig::read_13b(),
            SimilarityPointsConfig::algorithm_1(),
        ] {
            let found = points(hill(24, 11.0, 12.0), size, &config).unwrap();
            assert!(!found.cells.is_empty(), "{size:?}");
            for point in found.coordinates.to_vec2::<f32>().unwrap() {
                let (x, y) = (point[0], point[1]);
                let inside = x > -0.5 && x < size.1 as f32 && y > -0.5 && y < size.0 as f32;
                assert!(inside, "{size:?} {config:?}: ({x}, {y})");
            }
        }
    }
}

#[test]
fn odd_grids_are_reduced_like_any_other() {
    for (side, reduced) in [(5, 2), (7, 3), (11, 5), (16, 8), (23, 11)] {
        let found = points(hill(side, 2.0, 2.0), (64, 64), &SimilarityPointsConfig::read_7b()).unwrap();
        assert_eq!((found.selection.height, found.selection.width), (reduced, reduced));
        assert_eq!(found.cells.len(), (reduced * reduced).min(30));
    }
}

#[test]
fn positive_points_lie_on_the_hill_and_come_first() {
    // The hill's top is at cell (6, 17) of 24, on a square image of 240 pixels: around (175, 65).
    let found = points(hill(24, 6.0, 17.0), (240, 240), &SimilarityPointsConfig::read_7b()).unwrap();
    let labels = found.labels();
    let positive = labels.iter().take_while(|label| **label == 1).count();
    assert!(positive >= 1 && labels[positive..].iter().all(|label| *label == 0), "{labels:?}");
    for point in &found.coordinates.to_vec2::<f32>().unwrap()[..positive] {
        assert!((point[0] - 175.0).abs() < 40.0 && (point[1] - 65.0).abs() < 40.0, "{point:?}");
    }
}

#[test]
fn the_papers_thresholds_follow_mean_and_deviation_and_take_every_cell() {
    let found = points(hill(24, 6.0, 17.0), (240, 240), &SimilarityPointsConfig::algorithm_1()).unwrap();
    assert_eq!(found.cells.len(), 576);
    let values: Vec<f64> = found.selection.values.iter().map(|&value| f64::from(value)).collect();
    let mean = values.iter().sum::<f64>() / 576.0;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 576.0).sqrt();
    for cell in &found.cells {
        let value = f64::from(cell.value);
        let expected = if value >= mean + 0.5 * deviation {
            1
        } else if value <= mean - 0.5 * deviation {
            0
        } else {
            -1
        };
        let near = (value - mean - 0.5 * deviation).abs().min((value - mean + 0.5 * deviation).abs()) < 1e-6;
        assert!(near || cell.label == expected, "{cell:?}");
    }
}

#[test]
fn discrete_points_are_the_pixels_of_their_cells() {
    let map = map(hill(24, 7.3, 15.6));
    let config = SimilarityPointsConfig { sampling: Sampling::Discrete, ..SimilarityPointsConfig::read_7b() };
    let discrete = similarity_points(&map, (333, 500), &config).unwrap();
    let continuous = similarity_points(&map, (333, 500), &SimilarityPointsConfig::read_7b()).unwrap();
    assert_eq!(discrete.cells, continuous.cells);
    let (found, moved) =
        (discrete.coordinates.to_vec2::<f32>().unwrap(), continuous.coordinates.to_vec2::<f32>().unwrap());
    let pixels: Vec<Vec<f32>> =
        discrete.cells.iter().map(|cell| vec![cell.pixel.0 as f32, cell.pixel.1 as f32]).collect();
    assert_eq!(found, pixels);
    assert_ne!(found, moved);
}

#[test]
fn the_gradient_reaches_the_map_by_either_values() {
    for values in [SimilarityValues::Normalized, SimilarityValues::Raw] {
        let variable = Var::from_tensor(&map(hill(6, 2.0, 3.0))).unwrap();
        let config =
            SimilarityPointsConfig { values, num_points: Some(5), ..SimilarityPointsConfig::algorithm_1() };
        let found = similarity_points(variable.as_tensor(), (30, 40), &config).unwrap();
        let gradients = found.coordinates.sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&variable).expect("a gradient").to_vec1::<f32>().unwrap();
        assert!(gradient.iter().all(|value| value.is_finite()) && gradient.iter().any(|value| *value != 0.0));
    }
}
