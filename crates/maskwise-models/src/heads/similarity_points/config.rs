use serde::{Deserialize, Serialize};

/// What the originals keep in commented-out lines: how many points, which thresholds, which map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimilarityPointsConfig {
    /// At most this many points, positive first, then negative, then neutral; null takes every cell.
    pub num_points: Option<usize>,
    /// Which cells are positive and which are negative.
    pub thresholds: Thresholds,
    /// The grid is reduced by this factor before cells are selected.
    pub down_sample: usize,
    /// Where in its cell a point lies.
    #[serde(default)]
    pub sampling: Sampling,
    /// How the weight of a pixel falls with its distance from the point.
    #[serde(default)]
    pub distance: DistanceWeight,
    /// Which values the softmax of the full-resolution map is taken of.
    #[serde(default)]
    pub values: SimilarityValues,
    /// Side of the square map between the token grid and the image; 336 in the official code whatever the tower's size.
    #[serde(default = "default_map_size")]
    pub map_size: usize,
}

fn default_map_size() -> usize {
    336
}

/// The thresholds on the normalised selection map.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Thresholds {
    /// Positive at or above `t_pos`, negative at or below `t_neg` (the released code).
    Fixed {
        /// Lowest value of a positive cell, 0..1.
        t_pos: f32,
        /// Highest value of a negative cell, 0..1.
        t_neg: f32,
    },
    /// Positive at or above mean + `epsilon`·σ, negative at or below mean − `epsilon`·σ (the paper's Algorithm 1); mean and
    /// standard deviation are those of the cells without the padding.
    MeanDeviation {
        /// The factor ε, 0.5 in the paper.
        epsilon: f32,
    },
}

/// Where in its cell a point lies (the paper's Table 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// At the weighted mean around the cell's centre, through which the gradient reaches the similarity: discrete to continuous.
    #[default]
    Continuous,
    /// At the cell's centre, a whole pixel, without a gradient.
    Discrete,
}

/// The weight of a pixel at distance `d` from a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistanceWeight {
    /// exp(−d²), the released code.
    #[default]
    Squared,
    /// exp(−d), the paper's Algorithm 1.
    Linear,
}

/// The map whose softmax multiplies the distance weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SimilarityValues {
    /// Min-max normalised to 0..1, 0 outside the central square: the released code.
    #[default]
    Normalized,
    /// As it is, pixels outside the central square left out: the paper's text (spec 1.8, row 3).
    Raw,
}

impl SimilarityPointsConfig {
    /// READ-7B: 30 points, 0.8 / 0.2, the grid halved.
    pub fn read_7b() -> Self {
        Self {
            num_points: Some(30),
            thresholds: Thresholds::Fixed { t_pos: 0.8, t_neg: 0.2 },
            down_sample: 2,
            sampling: Sampling::Continuous,
            distance: DistanceWeight::Squared,
            values: SimilarityValues::Normalized,
            map_size: default_map_size(),
        }
    }

    /// READ-13B: 60 points, 0.6 / 0.2, the grid as it is.
    pub fn read_13b() -> Self {
        let thresholds = Thresholds::Fixed { t_pos: 0.6, t_neg: 0.2 };
        Self { num_points: Some(60), thresholds, down_sample: 1, ..Self::read_7b() }
    }

    /// The paper's Algorithm 1: mean ± 0.5·σ, exp(−d), every cell of the grid.
    pub fn algorithm_1() -> Self {
        Self {
            num_points: None,
            thresholds: Thresholds::MeanDeviation { epsilon: 0.5 },
            down_sample: 1,
            distance: DistanceWeight::Linear,
            ..Self::read_7b()
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn check(&self) -> Result<(), String> {
        if self.num_points == Some(0) {
            return Err(
                "num_points is 0; for no points at all use --no-points, or null for similarity_points"
                    .to_owned(),
            );
        }
        if self.down_sample == 0 || self.map_size == 0 {
            return Err("down_sample and map_size must be at least 1".to_owned());
        }
        match self.thresholds {
            Thresholds::Fixed { t_pos, t_neg } if !(0.0 <= t_neg && t_neg < t_pos && t_pos <= 1.0) => {
                Err(format!("thresholds need 0 <= t_neg < t_pos <= 1, found t_pos {t_pos}, t_neg {t_neg}"))
            }
            Thresholds::MeanDeviation { epsilon } if !(epsilon >= 0.0 && epsilon.is_finite()) => {
                Err(format!("epsilon must be at least 0, found {epsilon}"))
            }
            _ => Ok(()),
        }
    }
}
