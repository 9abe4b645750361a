use crate::mask::{BoundingBox, Mask};
use ::image::RgbImage;

/// A picture and everything that is known about it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The picture.
    pub image: RgbImage,
    /// The things in it, back to front.
    pub things: Vec<Thing>,
}

/// A thing in a [`Scene`].
#[derive(Clone, Debug)]
pub struct Thing {
    /// Its pixels that are visible.
    pub mask: Mask,
    /// The box around `mask`.
    pub bounds: BoundingBox,
    /// Share of its pixels that nothing hides, 0..1.
    pub visible: f32,
    /// Its named parts with the pixels of each that are visible; a part may be hidden wholly.
    pub parts: Vec<ThingPart>,
}

/// A named part of a thing.
#[derive(Clone, Debug)]
pub struct ThingPart {
    /// Its pixels that are visible.
    pub mask: Mask,
}
