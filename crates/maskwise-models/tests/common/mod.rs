//! What the tests of this crate share: recorded tensors with their manifests, the systems under test, losses.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

pub(crate) mod goldens;
pub(crate) mod losses;
pub(crate) mod points;
pub(crate) mod recorded;
pub(crate) mod system;
pub(crate) mod tiny;

pub(crate) use goldens::{Goldens, goldens_folder};
pub(crate) use system::System;

/// Largest relative error of an intermediate in f32.
pub(crate) const INTERMEDIATE: f64 = 1e-4;
/// Largest relative error of mask logits at the size of the image in f32.
pub(crate) const FINAL_LOGITS: f64 = 1e-3;
/// Largest distance of a continuous point from the recorded one, in pixels.
pub(crate) const POINTS: f64 = 2e-3;
/// Smallest IoU of a mask with the recorded one in f32.
pub(crate) const MASK_IOU: f64 = 0.999;
