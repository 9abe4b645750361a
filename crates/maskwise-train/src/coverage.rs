use maskwise_data::mask::Mask;

/// The share of each cell of a `grid`² raster that `mask` covers, 0..1, row by row. The raster lies over the mask's central square, which
/// is what CLIP sees of an image.
pub(crate) fn coverage(mask: &Mask, grid: usize) -> Vec<f32> {
    let side = mask.width.min(mask.height);
    let (left, top) = ((mask.width - side) / 2, (mask.height - side) / 2);
    // Cell `c` holds the pixels from `starts[c]` to `starts[c + 1]`.
    let starts: Vec<usize> = (0..=grid).map(|cell| (cell * side).div_ceil(grid)).collect();
    let mut counts = vec![0_u32; grid * grid];
    for (y, row) in mask.data.chunks_exact(mask.width).skip(top).take(side).enumerate() {
        let row = &row[left..left + side];
        // Most rows of most masks are empty, which is seen at a glance.
        if row.iter().all(|value| *value == 0) {
            continue;
        }
        let cells = &mut counts[y * grid / side * grid..][..grid];
        for (cell, span) in cells.iter_mut().zip(starts.windows(2)) {
            *cell += row[span[0]..span[1]].iter().map(|value| u32::from(*value)).sum::<u32>();
        }
    }
    let per_cell = (side * side) as f32 / (grid * grid) as f32;
    counts.iter().map(|count| (*count as f32 / per_cell).min(1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_counts_pixels_of_the_central_square() {
        let mask = Mask::from_values(&[1, 1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 4, 4).unwrap();
        assert_eq!(coverage(&mask, 2), [1.0, 0.25, 0.0, 0.0]);
        let mut wide = Mask::empty(8, 4);
        wide.data[2] = 1;
        wide.data[8] = 1;
        assert_eq!(coverage(&wide, 2), [0.25, 0.0, 0.0, 0.0]);
        // Cells that do not divide the side: pixel x lies in cell ⌊x·grid/side⌋.
        let mut uneven = Mask::empty(5, 5);
        uneven.data[..5].fill(1);
        assert_eq!(coverage(&uneven, 3)[..3], [2.0, 2.0, 1.0].map(|count: f32| count * 9.0 / 25.0));
    }
}
