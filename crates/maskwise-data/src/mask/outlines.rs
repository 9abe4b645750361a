//! Polygons that ReasonSeg's raster turns into exactly the mask they were made from.
//!
//! That raster draws a polygon's outline through the middles of pixels and fills it (spec 6.3), so that a polygon has no holes. A mask
//! is therefore cut into pieces that are one run of pixels wide in each row, and a piece's outline steps from run to run along
//! pixels that both runs have.

use crate::mask::Mask;

/// A run of set pixels in a row: first and last column.
type Run = (usize, usize);

/// A piece: its first row, and its runs from there down, each overlapping the one before.
struct Piece {
    top: usize,
    runs: Vec<Run>,
}

/// The polygons, in pixels, (0, 0) in the middle of the first pixel. A piece of one or two pixels repeats corners, so that each has
/// three.
pub(crate) fn of(mask: &Mask) -> Vec<Vec<[f64; 2]>> {
    pieces(mask).iter().map(outline).collect()
}

fn pieces(mask: &Mask) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    // The runs of the row above, each with the number of its piece.
    let mut above: Vec<(Run, usize)> = Vec::new();
    for (y, row) in mask.data.chunks_exact(mask.width.max(1)).enumerate() {
        let runs = runs(row);
        let mut here = Vec::with_capacity(runs.len());
        for &run in &runs {
            let touching: Vec<&(Run, usize)> =
                above.iter().filter(|(other, _)| overlap(run, *other)).collect();
            let number = match touching[..] {
                [&(other, number)] if runs.iter().filter(|run| overlap(**run, other)).count() == 1 => number,
                _ => {
                    pieces.push(Piece { top: y, runs: Vec::new() });
                    pieces.len() - 1
                }
            };
            pieces[number].runs.push(run);
            here.push((run, number));
        }
        above = here;
    }
    pieces
}

fn runs(row: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (x, _) in row.iter().enumerate().filter(|(_, value)| **value != 0) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == x => *last = x,
            _ => runs.push((x, x)),
        }
    }
    runs
}

fn overlap(one: Run, other: Run) -> bool {
    one.0 <= other.1 && other.0 <= one.1
}

/// Down the right side of a piece and up its left side.
fn outline(piece: &Piece) -> Vec<[f64; 2]> {
    let mut corners: Vec<(usize, usize)> = Vec::new();
    let last = piece.runs.len() - 1;
    let rows = || piece.runs.windows(2).enumerate().map(|(row, pair)| (piece.top + row, pair[0], pair[1]));
    corners.push((piece.runs[0].0, piece.top));
    corners.push((piece.runs[0].1, piece.top));
    for (y, (_, upper), (_, lower)) in rows() {
        // The step is taken in the row that is wider.
        corners.push(if lower > upper { (upper, y + 1) } else { (lower, y) });
        corners.push((lower, y + 1));
    }
    corners.push((piece.runs[last].0, piece.top + last));
    for (y, (upper, _), (lower, _)) in rows().collect::<Vec<_>>().into_iter().rev() {
        corners.push(if lower < upper { (upper, y + 1) } else { (lower, y) });
        corners.push((upper, y));
    }
    let mut kept: Vec<(usize, usize)> = Vec::new();
    for corner in corners {
        if kept.last() == Some(&corner) {
            continue;
        }
        if let [.., before, middle] = kept[..]
            && is_between(before, middle, corner)
        {
            kept.pop();
        }
        kept.push(corner);
    }
    // A polygon is closed without its first corner at its end.
    if kept.len() > 3 && kept.last() == kept.first() {
        kept.pop();
    }
    while kept.len() < 3 {
        kept.push(kept[kept.len() - 1]);
    }
    kept.into_iter().map(|(x, y)| [x as f64, y as f64]).collect()
}

/// Whether `middle` lies on the straight way from one to the other along an axis.
fn is_between(from: (usize, usize), middle: (usize, usize), to: (usize, usize)) -> bool {
    let within = |from: usize, middle: usize, to: usize| {
        (from <= middle && middle <= to) || (to <= middle && middle <= from)
    };
    (from.0 == middle.0 && middle.0 == to.0 && within(from.1, middle.1, to.1))
        || (from.1 == middle.1 && middle.1 == to.1 && within(from.0, middle.0, to.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The pixels whose middles lie on a polygon's outline or inside of it.
    fn fill(polygons: &[Vec<[f64; 2]>], width: usize, height: usize) -> Mask {
        let mut mask = Mask::empty(width, height);
        for (polygon, pixel) in
            polygons.iter().flat_map(|polygon| (0..width * height).map(move |i| (polygon, i)))
        {
            let (x, y) = ((pixel % width) as f64, (pixel / width) as f64);
            let edges = || polygon.iter().zip(polygon.iter().cycle().skip(1));
            let on_edge = edges().any(|(a, b)| {
                let within = |a: f64, b: f64, at: f64| a.min(b) <= at && at <= a.max(b);
                within(a[0], b[0], x) && within(a[1], b[1], y) && (a[0] == b[0] || a[1] == b[1])
            });
            // All edges run along an axis: upright ones to the right count, half a row further down.
            let crossings = |y: f64| {
                edges().filter(|(a, b)| a[0] == b[0] && a[0] > x && (a[1] > y) != (b[1] > y)).count()
            };
            let inside = crossings(y - 0.5) % 2 == 1 && crossings(y + 0.5) % 2 == 1;
            mask.data[pixel] |= u8::from(on_edge || inside);
        }
        mask
    }

    proptest! {
        #[test]
        fn polygons_cover_exactly_the_mask(values in prop::collection::vec(prop::bool::weighted(0.7), 90)) {
            let values: Vec<u8> = values.into_iter().map(u8::from).collect();
            let mask = Mask::from_values(&values, 9, 10).unwrap();
            let polygons = of(&mask);
            prop_assert!(polygons.iter().all(|polygon| polygon.len() >= 3));
            for polygon in &polygons {
                let edges = polygon.iter().zip(polygon.iter().cycle().skip(1));
                for (a, b) in edges {
                    prop_assert!(a[0] == b[0] || a[1] == b[1], "{polygon:?}");
                }
            }
            prop_assert_eq!(fill(&polygons, 10, 9), mask);
        }
    }

    #[test]
    fn a_rectangle_is_one_polygon_of_four_corners() {
        let mut mask = Mask::empty(8, 8);
        (2..5).for_each(|y| mask.data[y * 8 + 1..y * 8 + 6].fill(1));
        assert_eq!(of(&mask), [vec![[1.0, 2.0], [5.0, 2.0], [5.0, 4.0], [1.0, 4.0]]]);
    }
}
