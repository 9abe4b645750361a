//! What is on a body: nothing, stripes, spots or checks.

/// The pattern of a thing's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// One colour.
    Plain,
    /// Bands of a second colour.
    Striped,
    /// Dots of a second colour.
    Spotted,
    /// Squares of a second colour.
    Checked,
}

impl Pattern {
    /// Every pattern.
    pub const ALL: [Pattern; 4] = [Pattern::Plain, Pattern::Striped, Pattern::Spotted, Pattern::Checked];

    /// The pattern as an adjective, "striped".
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Plain => "plain",
            Pattern::Striped => "striped",
            Pattern::Spotted => "spotted",
            Pattern::Checked => "checked",
        }
    }

    /// How much of the second colour lies at `(u, v)`, 0..1. The pattern repeats with period 1 in both
    /// directions; `pixel` is the size of a pixel in the same units, over which edges are softened.
    pub(super) fn second(self, u: f32, v: f32, pixel: f32) -> f32 {
        // A signed distance to the edge of the second colour, positive inside.
        let inside = match self {
            Pattern::Plain => return 0.0,
            Pattern::Striped => 0.2 - from_centre(u).abs(),
            Pattern::Spotted => {
                // Every other row is shifted by half a period.
                let shift = if v.floor() % 2.0 == 0.0 { 0.0 } else { 0.5 };
                let (x, y) = (from_centre(u + shift), from_centre(v));
                0.3 - (x * x + y * y).sqrt()
            }
            Pattern::Checked => {
                let (x, y) = (0.25 - from_centre(u).abs(), 0.25 - from_centre(v).abs());
                // Both or neither: two squares of each period in both directions.
                if (x > 0.0) == (y > 0.0) { x.abs().min(y.abs()) } else { -x.abs().min(y.abs()) }
            }
        };
        (inside / pixel + 0.5).clamp(0.0, 1.0)
    }
}

/// `value` relative to the middle of its period, -0.5..0.5.
fn from_centre(value: f32) -> f32 {
    value - value.floor() - 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_colour_covers_half_at_most() {
        for pattern in Pattern::ALL {
            let side = 200;
            let mean = (0..side * side)
                .map(|i| pattern.second((i % side) as f32 / 50.0, (i / side) as f32 / 50.0, 0.02))
                .sum::<f32>()
                / (side * side) as f32;
            let bounds = if pattern == Pattern::Plain { 0.0..=0.0 } else { 0.2..=0.51 };
            assert!(bounds.contains(&mean), "{pattern:?} {mean}");
        }
    }
}
