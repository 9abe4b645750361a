//! What things stand or lie on, and what is behind them.

use super::super::colour::{Rgb, distance, from_hsv, mix};
use super::super::draw::{Dice, cos, hash, sin};
use maskwise_kernels::vectorized;
use std::f32::consts::TAU;

/// An empty picture.
pub(super) struct Backdrop {
    /// Row-major.
    pub(super) pixels: Vec<Rgb>,
    /// Row where what things stand on begins; `None` if they lie on what is seen from above.
    pub(super) ground: Option<usize>,
}

impl Backdrop {
    /// A picture of one colour that a thing of colour `body` stands out from.
    pub(super) fn plain(dice: &mut Dice, size: usize, body: Rgb) -> Backdrop {
        let papers: [Rgb; 4] = [[236, 230, 218], [196, 206, 214], [120, 132, 140], [64, 70, 80]];
        let clear = papers.into_iter().filter(|&paper| distance(paper, body) > 60.0);
        let papers: Vec<Rgb> = clear.collect();
        Backdrop { pixels: vec![dice.pick(&papers); size * size], ground: None }
    }

    /// Paints an empty picture of `size` rows and columns.
    pub(super) fn paint(dice: &mut Dice, size: usize) -> Backdrop {
        let horizon = dice.between(0.35, 0.62);
        let standing = dice.chance(0.55);
        let upper =
            if standing { if dice.chance(0.35) { sky(dice) } else { wall(dice) } } else { surface(dice) };
        let lower = standing.then(|| if dice.chance(0.3) { grass(dice) } else { surface(dice) });
        let mut pixels = vec![[0; 3]; size * size];
        let mut points = vec![(0.0, 0.0); size];
        for (row, pixels) in pixels.chunks_exact_mut(size).enumerate() {
            let y = row as f32 / size as f32;
            let across =
                points.iter_mut().enumerate().map(|(column, point)| (column as f32 / size as f32, point));
            match &lower {
                Some(lower) if y >= horizon => {
                    // Seen at a slant: rows draw together towards the horizon.
                    let near = 0.35 + (y - horizon) / (1.0 - horizon);
                    across.for_each(|(x, point)| *point = ((x - 0.5) / near, 1.2 / near));
                    lower(&points, pixels);
                }
                _ => {
                    across.for_each(|(x, point)| *point = (x, y));
                    upper(&points, pixels);
                }
            }
        }
        Backdrop { pixels, ground: standing.then_some((horizon * size as f32) as usize) }
    }
}

/// Gives each of the points of a row, in a unit square, its colour.
type Texture = Box<dyn Fn(&[(f32, f32)], &mut [Rgb])>;

/// The texture that has `colour` at each point.
fn texture(colour: impl Fn(f32, f32) -> Rgb + 'static) -> Texture {
    Box::new(move |points, row| {
        vectorized(
            #[inline(always)]
            || {
                for ((x, y), pixel) in points.iter().zip(row) {
                    *pixel = colour(*x, *y);
                }
            },
        );
    })
}

/// A colour that leaves things their effect.
fn quiet(dice: &mut Dice) -> Rgb {
    let hue = dice.between(0.0, 360.0);
    if dice.chance(0.25) {
        from_hsv(hue, dice.between(0.1, 0.35), dice.between(0.2, 0.45))
    } else {
        from_hsv(hue, dice.between(0.02, 0.32), dice.between(0.6, 0.97))
    }
}

fn wood_colour(dice: &mut Dice) -> Rgb {
    from_hsv(dice.between(22.0, 36.0), dice.between(0.3, 0.58), dice.between(0.45, 0.9))
}

/// Smooth noise, 0..1, that changes over a distance of about 1.
#[inline(always)]
fn cloudy(seed: u32, x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(x - left), ease(y - top));
    let corner = |dx: u32, dy: u32| {
        hash(seed, (left as i32 as u32).wrapping_add(dx), (top as i32 as u32).wrapping_add(dy))
    };
    let upper = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * u;
    let lower = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * u;
    upper + (lower - upper) * v
}

fn seed(dice: &mut Dice) -> u32 {
    dice.whole(0, 1 << 24) as u32
}

/// What things lie or stand on.
fn surface(dice: &mut Dice) -> Texture {
    match dice.whole(0, 5) {
        0 => gradient(dice),
        1 | 2 => planks(dice),
        3 => tiles(dice),
        4 => cloth(dice),
        _ => mottled(dice),
    }
}

fn gradient(dice: &mut Dice) -> Texture {
    let from = quiet(dice);
    let to = mix(from, quiet(dice), dice.between(0.0, 0.5));
    let angle = dice.between(0.0, TAU);
    let (dx, dy) = (cos(angle), sin(angle));
    texture(move |x, y| mix(from, to, (0.5 + (x - 0.5) * dx + (y - 0.5) * dy).clamp(0.0, 1.0)))
}

fn mottled(dice: &mut Dice) -> Texture {
    let (base, seed) = (quiet(dice), seed(dice));
    let (scale, depth) = (dice.between(3.0, 40.0), dice.between(0.08, 0.3));
    let other = mix(base, dice.pick(&[[0; 3], [255; 3]]), depth);
    texture(move |x, y| mix(base, other, cloudy(seed, x * scale, y * scale)))
}

fn planks(dice: &mut Dice) -> Texture {
    let (base, seed) = (wood_colour(dice), seed(dice));
    let dark = mix(base, [60, 30, 10], dice.between(0.2, 0.45));
    let (planks, upright) = (dice.between(2.0, 7.0), dice.chance(0.5));
    let stretch = dice.between(15.0, 40.0);
    texture(move |x, y| {
        let (along, across) = if upright { (y, x) } else { (x, y) };
        let plank = (across * planks).floor();
        let within = across * planks - plank;
        if !(0.025..=0.975).contains(&within) {
            return mix(dark, [0; 3], 0.3);
        }
        let tone = hash(seed, plank as i32 as u32, 7) * 0.4;
        let grain = cloudy(
            seed,
            along * 2.5 + plank * 9.0,
            across * stretch + 3.0 * cloudy(seed, along * 3.0, across * 5.0),
        );
        mix(base, dark, tone + grain * 0.6)
    })
}

fn tiles(dice: &mut Dice) -> Texture {
    let (base, seed) = (quiet(dice), seed(dice));
    let other = if dice.chance(0.5) { mix(base, quiet(dice), 0.35) } else { base };
    let grout = mix(base, dice.pick(&[[50, 50, 50], [245, 245, 240]]), 0.5);
    let tiles = dice.between(4.0, 9.0);
    texture(move |x, y| {
        let (column, row) = ((x * tiles).floor(), (y * tiles).floor());
        let (u, v) = (x * tiles - column, y * tiles - row);
        if u.min(v) < 0.05 {
            return grout;
        }
        let tile = if (column + row) % 2.0 == 0.0 { base } else { other };
        mix(tile, [0; 3], 0.12 * hash(seed, column as i32 as u32, row as i32 as u32))
    })
}

fn cloth(dice: &mut Dice) -> Texture {
    let base = mix(quiet(dice), [255; 3], 0.4);
    let band = mix(base, quiet(dice), dice.between(0.3, 0.6));
    let (bands, checked, seed) = (dice.between(4.0, 12.0), dice.chance(0.65), seed(dice));
    texture(move |x, y| {
        let on = |value: f32| f32::from(u8::from((value * bands * 2.0).floor() % 2.0 != 0.0));
        let share = if checked { (on(x) + on(y)) / 2.0 } else { on(x) };
        mix(mix(base, band, share), [0; 3], 0.08 * cloudy(seed, x * 60.0, y * 60.0))
    })
}

fn wall(dice: &mut Dice) -> Texture {
    if dice.chance(0.6) {
        return gradient(dice);
    }
    let (base, bands) = (quiet(dice), dice.between(6.0, 16.0));
    let stripe = mix(base, dice.pick(&[[0; 3], [255; 3]]), dice.between(0.06, 0.16));
    texture(move |x, _| if (x * bands).floor() % 2.0 == 0.0 { base } else { stripe })
}

fn sky(dice: &mut Dice) -> Texture {
    let hue = if dice.chance(0.7) { dice.between(195.0, 215.0) } else { dice.between(15.0, 45.0) };
    let top = from_hsv(hue, dice.between(0.25, 0.5), dice.between(0.75, 0.97));
    let low = mix(top, [250, 246, 238], dice.between(0.4, 0.8));
    let (seed, clouds) = (seed(dice), dice.between(0.0, 0.8));
    texture(move |x, y| {
        let clear = mix(top, low, (y * 1.8).min(1.0));
        let cloud = cloudy(seed, x * 4.0, y * 9.0) * 0.65 + cloudy(seed, x * 11.0, y * 20.0) * 0.35;
        mix(clear, [252, 252, 252], ((cloud - 0.55) * 4.0).clamp(0.0, 1.0) * clouds)
    })
}

fn grass(dice: &mut Dice) -> Texture {
    let base = from_hsv(dice.between(70.0, 110.0), dice.between(0.25, 0.5), dice.between(0.5, 0.85));
    let (dark, seed) = (mix(base, [20, 50, 10], dice.between(0.2, 0.4)), seed(dice));
    texture(move |x, y| {
        let blades = cloudy(seed, x * 90.0, y * 30.0);
        mix(base, dark, 0.6 * blades + 0.4 * cloudy(seed, x * 6.0, y * 6.0))
    })
}
