//! Pictures of several things, with the pixels of each.

use super::draw::Dice;
use super::{Colour, Kind, Part, Pattern};
use crate::dataset::SampleRng;
use crate::mask::{BoundingBox, Mask};
use ::image::RgbImage;
use std::ops::RangeInclusive;
use thiserror::Error;

mod backdrop;
mod cast;
mod easel;
mod light;

use backdrop::Backdrop;
use cast::{Actor, Cast, Hands};
use easel::Easel;

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
    /// What it is.
    pub kind: Kind,
    /// The colour of its body.
    pub colour: Colour,
    /// The pattern of its body.
    pub pattern: Pattern,
    /// The centre of its box if nothing hid it, in pixels from the upper left corner.
    pub centre: (f32, f32),
    /// Its pixels if nothing hid it.
    pub area: u64,
    /// Its pixels that are visible.
    pub mask: Mask,
    /// The box around `mask`.
    pub bounds: BoundingBox,
    /// Share of its pixels that nothing hides, 0..1.
    pub visible: f32,
    /// Its named parts in the order of [`Kind::parts`].
    pub parts: Vec<ThingPart>,
}

/// A named part of a thing.
#[derive(Clone, Debug)]
pub struct ThingPart {
    /// What it is.
    pub part: Part,
    /// Its pixels that are visible; none if it is hidden wholly.
    pub mask: Mask,
}

/// What scenes are drawn.
#[derive(Clone, Debug)]
pub struct SceneConfig {
    /// Columns and rows of the picture, 64 to 2048.
    pub size: usize,
    /// How many things to draw, 1 to 20. A crowded picture may get fewer, but at least one.
    pub things: RangeInclusive<usize>,
    /// Which kinds may be drawn in which of their colours.
    pub allowed: fn(Kind, Colour) -> bool,
    /// Probability that a thing repeats the kind of an earlier one.
    pub same_kind: f32,
    /// Probability that a thing repeats the colour of an earlier one.
    pub same_colour: f32,
    /// Probability of a pattern where one suits the kind.
    pub patterned: f32,
}

impl Default for SceneConfig {
    fn default() -> SceneConfig {
        SceneConfig {
            size: 256,
            things: 1..=7,
            allowed: |_, _| true,
            same_kind: 0.25,
            same_colour: 0.15,
            patterned: 0.45,
        }
    }
}

/// Why no scene can be drawn.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SceneError {
    /// The picture would be too small to see anything or too large.
    #[error("a scene of {size} pixels a side cannot be drawn: choose 64 to 2048")]
    Size {
        /// The size asked for.
        size: usize,
    },
    /// An empty range, none or too many.
    #[error("{least} to {most} things cannot be drawn: choose a range within 1 to 20")]
    Things {
        /// The least number asked for.
        least: usize,
        /// The greatest number asked for.
        most: usize,
    },
    /// The predicate refuses everything.
    #[error("`allowed` refuses every kind in every colour: allow at least one pair")]
    NothingAllowed,
}

impl Scene {
    /// Draws a scene; the same state of `rng` gives the same scene on any machine.
    ///
    /// Each thing has at least 35 % of its pixels and 60 pixels visible.
    ///
    /// # Errors
    /// [`SceneError`] if `config` leaves nothing to draw.
    pub fn draw(rng: &mut SampleRng, config: &SceneConfig) -> Result<Scene, SceneError> {
        if !(64..=2048).contains(&config.size) {
            return Err(SceneError::Size { size: config.size });
        }
        let (least, most) = (*config.things.start(), *config.things.end());
        if least < 1 || most > 20 || least > most {
            return Err(SceneError::Things { least, most });
        }
        let mut cast = Cast::new(config).ok_or(SceneError::NothingAllowed)?;
        let dice = &mut Dice(rng);
        let count = dice.whole(least, most);
        let backdrop = Backdrop::paint(dice, config.size);
        let hands = Hands::new(dice);
        let mut easel = Easel::new(backdrop, config.size);
        for stand in easel.stands(dice, count) {
            // What does not fit or cannot be told from its background gives way to something else.
            for _ in 0..6 {
                let actor = cast.choose(dice, config, count);
                let stamp = actor.draw(dice, &hands, easel.is_flat());
                if easel.place(dice, &stamp, actor.body, stand) {
                    cast.keep(actor);
                    break;
                }
            }
        }
        let things = cast.kept.iter().enumerate().map(|(index, actor)| easel.thing(index, actor)).collect();
        Ok(Scene { image: light::finish(dice, easel.into_image()), things })
    }

    /// Draws one thing alone, as large as the picture allows, in any of its colours, on plain ground.
    ///
    /// # Errors
    /// [`SceneError::Size`] if `size` is outside of 64 to 2048 pixels.
    pub fn portrait(rng: &mut SampleRng, kind: Kind, size: usize) -> Result<Scene, SceneError> {
        if !(64..=2048).contains(&size) {
            return Err(SceneError::Size { size });
        }
        let dice = &mut Dice(rng);
        let actor = Actor::new(dice, &SceneConfig::default(), kind, 0.84 * size as f32);
        let hands = Hands::new(dice);
        let stamp = actor.draw(dice, &hands, false);
        let mut easel = Easel::new(Backdrop::plain(dice, size, actor.body), size);
        easel.centre(dice, &stamp);
        let things = vec![easel.thing(0, &actor)];
        Ok(Scene { image: easel.into_image(), things })
    }
}
