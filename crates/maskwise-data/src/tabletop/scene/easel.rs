//! The picture while it is drawn, and whose its pixels are.

use super::super::colour::{Rgb, distance};
use super::super::draw::{Dice, Label, Stamp};
use super::backdrop::Backdrop;
use super::cast::Actor;
use super::{Mask, Thing, ThingPart};
use ::image::RgbImage;

/// Least share of a thing's pixels that must stay visible.
const LEAST_VISIBLE: f32 = 0.35;
/// Least number of a thing's pixels that must stay visible.
const LEAST_PIXELS: usize = 60;
/// Places that are tried for a thing.
const TRIES: usize = 16;
/// Pixels that stay free along the edges of the picture.
const BORDER: usize = 2;

/// A picture in the making.
pub(super) struct Easel {
    size: usize,
    pixels: Vec<Rgb>,
    /// Row where what things stand on begins; `None` if they lie on what is seen from above.
    ground: Option<usize>,
    /// Number of the thing that a pixel shows, from 1; 0 is background.
    owners: Vec<u8>,
    labels: Vec<Label>,
    pub(super) placed: Vec<Placed>,
}

/// Where a stamp was put.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// The upper left corner of the stamp, and its width and height.
    corner: (usize, usize),
    extent: (usize, usize),
    centre: (f32, f32),
    area: usize,
    visible: usize,
}

impl Easel {
    pub(super) fn new(backdrop: Backdrop, size: usize) -> Easel {
        Easel {
            size,
            pixels: backdrop.pixels,
            ground: backdrop.ground,
            owners: vec![0; size * size],
            labels: vec![0; size * size],
            placed: Vec::new(),
        }
    }

    /// Whether things lie on what is seen from above.
    pub(super) fn is_flat(&self) -> bool {
        self.ground.is_none()
    }

    /// The rows that `count` things stand on, from the farthest to the nearest.
    pub(super) fn stands(&self, dice: &mut Dice, count: usize) -> Vec<usize> {
        let first = self.ground.map_or(0, |ground| ground + self.size / 50);
        let mut rows: Vec<usize> =
            (0..count).map(|_| dice.whole(first.min(self.size - 4), self.size - 3)).collect();
        rows.sort_unstable();
        rows
    }

    /// Puts `stamp` on the picture with its lower edge near row `stand` or, if things lie flat, anywhere.
    /// False, and nothing drawn, if no place was found where it and all others are well visible.
    pub(super) fn place(&mut self, dice: &mut Dice, stamp: &Stamp, body: Rgb, stand: usize) -> bool {
        let (Some(free_x), Some(free_y)) = (
            (self.size - 2 * BORDER).checked_sub(stamp.width),
            (self.size - 2 * BORDER).checked_sub(stamp.height),
        ) else {
            return false;
        };
        let area = stamp.area();
        if area < LEAST_PIXELS {
            return false;
        }
        let edge = stamp.edge();
        // Most things keep clear of others while there is room.
        let pushy = dice.chance(0.35);
        for attempt in 0..TRIES {
            let x = BORDER + dice.whole(0, free_x);
            let y = match self.ground {
                Some(_) => stand.saturating_sub(stamp.height).clamp(BORDER, BORDER + free_y),
                None => BORDER + dice.whole(0, free_y),
            };
            let may_overlap = pushy || attempt >= TRIES / 2;
            let hidden = self.hidden_by(stamp, x, y);
            if (may_overlap || hidden[1..].iter().sum::<usize>() * 20 <= area)
                && self.leaves_others_visible(&hidden)
                && self.stands_out(&edge, body, x, y)
            {
                self.lay(dice, stamp, x, y, area);
                return true;
            }
        }
        false
    }

    /// Puts `stamp` into the middle.
    pub(super) fn centre(&mut self, dice: &mut Dice, stamp: &Stamp) {
        let middle = |extent: usize| self.size.saturating_sub(extent) / 2;
        self.lay(dice, stamp, middle(stamp.width), middle(stamp.height), stamp.area());
    }

    /// Whether a person sees where a thing of colour `body` ends.
    fn stands_out(&self, edge: &[(usize, usize)], body: Rgb, x: usize, y: usize) -> bool {
        let clear = edge
            .iter()
            .filter(|(ex, ey)| distance(self.pixels[(y + ey) * self.size + x + ex], body) > 42.0)
            .count();
        clear as f32 >= 0.8 * edge.len() as f32
    }

    /// Pixels that a stamp at `(x, y)` would take from the background and from each thing.
    fn hidden_by(&self, stamp: &Stamp, x: usize, y: usize) -> Vec<usize> {
        let mut hidden = vec![0; self.placed.len() + 1];
        for row in 0..stamp.height {
            let owners = &self.owners[(y + row) * self.size + x..][..stamp.width];
            for (&owner, &label) in owners.iter().zip(&stamp.labels[row * stamp.width..]) {
                hidden[usize::from(owner)] += usize::from(label != 0);
            }
        }
        hidden
    }

    fn leaves_others_visible(&self, hidden: &[usize]) -> bool {
        self.placed.iter().zip(&hidden[1..]).all(|(placed, hidden)| {
            let left = placed.visible - hidden;
            *hidden == 0 || (left >= LEAST_PIXELS && left as f32 >= LEAST_VISIBLE * placed.area as f32)
        })
    }

    fn lay(&mut self, dice: &mut Dice, stamp: &Stamp, x: usize, y: usize, area: usize) {
        let hidden = self.hidden_by(stamp, x, y);
        for (placed, hidden) in self.placed.iter_mut().zip(&hidden[1..]) {
            placed.visible -= hidden;
        }
        self.shadow(dice, stamp, x, y);
        let owner = self.placed.len() as u8 + 1;
        for row in 0..stamp.height {
            let here = (y + row) * self.size + x;
            for column in 0..stamp.width {
                let from = row * stamp.width + column;
                let [red, green, blue, alpha] = stamp.pixels[from];
                if alpha == 0 {
                    continue;
                }
                let rest = 255 - u32::from(alpha);
                for (value, laid) in self.pixels[here + column].iter_mut().zip([red, green, blue]) {
                    *value = laid.saturating_add(((u32::from(*value) * rest + 127) / 255) as u8);
                }
                if stamp.labels[from] != 0 {
                    self.owners[here + column] = owner;
                    self.labels[here + column] = stamp.labels[from];
                }
            }
        }
        let centre = (x as f32 + stamp.width as f32 / 2.0, y as f32 + stamp.height as f32 / 2.0);
        let extent = (stamp.width, stamp.height);
        self.placed.push(Placed { corner: (x, y), extent, centre, area, visible: area });
    }

    /// Darkens what lies around the thing.
    fn shadow(&mut self, dice: &mut Dice, stamp: &Stamp, x: usize, y: usize) {
        let depth = dice.between(0.0, 0.4);
        if self.ground.is_some() {
            let (rx, ry) = (stamp.width as f32 * 0.5, stamp.width as f32 * 0.09 + 1.0);
            let (cx, cy) = (x as f32 + rx, (y + stamp.height) as f32 - 2.0);
            for row in (cy - ry) as usize..((cy + ry) as usize + 1).min(self.size) {
                for column in x..x + stamp.width {
                    let (dx, dy) = ((column as f32 - cx) / rx, (row as f32 - cy) / ry);
                    Self::darken(
                        &mut self.pixels[row * self.size + column],
                        depth * (1.0 - dx * dx - dy * dy).max(0.0),
                    );
                }
            }
        } else {
            let reach = (stamp.width.max(stamp.height) / 24).max(1) as isize;
            let mut offset = || dice.whole(0, 2 * reach as usize) as isize - reach;
            let (right, down) = (x as isize + offset(), y as isize + offset());
            let inside = |value: isize| usize::try_from(value).ok().filter(|&value| value < self.size);
            for row in -reach..stamp.height as isize + reach {
                for column in -reach..stamp.width as isize + reach {
                    if let (Some(px), Some(py)) = (inside(column + right), inside(row + down)) {
                        let alpha = stamp.soft_alpha(column, row, reach);
                        Self::darken(&mut self.pixels[py * self.size + px], depth * alpha);
                    }
                }
            }
        }
    }

    fn darken(pixel: &mut Rgb, share: f32) {
        let keep = ((1.0 - share) * 256.0) as u32;
        for value in pixel {
            *value = (u32::from(*value) * keep / 256) as u8;
        }
    }

    /// Everything that is known about thing `index`.
    pub(super) fn thing(&self, index: usize, actor: &Actor) -> Thing {
        let placed = &self.placed[index];
        let owner = index as u8 + 1;
        let mask = self.mask(placed, |at| self.owners[at] == owner);
        let parts = actor.kind.parts().iter().enumerate().map(|(part, &named)| ThingPart {
            part: named,
            mask: self
                .mask(placed, |at| self.owners[at] == owner && usize::from(self.labels[at]) == part + 2),
        });
        Thing {
            kind: actor.kind,
            colour: actor.colour,
            pattern: actor.pattern,
            centre: placed.centre,
            area: placed.area as u64,
            bounds: mask.bbox().expect("a thing keeps pixels visible"),
            visible: placed.visible as f32 / placed.area as f32,
            parts: parts.collect(),
            mask,
        }
    }

    /// The pixels of `placed` for which `inside` holds.
    fn mask(&self, placed: &Placed, inside: impl Fn(usize) -> bool) -> Mask {
        let mut mask = Mask::empty(self.size, self.size);
        let ((left, top), (width, height)) = (placed.corner, placed.extent);
        for row in top..top + height {
            let first = row * self.size + left;
            for (at, value) in (first..).zip(&mut mask.data[first..first + width]) {
                *value = u8::from(inside(at));
            }
        }
        mask
    }

    pub(super) fn into_image(self) -> RgbImage {
        let bytes = self.pixels.into_iter().flatten().collect();
        RgbImage::from_raw(self.size as u32, self.size as u32, bytes).expect("three bytes for each pixel")
    }
}
