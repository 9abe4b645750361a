//! The Tabletop world: procedural pictures of everyday things with exact masks, and questions about them.
//!
//! [`Scene`] is a picture with everything that is known about it; questions, splits and files are made from scenes.

mod scene;

pub use scene::{Scene, Thing, ThingPart};
