//! COCO's rasterising of a polygon into run lengths.
//!
//! The outline is drawn on a five times finer grid. Wherever it passes from one fine column to the next at the
//! centre of a pixel column, the row at which it crosses is noted; the sorted crossings of all columns are the
//! places where the column-major run changes between zeros and ones.

use super::RleError;

/// How much finer the grid of the outline is.
const SCALE: f64 = 5.0;

/// Bound on coordinates: the work grows with the length of the outline.
const MAX_COORDINATE: f64 = 1e6;

pub(super) fn fill(coordinates: &[f64], height: usize, width: usize) -> Result<Vec<u32>, RleError> {
    check(coordinates)?;
    // Casts truncate toward zero, also below zero, as in the COCO API.
    let vertices: Vec<(i64, i64)> = coordinates
        .chunks_exact(2)
        .map(|point| ((SCALE * point[0] + 0.5) as i64, (SCALE * point[1] + 0.5) as i64))
        .collect();

    let mut positions = Vec::new();
    let mut previous: Option<(i64, i64)> = None;
    for index in 0..vertices.len() {
        let next = vertices[(index + 1) % vertices.len()];
        trace_edge(vertices[index], next, |point| {
            if let Some(crossing) = previous.and_then(|previous| crossing(previous, point, height, width)) {
                positions.push(crossing);
            }
            previous = Some(point);
        });
    }
    positions.push((height * width) as u64);
    positions.sort_unstable();
    Ok(runs_between(&positions))
}

fn check(coordinates: &[f64]) -> Result<(), RleError> {
    if coordinates.is_empty() || !coordinates.len().is_multiple_of(2) {
        return Err(RleError::Polygon(format!("{} coordinates are no list of points", coordinates.len())));
    }
    match coordinates.iter().find(|value| value.is_nan() || value.abs() > MAX_COORDINATE) {
        Some(value) => Err(RleError::Polygon(format!("coordinate {value} is beyond ±{MAX_COORDINATE}"))),
        None => Ok(()),
    }
}

/// Visits the fine grid points of the edge from `start` to `end`, both included, in this order.
fn trace_edge(start: (i64, i64), end: (i64, i64), mut visit: impl FnMut((i64, i64))) {
    let (dx, dy) = ((end.0 - start.0).abs(), (end.1 - start.1).abs());
    let flat = dx >= dy;
    // The line is computed from its lower end, whichever way it is walked, so that both ways agree.
    let flip = if flat { start.0 > end.0 } else { start.1 > end.1 };
    let (low, high) = if flip { (end, start) } else { (start, end) };
    let length = dx.max(dy);
    let slope = if length == 0 {
        0.0
    } else if flat {
        (high.1 - low.1) as f64 / dx as f64
    } else {
        (high.0 - low.0) as f64 / dy as f64
    };
    for step in 0..=length {
        let along = if flip { length - step } else { step };
        let across = |from: i64| (from as f64 + slope * along as f64 + 0.5) as i64;
        visit(if flat { (along + low.0, across(low.1)) } else { (across(low.0), along + low.1) });
    }
}

/// The column-major position at which the step between two fine points crosses the centre of a pixel column.
fn crossing(previous: (i64, i64), point: (i64, i64), height: usize, width: usize) -> Option<u64> {
    if point.0 == previous.0 {
        return None;
    }
    let column = if point.0 < previous.0 { point.0 } else { point.0 - 1 };
    let column = (column as f64 + 0.5) / SCALE - 0.5;
    if column.floor() != column || column < 0.0 || column > width as f64 - 1.0 {
        return None;
    }
    let row = (point.1.min(previous.1) as f64 + 0.5) / SCALE - 0.5;
    let row = row.clamp(0.0, height as f64).ceil();
    Some(column as u64 * height as u64 + row as u64)
}

/// Run lengths between sorted positions; two equal positions cancel, so that the runs around them join.
fn runs_between(positions: &[u64]) -> Vec<u32> {
    let mut differences = positions.iter().scan(0, |last, &position| {
        let difference = (position - *last) as u32;
        *last = position;
        Some(difference)
    });
    let mut counts: Vec<u32> = differences.next().into_iter().collect();
    while let Some(difference) = differences.next() {
        if difference > 0 {
            counts.push(difference);
        } else if let (Some(joined), Some(last)) = (differences.next(), counts.last_mut()) {
            *last += joined;
        }
    }
    counts
}
