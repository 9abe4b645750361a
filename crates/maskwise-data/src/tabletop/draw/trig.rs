//! Sine and cosine out of additions and multiplications alone. Those of the standard library differ between
//! platforms in the last bit, and pictures must not.

use std::f32::consts::{FRAC_PI_2, TAU};

/// The sine of `angle` in radians, within 1e-5.
pub(in crate::tabletop) fn sin(angle: f32) -> f32 {
    let turn = angle / TAU;
    let x = (turn - (turn + 0.5).floor()) * TAU;
    // Fold to -pi/2..pi/2, where the series converges fast.
    let x = if x > FRAC_PI_2 {
        2.0 * FRAC_PI_2 - x
    } else if x < -FRAC_PI_2 {
        -2.0 * FRAC_PI_2 - x
    } else {
        x
    };
    let x2 = x * x;
    x * (1.0 - x2 / 6.0 * (1.0 - x2 / 20.0 * (1.0 - x2 / 42.0 * (1.0 - x2 / 72.0))))
}

/// The cosine of `angle` in radians, within 1e-5.
pub(in crate::tabletop) fn cos(angle: f32) -> f32 {
    sin(angle + FRAC_PI_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_standard_library() {
        for i in -2000..2000 {
            let angle = i as f32 * 0.007;
            assert!((sin(angle) - angle.sin()).abs() < 1e-5 && (cos(angle) - angle.cos()).abs() < 1e-5);
        }
    }
}
