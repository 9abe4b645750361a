//! Where published evaluation codes differ.

use crate::{Overlap, Sample};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// How scores are computed; the default is that of LISA and READ (spec 7.1, 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conventions {
    /// What a question with an empty target counts in the gIoU.
    pub empty_targets: EmptyTargets,
    /// What pixels count that the truth marks as to be ignored.
    pub ignored_pixels: IgnoredPixels,
    /// What pixels count that several polygons of the truth cover.
    pub overlapped_pixels: OverlappedPixels,
    /// Over how many processes a padded sampler hands out the items: the first items count twice, so that all get as many. 1 repeats none.
    pub padded_processes: usize,
}

impl Default for Conventions {
    fn default() -> Self {
        Self {
            empty_targets: EmptyTargets::default(),
            ignored_pixels: IgnoredPixels::default(),
            overlapped_pixels: OverlappedPixels::default(),
            padded_processes: 1,
        }
    }
}

impl Display for Conventions {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let empty = match self.empty_targets {
            EmptyTargets::Scored => "empty targets scored",
            EmptyTargets::LeftOut => "empty targets left out",
        };
        let ignored = match self.ignored_pixels {
            IgnoredPixels::LeftOut => "ignored pixels left out",
            IgnoredPixels::Background => "ignored pixels background",
        };
        let overlapped = match self.overlapped_pixels {
            OverlappedPixels::Outside => "overlapped pixels outside",
            OverlappedPixels::Inside => "overlapped pixels inside",
        };
        let padded = self.padded_processes;
        write!(formatter, "{empty}, {ignored}, {overlapped}, padded for {padded} processes")
    }
}

/// What a question with an empty target counts in the gIoU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyTargets {
    /// 1 if the prediction is empty too, otherwise 0.
    #[default]
    Scored,
    /// It is left out.
    LeftOut,
}

/// What pixels count that the truth marks as to be ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IgnoredPixels {
    /// Nothing.
    #[default]
    LeftOut,
    /// They are background.
    Background,
}

/// What pixels count that several polygons of the truth cover: the published code adds polygons up and takes 2 for neither inside nor ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverlappedPixels {
    /// They are outside of the truth.
    #[default]
    Outside,
    /// They are inside, as they should be.
    Inside,
}

/// Added to the union that an intersection is divided by (spec 7.2).
const EPSILON: f64 = 1e-5;

impl Conventions {
    /// The samples that count, each as often as it does.
    pub(crate) fn counted<'a>(&self, samples: &'a [Sample]) -> Vec<&'a Sample> {
        let processes = self.padded_processes.max(1);
        let repeated = (processes - samples.len() % processes) % processes;
        samples
            .iter()
            .chain(samples.iter().cycle().take(if samples.is_empty() { 0 } else { repeated }))
            .collect()
    }

    /// Union in pixels.
    pub(crate) fn union(&self, overlap: &Overlap) -> u64 {
        let ignored = match self.ignored_pixels {
            IgnoredPixels::LeftOut => 0,
            IgnoredPixels::Background => overlap.predicted_ignored,
        };
        self.union_without_ignored(overlap) + ignored
    }

    /// Union in pixels that the truth does not say to ignore.
    pub(crate) fn union_without_ignored(&self, overlap: &Overlap) -> u64 {
        match self.overlapped_pixels {
            OverlappedPixels::Outside => overlap.union,
            // What of them is predicted is in the union already.
            OverlappedPixels::Inside => overlap.union + overlap.overlapped - overlap.predicted_overlapped,
        }
    }

    /// Intersection in pixels.
    pub(crate) fn intersection(&self, overlap: &Overlap) -> u64 {
        match self.overlapped_pixels {
            OverlappedPixels::Outside => overlap.intersection,
            OverlappedPixels::Inside => overlap.intersection + overlap.predicted_overlapped,
        }
    }

    /// Intersection over union; 1 where prediction and truth are both empty, nothing where it does not count.
    pub(crate) fn iou(&self, overlap: &Overlap) -> Option<f64> {
        let target = match self.overlapped_pixels {
            OverlappedPixels::Outside => overlap.target,
            OverlappedPixels::Inside => overlap.target + overlap.overlapped,
        };
        if self.empty_targets == EmptyTargets::LeftOut && target == 0 {
            return None;
        }
        Some(iou(self.intersection(overlap), self.union(overlap)))
    }
}

/// Intersection over union in pixels; 1 of nothing and nothing.
pub(crate) fn iou(intersection: u64, union: u64) -> f64 {
    match union {
        0 => 1.0,
        union => intersection as f64 / (union as f64 + EPSILON),
    }
}
