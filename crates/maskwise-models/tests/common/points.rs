//! Comparison of similarity points with recorded ones.

use super::goldens::{Goldens, flat};
use super::{INTERMEDIATE, POINTS};
use candle_core::{Device, Tensor};
use maskwise_models::heads::similarity_points::{SimilarityPoints, full_resolution_map};
use std::collections::BTreeSet;

/// Neighbours closer than this may change places.
const TIE: f32 = 1e-5;

/// The recorded selection: cells with their labels in order, and both kinds of coordinates.
pub(crate) struct RecordedPoints {
    cells: Vec<usize>,
    labels: Vec<i64>,
    discrete: Vec<i64>,
    continuous: Vec<f32>,
}

/// What the tensors of a selection are called, which differs between the sets.
pub(crate) struct Names {
    pub(crate) map: &'static str,
    pub(crate) full: &'static str,
    pub(crate) discrete: &'static str,
    pub(crate) continuous: &'static str,
    pub(crate) labels: &'static str,
}

pub(crate) const SYSTEM_NAMES: Names = Names {
    map: "sim_down_padded",
    full: "sim_full",
    discrete: "points_discrete",
    continuous: "points_continuous",
    labels: "point_labels",
};

pub(crate) const UNIT_NAMES: Names = Names {
    map: "down_padded",
    full: "full",
    discrete: "discrete",
    continuous: "continuous",
    labels: "labels",
};

/// Compares everything recorded of the selection under `prefix`; returns, for each recorded point, which of ours it is.
pub(crate) fn compare_selection(
    goldens: &Goldens,
    prefix: &str,
    names: &Names,
    similarity: &Tensor,
    size: (usize, usize),
    map_size: usize,
    found: &SimilarityPoints,
) -> Vec<usize> {
    let name = |part: &str| format!("{prefix}{part}");
    let map = &found.selection;
    let values = Tensor::from_slice(&map.values, (map.height, map.width), &Device::Cpu).unwrap();
    goldens.compare(&name(names.map), &values, INTERMEDIATE);
    if goldens.has(&name(names.full)) {
        goldens.compare(
            &name(names.full),
            &full_resolution_map(similarity, size, map_size).unwrap(),
            INTERMEDIATE,
        );
    }
    let recorded = RecordedPoints {
        cells: goldens.integers(&name("cell_index")).into_iter().map(|cell| cell as usize).collect(),
        labels: goldens.integers(&name(names.labels)),
        discrete: goldens.integers(&name(names.discrete)),
        continuous: goldens.floats(&name(names.continuous)),
    };
    compare_order(prefix, &goldens.floats(&name(names.map)), &recorded, found);
    compare_coordinates(goldens, prefix, &recorded, found)
}

/// The same (cell, label) pairs; in the same order wherever neighbours are further apart than [`TIE`].
fn compare_order(prefix: &str, map: &[f32], recorded: &RecordedPoints, found: &SimilarityPoints) {
    let ours: Vec<(usize, i64)> =
        found.cells.iter().map(|cell| (cell.index, i64::from(cell.label))).collect();
    let theirs: Vec<(usize, i64)> =
        recorded.cells.iter().copied().zip(recorded.labels.iter().copied()).collect();
    assert_eq!(ours.len(), theirs.len(), "{prefix}: number of points");
    assert_eq!(
        ours.iter().collect::<BTreeSet<_>>(),
        theirs.iter().collect::<BTreeSet<_>>(),
        "{prefix}: selected cells"
    );
    let mut start = 0;
    for end in 1..=theirs.len() {
        // Neutral cells stand in the order of the map, whatever their values.
        let joined = end < theirs.len()
            && theirs[end].1 == theirs[end - 1].1
            && theirs[end].1 >= 0
            && (map[theirs[end].0] - map[theirs[end - 1].0]).abs() <= TIE;
        if !joined {
            let set = |cells: &[(usize, i64)]| cells[start..end].iter().copied().collect::<BTreeSet<_>>();
            assert_eq!(set(&ours), set(&theirs), "{prefix}: order of the points {start}..{end}");
            start = end;
        }
    }
}

fn compare_coordinates(
    goldens: &Goldens,
    prefix: &str,
    recorded: &RecordedPoints,
    found: &SimilarityPoints,
) -> Vec<usize> {
    let ours = flat(&found.coordinates);
    let matched: Vec<usize> = recorded
        .cells
        .iter()
        .map(|cell| found.cells.iter().position(|ours| ours.index == *cell).unwrap())
        .collect();
    for (theirs, &ours_at) in matched.iter().enumerate() {
        let pixel = found.cells[ours_at].pixel;
        for (axis, pixel) in [pixel.0, pixel.1].into_iter().enumerate() {
            let place = 2 * theirs + axis;
            assert_eq!(pixel as i64, recorded.discrete[place], "{prefix}: discrete point {theirs}");
            let error = f64::from((ours[2 * ours_at + axis] - recorded.continuous[place]).abs());
            assert!(error <= POINTS, "{prefix}: point {theirs} is off by {error} px");
            goldens.note("continuous points [px]", error);
            goldens.note(
                "DtoC itself [px]",
                f64::from((recorded.discrete[place] as f32 - recorded.continuous[place]).abs()),
            );
        }
    }
    matched
}

/// The limit on points is only worth something if points left discrete would break it.
pub(crate) fn assert_that_dtoc_matters(goldens: &Goldens) {
    let (moved, error) = (goldens.worst("DtoC itself [px]"), goldens.worst("continuous points [px]"));
    assert!(moved > POINTS, "DtoC moves the recorded points by {moved} px only: its absence would pass");
    assert!(moved > 5.0 * error, "our points are off by {error} px, DtoC moves them by {moved} px");
}
