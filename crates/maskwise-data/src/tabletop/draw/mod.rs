//! Drawing by hand: shapes, sketches made of them, and stamps, which are sketches in pixels.

mod dice;
mod shapes;
mod sketch;
mod stamp;
mod trig;

pub(super) use dice::Dice;
pub(super) use shapes::{at, blob, holed, oval, oval_turned, poly, ring, rounded, soft_poly, tube};
pub(super) use sketch::{Ink, Sketch};
pub(super) use stamp::{Coat, Label, Line, Pose, Stamp, Style, hash};
pub(super) use trig::{cos, sin};
