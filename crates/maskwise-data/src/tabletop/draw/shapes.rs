//! Closed shapes in the units of a sketch, y downwards.

use super::trig::{cos, sin};
use std::f32::consts::PI;
use tiny_skia::{Path, PathBuilder};

type Point = (f32, f32);

/// The point at `radius` from `centre` in the direction `angle`; 0 is right, a quarter turn is down.
pub(in crate::tabletop) fn at(centre: Point, radius: f32, angle: f32) -> Point {
    (centre.0 + radius * cos(angle), centre.1 + radius * sin(angle))
}

/// An ellipse.
pub(in crate::tabletop) fn oval(x: f32, y: f32, rx: f32, ry: f32) -> Path {
    oval_turned(x, y, rx, ry, 0.0)
}

/// An ellipse turned by `angle` radians.
pub(in crate::tabletop) fn oval_turned(x: f32, y: f32, rx: f32, ry: f32, angle: f32) -> Path {
    let mut path = PathBuilder::new();
    push_oval(&mut path, (x, y), (rx, ry), angle, 1.0);
    finish(path)
}

/// An ellipse with an elliptic hole of `share` of its size.
pub(in crate::tabletop) fn ring(x: f32, y: f32, rx: f32, ry: f32, share: f32) -> Path {
    let mut path = PathBuilder::new();
    push_oval(&mut path, (x, y), (rx, ry), 0.0, 1.0);
    push_oval(&mut path, (x, y), (rx * share, ry * share), 0.0, -1.0);
    finish(path)
}

/// Four cubic arcs, clockwise for `direction` 1 and counter-clockwise for -1.
fn push_oval(path: &mut PathBuilder, centre: Point, (rx, ry): Point, angle: f32, direction: f32) {
    const ROUND: f32 = 0.552_284_8;
    let (c, s) = (cos(angle), sin(angle));
    let map = |x: f32, y: f32| {
        let (x, y) = (x * rx, y * ry * direction);
        (centre.0 + c * x - s * y, centre.1 + s * x + c * y)
    };
    let start = map(1.0, 0.0);
    path.move_to(start.0, start.1);
    for (x, y) in [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)] {
        // The quarter from (x, y) to (-y, x).
        let (a, b, end) = (map(x - y * ROUND, y + x * ROUND), map(x * ROUND - y, y * ROUND + x), map(-y, x));
        path.cubic_to(a.0, a.1, b.0, b.1, end.0, end.1);
    }
    path.close();
}

/// A smooth closed curve through `points`.
pub(in crate::tabletop) fn blob(points: &[Point]) -> Path {
    let mut path = PathBuilder::new();
    push_blob(&mut path, points);
    finish(path)
}

/// A smooth closed curve through `points`, which go clockwise, with an elliptic hole of the radii `hole`.
pub(in crate::tabletop) fn holed(points: &[Point], centre: Point, hole: Point) -> Path {
    let mut path = PathBuilder::new();
    push_blob(&mut path, points);
    push_oval(&mut path, centre, hole, 0.0, -1.0);
    finish(path)
}

fn push_blob(path: &mut PathBuilder, points: &[Point]) {
    let n = points.len();
    path.move_to(points[0].0, points[0].1);
    for i in 0..n {
        let [before, from, to, after] =
            [points[(i + n - 1) % n], points[i], points[(i + 1) % n], points[(i + 2) % n]];
        let a = (from.0 + (to.0 - before.0) / 6.0, from.1 + (to.1 - before.1) / 6.0);
        let b = (to.0 - (after.0 - from.0) / 6.0, to.1 - (after.1 - from.1) / 6.0);
        path.cubic_to(a.0, a.1, b.0, b.1, to.0, to.1);
    }
    path.close();
}

/// A polygon. Its sides are cut in three, so that a shaky hand bends them.
pub(in crate::tabletop) fn poly(points: &[Point]) -> Path {
    let mut path = PathBuilder::new();
    path.move_to(points[0].0, points[0].1);
    for (i, &from) in points.iter().enumerate() {
        line_in_thirds(&mut path, from, points[(i + 1) % points.len()]);
    }
    path.close();
    finish(path)
}

/// A polygon with its corners rounded over `radius`.
pub(in crate::tabletop) fn soft_poly(points: &[Point], radius: f32) -> Path {
    let n = points.len();
    let towards = |from: Point, to: Point| {
        let (x, y) = (to.0 - from.0, to.1 - from.1);
        let length = (x * x + y * y).sqrt().max(1e-3);
        let step = radius.min(length * 0.48) / length;
        (from.0 + x * step, from.1 + y * step)
    };
    let mut path = PathBuilder::new();
    let start = towards(points[0], points[1]);
    path.move_to(start.0, start.1);
    let mut from = start;
    for i in 1..=n {
        let (corner, next) = (points[i % n], points[(i + 1) % n]);
        let (enter, leave) = (towards(corner, points[i - 1]), towards(corner, next));
        line_in_thirds(&mut path, from, enter);
        path.quad_to(corner.0, corner.1, leave.0, leave.1);
        from = leave;
    }
    path.close();
    finish(path)
}

fn line_in_thirds(path: &mut PathBuilder, from: Point, to: Point) {
    for third in [1.0 / 3.0, 2.0 / 3.0, 1.0] {
        path.line_to(from.0 + (to.0 - from.0) * third, from.1 + (to.1 - from.1) * third);
    }
}

/// A box from `(left, top)` to `(right, bottom)` with rounded corners.
pub(in crate::tabletop) fn rounded(left: f32, top: f32, right: f32, bottom: f32, radius: f32) -> Path {
    soft_poly(&[(left, top), (right, top), (right, bottom), (left, bottom)], radius)
}

/// A smooth limb through `(x, y, width)` with round ends.
pub(in crate::tabletop) fn tube(spine: &[(f32, f32, f32)]) -> Path {
    const STEPS: usize = 5;
    let clamped = |i: isize| spine[i.clamp(0, spine.len() as isize - 1) as usize];
    let mut centre = Vec::with_capacity(spine.len() * STEPS);
    for i in 0..spine.len() as isize - 1 {
        let [p0, p1, p2, p3] = [clamped(i - 1), clamped(i), clamped(i + 1), clamped(i + 2)];
        for step in 0..STEPS {
            let t = step as f32 / STEPS as f32;
            let curve = |a: f32, b: f32, c: f32, d: f32| {
                b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
            };
            centre.push((
                curve(p0.0, p1.0, p2.0, p3.0),
                curve(p0.1, p1.1, p2.1, p3.1),
                (p1.2 + (p2.2 - p1.2) * t) / 2.0,
            ));
        }
    }
    let last = clamped(spine.len() as isize - 1);
    centre.push((last.0, last.1, last.2 / 2.0));
    let normal = |i: usize| {
        let (a, b) = (centre[i.saturating_sub(1)], centre[(i + 1).min(centre.len() - 1)]);
        let (x, y) = (b.0 - a.0, b.1 - a.1);
        let length = (x * x + y * y).sqrt().max(1e-3);
        (-y / length, x / length)
    };
    let end = |index: usize, side: f32| {
        // Half a circle from one side to the other, around the outside of the end.
        let (x, y, radius) = centre[index];
        let (nx, ny) = normal(index);
        (1..6).map(move |i| {
            let angle = PI * i as f32 / 6.0;
            let (c, s) = (cos(angle) * side * radius, sin(angle) * side * radius);
            (x + nx * c + ny * s, y + ny * c - nx * s)
        })
    };
    let offset = |i: usize, side: f32| {
        let ((x, y, radius), (nx, ny)) = (centre[i], normal(i));
        (x + nx * radius * side, y + ny * radius * side)
    };
    let mut outline: Vec<Point> = (0..centre.len()).map(|i| offset(i, 1.0)).collect();
    outline.extend(end(centre.len() - 1, 1.0));
    outline.extend((0..centre.len()).rev().map(|i| offset(i, -1.0)));
    outline.extend(end(0, -1.0));
    let mut path = PathBuilder::new();
    path.move_to(outline[0].0, outline[0].1);
    for &(x, y) in &outline[1..] {
        path.line_to(x, y);
    }
    path.close();
    finish(path)
}

fn finish(path: PathBuilder) -> Path {
    // Every path here starts with a move and goes on; coordinates are finite by construction.
    path.finish().expect("a shape has two points or more")
}
