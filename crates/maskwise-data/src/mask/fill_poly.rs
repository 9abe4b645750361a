//! OpenCV's `fillPoly` on integer points (line type 8, shift 0), pixel for pixel as release 4.8 fills.
//!
//! ReasonSeg's masks are defined by it (spec 6.3). Each edge is drawn as a Bresenham line, and each row is filled between its
//! crossings by the even-odd rule in 16-bit fixed point. Edges inside of the image have their crossings rounded. An edge that leaves
//! it is first clipped in whole pixels, which changes its slope a little, and its crossings are truncated.

/// Bits of a crossing's fraction.
const SHIFT: u32 = 16;
/// Largest coordinate that does not overflow; far beyond any image.
pub(crate) const MAX_COORDINATE: i64 = 1 << 20;

/// A canvas of row-major values.
pub(crate) struct Canvas<'a> {
    /// `width * height` values.
    pub(crate) values: &'a mut [u8],
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// An edge that goes down, from row `top` up to but not including row `bottom`.
struct Edge {
    top: i64,
    bottom: i64,
    /// Fixed-point column at `top`, and its change from row to row.
    x: i64,
    slope: i64,
}

impl Canvas<'_> {
    /// Sets the pixels of a polygon, its outline included, to `value`. Points are (column, row) within ±[`MAX_COORDINATE`].
    pub(crate) fn fill_poly(&mut self, points: &[(i64, i64)], value: u8) {
        let mut edges = Vec::with_capacity(points.len());
        for (index, &end) in points.iter().enumerate() {
            let start = points[(index + points.len() - 1) % points.len()];
            let (clipped_start, clipped_end, visible) = self.clip(start, end);
            if visible {
                self.line(clipped_start, clipped_end, value);
            }
            let clipped = (clipped_start.1 != clipped_end.1).then_some((clipped_start, clipped_end));
            edges.extend(match self.holds(start) && self.holds(end) {
                true => edge(start, end, (start, end), 1 << (SHIFT - 1)),
                false => edge(start, end, clipped.unwrap_or((start, end)), 0),
            });
        }
        self.fill(&edges, value);
    }

    fn holds(&self, point: (i64, i64)) -> bool {
        (0..self.width as i64).contains(&point.0) && (0..self.height as i64).contains(&point.1)
    }

    fn fill(&mut self, edges: &[Edge], value: u8) {
        let top = edges.iter().map(|edge| edge.top).min().unwrap_or(0).max(0);
        let bottom = edges.iter().map(|edge| edge.bottom).max().unwrap_or(0).min(self.height as i64);
        for y in top..bottom {
            let active = edges.iter().filter(|edge| (edge.top..edge.bottom).contains(&y));
            let mut crossings: Vec<i64> = active.map(|edge| edge.x + (y - edge.top) * edge.slope).collect();
            crossings.sort_unstable();
            for pair in crossings.chunks_exact(2) {
                let first = (pair[0] >> SHIFT).max(0);
                let last = (pair[1] >> SHIFT).min(self.width as i64 - 1);
                if first <= last {
                    let row = y as usize * self.width;
                    self.values[row + first as usize..=row + last as usize].fill(value);
                }
            }
        }
    }

    /// A line between two points inside of the canvas, from left to right.
    fn line(&mut self, start: (i64, i64), end: (i64, i64), value: u8) {
        let ((mut x, mut y), end) = if end.0 < start.0 { (end, start) } else { (start, end) };
        let (dx, dy) = (end.0 - x, end.1 - y);
        let down = dy.signum();
        let (long, short, steep) = if dy.abs() > dx { (dy.abs(), dx, true) } else { (dx, dy.abs(), false) };
        let mut error = long - 2 * short;
        for _ in 0..=long {
            self.values[y as usize * self.width + x as usize] = value;
            let both = error < 0;
            error += if both { 2 * long - 2 * short } else { -2 * short };
            if both || !steep {
                x += 1;
            }
            if both || steep {
                y += down;
            }
        }
    }

    /// The part of a line inside of the canvas, by whole pixels (Cohen–Sutherland), and whether there is one. Where there is none the
    /// points may have moved nonetheless, as OpenCV's do.
    fn clip(&self, start: (i64, i64), end: (i64, i64)) -> ((i64, i64), (i64, i64), bool) {
        let (right, bottom) = (self.width as i64 - 1, self.height as i64 - 1);
        let beside = |x: i64| u8::from(x < 0) | u8::from(x > right) << 1;
        let outside = |x: i64, y: i64| beside(x) | u8::from(y < 0) << 2 | u8::from(y > bottom) << 3;
        let ((mut x1, mut y1), (mut x2, mut y2)) = (start, end);
        let (mut code1, mut code2) = (outside(x1, y1), outside(x2, y2));
        if code1 & code2 == 0 && code1 | code2 != 0 {
            if code1 & 12 != 0 {
                let border = if code1 < 8 { 0 } else { bottom };
                x1 += (border - y1) * (x2 - x1) / (y2 - y1);
                y1 = border;
                code1 = beside(x1);
            }
            if code2 & 12 != 0 {
                let border = if code2 < 8 { 0 } else { bottom };
                x2 += (border - y2) * (x2 - x1) / (y2 - y1);
                y2 = border;
                code2 = beside(x2);
            }
            if code1 & code2 == 0 && code1 | code2 != 0 {
                if code1 != 0 {
                    let border = if code1 == 1 { 0 } else { right };
                    y1 += (border - x1) * (y2 - y1) / (x2 - x1);
                    x1 = border;
                    code1 = 0;
                }
                if code2 != 0 {
                    let border = if code2 == 1 { 0 } else { right };
                    y2 += (border - x2) * (y2 - y1) / (x2 - x1);
                    x2 = border;
                    code2 = 0;
                }
            }
        }
        ((x1, y1), (x2, y2), code1 | code2 == 0)
    }
}

/// The edge between two points, on the line through two others; none if it is level. `shift` moves it to the right.
fn edge(start: (i64, i64), end: (i64, i64), line: ((i64, i64), (i64, i64)), shift: i64) -> Option<Edge> {
    if start.1 == end.1 {
        return None;
    }
    let (from, to) = line;
    let (top, bottom) = (start.1.min(end.1), start.1.max(end.1));
    let slope = ((to.0 - from.0) << SHIFT) / (to.1 - from.1);
    let upper = if start.1 < end.1 { from } else { to };
    Some(Edge { top, bottom, x: (upper.0 << SHIFT) + shift + (top - upper.1) * slope, slope })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// Numbers that a script in any language can repeat: Knuth's MMIX generator, upper 31 bits.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: i64) -> i64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as i64 % limit
        }
    }

    /// 3,000 random polygons, many of them beyond the image, against `cv2.fillPoly` of PyPI opencv-python-headless 4.8.0.74: the
    /// SHA-256 over all canvases, by `tests/data/mask/fill_poly.py`.
    #[test]
    fn random_polygons_are_filled_as_opencv_fills_them() {
        let mut numbers = Numbers(1);
        let mut hash = Sha256::new();
        for _ in 0..3000 {
            let (width, height) = (1 + numbers.below(60) as usize, 1 + numbers.below(60) as usize);
            let count = 1 + numbers.below(9);
            let spread = 1 + numbers.below(120);
            let mut coordinate = |size: usize| numbers.below(size as i64 + 2 * spread) - spread;
            let points: Vec<(i64, i64)> =
                (0..count).map(|_| (coordinate(width), coordinate(height))).collect();
            let mut values = vec![0; width * height];
            Canvas { values: &mut values, width, height }.fill_poly(&points, 1);
            hash.update(&values);
        }
        let hexadecimal: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hexadecimal, "68623fc455ebc11da146a17d102292697b4744732a39043d46b8c494fc753ab1");
    }
}
