use super::super::{Pattern, colour::Rgb, colour::luminance, colour::mix};
use super::sketch::{Ink, Layer, Mode, Sketch};
use super::{Dice, cos, sin};
use maskwise_kernels::vectorized;
use std::f32::consts::TAU;
use tiny_skia::{FillRule, LineJoin, Mask, Path, PathBuilder, PathSegment, Point, Stroke, Transform};

/// The line around shapes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::tabletop) enum Line {
    /// None.
    None,
    /// Of this width in pixels, along the shape.
    Even(f32),
    /// Of about this width in pixels, strayed from the shape.
    Sketchy(f32),
}

/// How a hand draws.
#[derive(Clone, Debug)]
pub(in crate::tabletop) struct Style {
    pub(in crate::tabletop) line: Line,
    /// Black lines instead of darker shades of what they surround.
    pub(in crate::tabletop) black_line: bool,
    /// How far points stray, in units of the sketch.
    pub(in crate::tabletop) wobble: f32,
    /// Change of brightness from the middle to an edge, 0..1.
    pub(in crate::tabletop) shading: f32,
    /// Direction of the light in radians.
    pub(in crate::tabletop) light: f32,
    /// Change of brightness from pixel to pixel, 0..1.
    pub(in crate::tabletop) grain: f32,
}

/// What a sketch is drawn with.
#[derive(Clone, Copy, Debug)]
pub(in crate::tabletop) struct Coat {
    pub(in crate::tabletop) body: Rgb,
    pub(in crate::tabletop) second: Rgb,
    pub(in crate::tabletop) pattern: Pattern,
}

/// How a sketch is laid on paper.
#[derive(Clone, Copy, Debug)]
pub(in crate::tabletop) struct Pose {
    /// The longest side in pixels.
    pub(in crate::tabletop) longest: f32,
    /// Turn in radians.
    pub(in crate::tabletop) angle: f32,
    pub(in crate::tabletop) mirrored: bool,
    /// Width over height, relative to the sketch's.
    pub(in crate::tabletop) stretch: f32,
}

/// Whose a pixel of a stamp is: 0 nobody's, 1 the thing's, 2 + i that of part i of the thing.
pub(in crate::tabletop) type Label = u8;

/// A drawn thing, cut out.
#[derive(Clone, Debug)]
pub(in crate::tabletop) struct Stamp {
    pub(in crate::tabletop) width: usize,
    pub(in crate::tabletop) height: usize,
    /// Red, green, blue, each times alpha, and alpha.
    pub(in crate::tabletop) pixels: Vec<[u8; 4]>,
    /// Not 0 where alpha is 128 or more.
    pub(in crate::tabletop) labels: Vec<Label>,
}

impl Stamp {
    /// Draws `sketch`.
    pub(in crate::tabletop) fn draw(
        dice: &mut Dice,
        sketch: &Sketch,
        coat: Coat,
        pose: Pose,
        style: &Style,
    ) -> Stamp {
        let hand = Hand::new(dice, style.wobble, 60.0);
        let stray = Hand::new(dice, 0.8, 24.0);
        let turned = (cos(pose.angle), sin(pose.angle));
        let place = |(x, y): (f32, f32)| {
            let (x, y) = (if pose.mirrored { -x } else { x } * pose.stretch, y);
            (turned.0 * x - turned.1 * y, turned.1 * x + turned.0 * y)
        };
        let paths: Vec<Path> = sketch
            .layers
            .iter()
            .map(|layer| {
                let strays = layer.mode == Mode::Outline && matches!(style.line, Line::Sketchy(_));
                map(&layer.path, |point| place(hand.draw(if strays { stray.draw(point) } else { point })))
            })
            .collect();
        let line = match style.line {
            Line::None => 0.0,
            Line::Even(width) | Line::Sketchy(width) => width,
        };
        let bounds =
            Bounds::of(sketch.layers.iter().zip(&paths).filter(|(layer, _)| layer.mode == Mode::Fill));
        let scale = ((pose.longest - 2.0 * line) / bounds.longest()).max(0.01);
        let margin = line + 2.0;
        let mut stamp = Stamp::empty(
            ((bounds.right - bounds.left) * scale + 2.0 * margin).ceil() as usize,
            ((bounds.bottom - bounds.top) * scale + 2.0 * margin).ceil() as usize,
        );
        let to_pixels = |(x, y)| ((x - bounds.left) * scale + margin, (y - bounds.top) * scale + margin);
        let mut brush = Brush::new(dice, &stamp, coat, style, pose);
        for (layer, path) in sketch.layers.iter().zip(&paths) {
            let path = map(path, to_pixels);
            if layer.mode != Mode::Outline {
                brush.paint(&mut stamp, layer, &path);
            } else if line > 0.0 {
                let stroke = Stroke { width: 2.0 * line, line_join: LineJoin::Round, ..Stroke::default() };
                if let Some(path) = path.stroke(&stroke, 1.0) {
                    brush.paint(&mut stamp, layer, &path);
                }
            }
        }
        stamp.claim_edges();
        stamp
    }

    fn empty(width: usize, height: usize) -> Stamp {
        Stamp { width, height, pixels: vec![[0; 4]; width * height], labels: vec![0; width * height] }
    }

    /// Labels agree with alpha: shapes that meet may cover a pixel by half only together.
    fn claim_edges(&mut self) {
        for (pixel, label) in self.pixels.iter().zip(&mut self.labels) {
            match (pixel[3] >= 128, *label) {
                (true, 0) => *label = 1,
                (false, _) => *label = 0,
                _ => {}
            }
        }
    }

    /// Number of pixels that are the thing's.
    pub(in crate::tabletop) fn area(&self) -> usize {
        self.labels.iter().filter(|&&label| label != 0).count()
    }

    fn covers(&self, x: isize, y: isize) -> bool {
        let inside = (0..self.width as isize).contains(&x) && (0..self.height as isize).contains(&y);
        inside && self.labels[y as usize * self.width + x as usize] != 0
    }

    /// Pixels of the thing that border on others, a hundred or a few more.
    pub(in crate::tabletop) fn edge(&self) -> Vec<(usize, usize)> {
        let (width, height) = (self.width as isize, self.height as isize);
        let on_edge = |&(x, y): &(isize, isize)| {
            let beside = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)];
            self.covers(x, y) && !beside.iter().all(|&(x, y)| self.covers(x, y))
        };
        let all = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).filter(on_edge);
        let edge: Vec<(usize, usize)> = all.map(|(x, y)| (x as usize, y as usize)).collect();
        edge.iter().step_by((edge.len() / 100).max(1)).copied().collect()
    }

    /// Share of the thing within `reach` pixels of `(x, y)`, 0..1, roughly.
    pub(in crate::tabletop) fn soft_alpha(&self, x: isize, y: isize, reach: isize) -> f32 {
        let near = [-1, 0, 1].map(|dy| [-1, 0, 1].map(|dx| self.covers(x + dx * reach, y + dy * reach)));
        near.as_flattened().iter().filter(|&&covers| covers).count() as f32 / 9.0
    }
}

/// A smooth displacement of the plane, so that what touches stays together.
struct Hand {
    amplitude: f32,
    waves: [(f32, f32); 4],
}

impl Hand {
    fn new(dice: &mut Dice, amplitude: f32, length: f32) -> Hand {
        Hand {
            amplitude,
            waves: std::array::from_fn(|_| (TAU / dice.about(length, 0.3), dice.between(0.0, TAU))),
        }
    }

    fn draw(&self, (x, y): (f32, f32)) -> (f32, f32) {
        let [a, b, c, d] = self.waves.map(|(frequency, phase)| move |at: f32| sin(at * frequency + phase));
        (x + self.amplitude * (a(y) + 0.6 * b(x)), y + self.amplitude * (c(x) + 0.6 * d(y)))
    }
}

/// Applies `change` to every point of `path`.
fn map(path: &Path, change: impl Fn((f32, f32)) -> (f32, f32)) -> Path {
    let move_point = |point: Point| {
        let (x, y) = change((point.x, point.y));
        Point::from_xy(x, y)
    };
    let mut mapped = PathBuilder::with_capacity(path.verbs().len(), path.points().len());
    for segment in path.segments() {
        match segment {
            PathSegment::MoveTo(p) => {
                let p = move_point(p);
                mapped.move_to(p.x, p.y);
            }
            PathSegment::LineTo(p) => {
                let p = move_point(p);
                mapped.line_to(p.x, p.y);
            }
            PathSegment::QuadTo(p, q) => {
                let (p, q) = (move_point(p), move_point(q));
                mapped.quad_to(p.x, p.y, q.x, q.y);
            }
            PathSegment::CubicTo(p, q, r) => {
                let (p, q, r) = (move_point(p), move_point(q), move_point(r));
                mapped.cubic_to(p.x, p.y, q.x, q.y, r.x, r.y);
            }
            PathSegment::Close => mapped.close(),
        }
    }
    mapped.finish().unwrap_or_else(|| path.clone())
}

struct Bounds {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

impl Bounds {
    fn of<'a>(layers: impl Iterator<Item = (&'a Layer, &'a Path)>) -> Bounds {
        let mut bounds = Bounds { left: f32::MAX, top: f32::MAX, right: f32::MIN, bottom: f32::MIN };
        for (_, path) in layers {
            let shape = path.compute_tight_bounds().unwrap_or(path.bounds());
            bounds.left = bounds.left.min(shape.left());
            bounds.top = bounds.top.min(shape.top());
            bounds.right = bounds.right.max(shape.right());
            bounds.bottom = bounds.bottom.max(shape.bottom());
        }
        bounds
    }

    fn longest(&self) -> f32 {
        (self.right - self.left).max(self.bottom - self.top).max(1.0)
    }
}

/// Paints shapes onto a stamp.
struct Brush {
    coverage: Mask,
    /// A row of it, while it is painted.
    covered: Vec<u8>,
    coat: Coat,
    style: Style,
    middle: (f32, f32),
    /// Brightness gained per pixel to the right and downwards.
    slope: (f32, f32),
    /// Periods of the pattern per pixel to the right and downwards; the second axis stands upright on the first.
    weave: (f32, f32),
    grain_seed: u32,
}

impl Brush {
    fn new(dice: &mut Dice, stamp: &Stamp, coat: Coat, style: &Style, pose: Pose) -> Brush {
        let period = dice.between(0.13, 0.2) * pose.longest;
        let angle =
            dice.pick(&[0.0, TAU / 4.0, TAU / 8.0, -TAU / 8.0]) + dice.between(-0.12, 0.12) + pose.angle;
        let rate = style.shading / (pose.longest / 2.0);
        Brush {
            coverage: Mask::new(stamp.width as u32, stamp.height as u32).expect("a stamp has pixels"),
            covered: Vec::new(),
            coat,
            style: style.clone(),
            middle: (stamp.width as f32 / 2.0, stamp.height as f32 / 2.0),
            slope: (rate * cos(style.light), rate * sin(style.light)),
            weave: (cos(angle) / period.max(5.0), sin(angle) / period.max(5.0)),
            grain_seed: dice.whole(0, 1 << 24) as u32,
        }
    }

    fn paint(&mut self, stamp: &mut Stamp, layer: &Layer, path: &Path) {
        let clip = |value: f32, size: usize| value.clamp(0.0, size as f32) as usize;
        let bounds = path.bounds();
        let (left, right) =
            (clip(bounds.left().floor(), stamp.width), clip(bounds.right().ceil() + 1.0, stamp.width));
        let (top, bottom) =
            (clip(bounds.top().floor(), stamp.height), clip(bounds.bottom().ceil() + 1.0, stamp.height));
        self.coverage.fill_path(path, FillRule::Winding, true, Transform::identity());
        let ink = self.ink(layer);
        let patterned =
            matches!((layer.ink, layer.mode), (Ink::Body, Mode::Fill)) && self.coat.pattern != Pattern::Plain;
        let mut coverage = std::mem::take(&mut self.covered);
        vectorized(
            #[inline(always)]
            || {
                for y in top..bottom {
                    let row = y * stamp.width;
                    coverage.clear();
                    coverage.extend_from_slice(&self.coverage.data()[row + left..row + right]);
                    self.coverage.data_mut()[row + left..row + right].fill(0);
                    for (x, &covered) in (left..right).zip(&coverage) {
                        if covered == 0 {
                            continue;
                        }
                        let ink = if patterned { self.weave(x, y) } else { ink };
                        self.blend(stamp, row + x, layer, covered, self.light(ink, x, y));
                    }
                }
            },
        );
        self.covered = coverage;
    }

    fn ink(&self, layer: &Layer) -> Rgb {
        let ink = layer.ink.resolve(self.coat.body);
        match layer.mode {
            Mode::Fill | Mode::Mark => ink,
            Mode::Outline if self.style.black_line => [28, 26, 30],
            // A line of its own shade must stand out from dark shapes, too.
            Mode::Outline if luminance(ink) < 50.0 => mix(ink, [255; 3], 0.35),
            Mode::Outline => mix(ink, [0; 3], 0.55),
        }
    }

    #[inline(always)]
    fn weave(&self, x: usize, y: usize) -> Rgb {
        let (x, y) = (x as f32 - self.middle.0, y as f32 - self.middle.1);
        let (u, v) = (x * self.weave.0 + y * self.weave.1, y * self.weave.0 - x * self.weave.1);
        let pixel = (self.weave.0 * self.weave.0 + self.weave.1 * self.weave.1).sqrt();
        mix(self.coat.body, self.coat.second, self.coat.pattern.second(u, v, pixel))
    }

    #[inline(always)]
    fn light(&self, ink: Rgb, x: usize, y: usize) -> Rgb {
        let mut gain =
            1.0 + (x as f32 - self.middle.0) * self.slope.0 + (y as f32 - self.middle.1) * self.slope.1;
        if self.style.grain > 0.0 {
            gain += self.style.grain * (hash(self.grain_seed, x as u32, y as u32) - 0.5);
        }
        ink.map(|value| (f32::from(value) * gain).clamp(0.0, 255.0) as u8)
    }

    #[inline(always)]
    fn blend(&self, stamp: &mut Stamp, index: usize, layer: &Layer, covered: u8, ink: Rgb) {
        let pixel = &mut stamp.pixels[index];
        let times = |a: u8, b: u8| ((u32::from(a) * u32::from(b) + 127) / 255) as u8;
        let mark = layer.mode == Mode::Mark;
        let laid = if mark { times(covered, pixel[3]) } else { covered };
        for (value, ink) in pixel.iter_mut().zip(ink) {
            *value = times(ink, laid).saturating_add(times(*value, 255 - covered));
        }
        if !mark {
            pixel[3] = covered.saturating_add(times(pixel[3], 255 - covered));
        }
        if laid >= 128 && !(mark && layer.part.is_none()) {
            stamp.labels[index] = layer.part.map_or(1, |part| part as Label + 2);
        }
    }
}

/// A number in 0..1 that looks random, for a pixel.
#[inline(always)]
pub(in crate::tabletop) fn hash(seed: u32, x: u32, y: u32) -> f32 {
    let mut bits = seed ^ x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x2C1B_3C6D);
    bits = (bits ^ (bits >> 12)).wrapping_mul(0x297A_2D39);
    ((bits ^ (bits >> 15)) >> 8) as f32 / (1 << 24) as f32
}
