//! Masks as polygons along pixel edges, and back.
//!
//! Coordinates are those of pixel *corners*: pixel (column x, row y) is the unit square from (x, y) to
//! (x + 1, y + 1). A traced polygon follows these edges, so it has only horizontal and vertical sides and
//! stands for exactly the mask: [`rasterize`] of [`trace`] gives the mask back, pixel for pixel.
//! Simplified polygons ([`Polygon::simplified`]) have fewer points and no longer do.

use super::{Connectivity, Mask, MaskError};

/// A connected area with holes. Points are `[x, y]` in pixels, rings are closed by themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Polygon {
    /// Outline, clockwise on the screen (y grows downward).
    pub outer: Vec<[f64; 2]>,
    /// Holes, counter-clockwise on the screen.
    pub holes: Vec<Vec<[f64; 2]>>,
}

/// Direction of a step along a pixel edge: right, down, left, up. The mask lies on its right hand.
const STEPS: [(isize, isize); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];

/// Where the mask's pixel lies relative to the start of a step in each direction.
const INSIDE: [(isize, isize); 4] = [(0, 0), (-1, 0), (-1, -1), (0, -1)];

impl Polygon {
    /// The polygon with points left out that lie within `tolerance` pixels of the simplified outline
    /// (Douglas–Peucker); holes that shrink to a line disappear. A tolerance of 0 changes nothing.
    pub fn simplified(&self, tolerance: f64) -> Polygon {
        if tolerance <= 0.0 {
            return self.clone();
        }
        let outer = simplify_ring(&self.outer, tolerance);
        Polygon {
            // An area thinner than the tolerance keeps its full outline rather than vanish.
            outer: if outer.len() < 3 { self.outer.clone() } else { outer },
            holes: self
                .holes
                .iter()
                .map(|hole| simplify_ring(hole, tolerance))
                .filter(|hole| hole.len() >= 3)
                .collect(),
        }
    }

    /// The polygon as one ring, for formats that know no holes.
    ///
    /// Each hole is joined to the outline by a cut that is walked there and back. The two ways cancel, so that
    /// filling the ring (even-odd or non-zero rule) gives the area with its holes.
    pub fn to_single_ring(&self) -> Vec<[f64; 2]> {
        let mut ring = self.outer.clone();
        for hole in &self.holes {
            let Some(&entry) = hole.first() else { continue };
            let squared = |point: &[f64; 2]| (point[0] - entry[0]).powi(2) + (point[1] - entry[1]).powi(2);
            let nearest = (0..ring.len()).min_by(|&a, &b| squared(&ring[a]).total_cmp(&squared(&ring[b])));
            let Some(nearest) = nearest else { continue };
            let detour: Vec<[f64; 2]> = hole.iter().copied().chain([entry, ring[nearest]]).collect();
            ring.splice(nearest + 1..nearest + 1, detour);
        }
        ring
    }
}

/// The outlines of `mask`: one polygon per 4-connected part, in the order of a row by row scan.
pub fn trace(mask: &Mask) -> Vec<Polygon> {
    let components = mask.components(Connectivity::Four);
    let mut polygons = vec![Polygon { outer: Vec::new(), holes: Vec::new() }; components.parts.len()];
    let mut edges = Edges::of(mask);
    for start in 0..edges.bits.len() {
        while edges.bits[start] != 0 {
            let direction = edges.bits[start].trailing_zeros() as usize;
            let (x, y) = (start % edges.stride, start / edges.stride);
            let pixel = y.wrapping_add_signed(INSIDE[direction].1) * mask.width
                + x.wrapping_add_signed(INSIDE[direction].0);
            let polygon = &mut polygons[components.labels[pixel] as usize - 1];
            let ring = edges.follow(x, y, direction);
            if signed_area(&ring) > 0.0 {
                polygon.outer = ring;
            } else {
                polygon.holes.push(ring);
            }
        }
    }
    polygons
}

/// Bits of the boundary steps that leave each pixel corner.
struct Edges {
    bits: Vec<u8>,
    stride: usize,
}

impl Edges {
    fn of(mask: &Mask) -> Edges {
        let stride = mask.width + 1;
        let mut bits = vec![0u8; stride * (mask.height + 1)];
        for y in 0..mask.height {
            for x in 0..mask.width {
                if !mask.get(x, y) {
                    continue;
                }
                if y == 0 || !mask.get(x, y - 1) {
                    bits[y * stride + x] |= 1;
                }
                if !mask.get(x + 1, y) {
                    bits[y * stride + x + 1] |= 2;
                }
                if !mask.get(x, y + 1) {
                    bits[(y + 1) * stride + x + 1] |= 4;
                }
                if x == 0 || !mask.get(x - 1, y) {
                    bits[(y + 1) * stride + x] |= 8;
                }
            }
        }
        Edges { bits, stride }
    }

    /// Walks the ring that begins at corner (x, y) in `first` direction, erases its steps, returns its bends.
    ///
    /// The corner where a scan meets a ring first is its upper left one, hence a bend.
    fn follow(&mut self, x: usize, y: usize, first: usize) -> Vec<[f64; 2]> {
        let start = (x, y);
        let (mut corner, mut direction) = (start, first);
        let mut ring = vec![[x as f64, y as f64]];
        loop {
            self.bits[corner.1 * self.stride + corner.0] &= !(1 << direction);
            corner = (
                corner.0.wrapping_add_signed(STEPS[direction].0),
                corner.1.wrapping_add_signed(STEPS[direction].1),
            );
            // Where two pixels touch at a corner only, turning right stays with the same pixel: the parts of
            // a 4-connected decomposition remain apart.
            let bits = self.bits[corner.1 * self.stride + corner.0];
            let next = [1, 0, 3]
                .map(|turn| (direction + turn) % 4)
                .into_iter()
                .find(|&candidate| bits & (1 << candidate) != 0 || (corner == start && candidate == first));
            match next {
                Some(next) if !(corner == start && next == first) => {
                    if next != direction {
                        ring.push([corner.0 as f64, corner.1 as f64]);
                    }
                    direction = next;
                }
                _ => return ring,
            }
        }
    }
}

/// Twice the area enclosed by `ring`, positive if it runs clockwise on the screen.
fn signed_area(ring: &[[f64; 2]]) -> f64 {
    (0..ring.len())
        .map(|index| {
            let (a, b) = (ring[index], ring[(index + 1) % ring.len()]);
            a[0] * b[1] - b[0] * a[1]
        })
        .sum()
}

/// Fills polygons: a pixel is set if its centre lies inside by the even-odd rule, over all rings together.
///
/// # Errors
/// [`MaskError::NotANumber`] if a coordinate is not finite (the index counts points).
pub fn rasterize(polygons: &[Polygon], height: usize, width: usize) -> Result<Mask, MaskError> {
    let rings = polygons.iter().flat_map(|polygon| std::iter::once(&polygon.outer).chain(&polygon.holes));
    // One more column than the image, for crossings at its right.
    let stride = width + 1;
    let mut toggles = vec![0u8; stride * height];
    for (index, ring) in rings.enumerate() {
        if ring.iter().flatten().any(|value| !value.is_finite()) {
            return Err(MaskError::NotANumber { index });
        }
        for corner in 0..ring.len() {
            toggle_edge(&mut toggles, ring[corner], ring[(corner + 1) % ring.len()], height, width);
        }
    }
    let mut mask = Mask::empty(width, height);
    for y in 0..height {
        let mut inside = 0;
        for x in 0..width {
            inside ^= toggles[y * stride + x];
            mask.data[y * width + x] = inside;
        }
    }
    Ok(mask)
}

/// Marks, in each row whose centre the edge crosses, the first pixel whose centre lies right of the crossing.
fn toggle_edge(toggles: &mut [u8], a: [f64; 2], b: [f64; 2], height: usize, width: usize) {
    let (upper, lower) = if a[1] <= b[1] { (a, b) } else { (b, a) };
    let row = |y: f64| (y - 0.5).ceil().clamp(0.0, height as f64) as usize;
    for y in row(upper[1])..row(lower[1]) {
        let along = (y as f64 + 0.5 - upper[1]) / (lower[1] - upper[1]);
        let x = upper[0] + along * (lower[0] - upper[0]);
        let column = (x - 0.5).ceil().clamp(0.0, width as f64) as usize;
        toggles[y * (width + 1) + column] ^= 1;
    }
}

/// Douglas–Peucker on a closed ring, split at its first point and the point farthest from it.
fn simplify_ring(ring: &[[f64; 2]], tolerance: f64) -> Vec<[f64; 2]> {
    let Some(&first) = ring.first() else { return Vec::new() };
    let distance = |point: &[f64; 2]| (point[0] - first[0]).hypot(point[1] - first[1]);
    let far = (0..ring.len())
        .max_by(|&a, &b| distance(&ring[a]).total_cmp(&distance(&ring[b])))
        .unwrap_or_default();
    let closed: Vec<[f64; 2]> = ring.iter().copied().chain([first]).collect();
    let mut keep = vec![false; closed.len()];
    keep[0] = true;
    keep[far] = true;
    let mut spans = vec![(0, far), (far, closed.len() - 1)];
    while let Some((start, end)) = spans.pop() {
        let farthest = (start + 1..end)
            .map(|index| (index, segment_distance(closed[index], closed[start], closed[end])))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((index, distance)) = farthest
            && distance > tolerance
        {
            keep[index] = true;
            spans.extend([(start, index), (index, end)]);
        }
    }
    (0..ring.len()).filter(|&index| keep[index]).map(|index| ring[index]).collect()
}

fn segment_distance(point: [f64; 2], a: [f64; 2], b: [f64; 2]) -> f64 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let squared = dx * dx + dy * dy;
    let along =
        if squared == 0.0 { 0.0 } else { ((point[0] - a[0]) * dx + (point[1] - a[1]) * dy) / squared };
    let along = along.clamp(0.0, 1.0);
    (point[0] - a[0] - along * dx).hypot(point[1] - a[1] - along * dy)
}
