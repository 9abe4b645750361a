use maskwise_data::mask::Mask;

/// The share of each cell of a `grid`² raster that `mask` covers, 0..1, row by row. The raster lies over the mask's central square, which
/// is what CLIP sees of an image.
pub(crate) fn coverage(mask: &Mask, grid: usize) -> Vec<f32> {
    let side = mask.width.min(mask.height);
    let (left, top) = ((mask.width - side) / 2, (mask.height - side) / 2);
    let mut counts = vec![0.0_f32; grid * grid];
    for (y, row) in mask.data.chunks_exact(mask.width).skip(top).take(side).enumerate() {
        let cells = &mut counts[y * grid / side * grid..][..grid];
        for (x, value) in row[left..left + side].iter().enumerate().filter(|(_, value)| **value != 0) {
            cells[x * grid / side] += f32::from(*value);
        }
    }
    let per_cell = (side * side) as f32 / (grid * grid) as f32;
    counts.iter().map(|count| (count / per_cell).min(1.0)).collect()
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
    }
}
