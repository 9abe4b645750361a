//! Connected components of a mask.

use super::{BoundingBox, Mask};

/// Which pixels count as neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Pixels that share an edge.
    Four,
    /// Pixels that share an edge or a corner.
    Eight,
}

/// One connected part of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Number of pixels.
    pub area: u64,
    /// Smallest box around them.
    pub bbox: BoundingBox,
}

/// The connected parts of a mask, in the order in which a row by row scan meets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// Row-major, `width * height`: 0 outside the mask, otherwise the number of the part, from 1.
    pub labels: Vec<u32>,
    /// Part `k` of `labels` is `parts[k - 1]`.
    pub parts: Vec<Component>,
}

impl Components {
    pub(super) fn of(mask: &Mask, connectivity: Connectivity) -> Components {
        let mut components = Components { labels: vec![0; mask.data.len()], parts: Vec::new() };
        let mut stack = Vec::new();
        for start in 0..mask.data.len() {
            if mask.data[start] == 0 || components.labels[start] != 0 {
                continue;
            }
            let part = components.fill(mask, connectivity, start, &mut stack);
            components.parts.push(part);
        }
        components
    }

    /// Labels everything that is connected to the pixel `start` with the next number.
    fn fill(
        &mut self,
        mask: &Mask,
        connectivity: Connectivity,
        start: usize,
        stack: &mut Vec<usize>,
    ) -> Component {
        let label = self.parts.len() as u32 + 1;
        let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, usize::MAX, 0);
        let mut area = 0;
        self.labels[start] = label;
        stack.push(start);
        while let Some(index) = stack.pop() {
            let (x, y) = (index % mask.width, index / mask.width);
            area += 1;
            (left, right) = (left.min(x), right.max(x));
            (top, bottom) = (top.min(y), bottom.max(y));
            for next_y in y.saturating_sub(1)..=(y + 1).min(mask.height - 1) {
                for next_x in x.saturating_sub(1)..=(x + 1).min(mask.width - 1) {
                    let next = next_y * mask.width + next_x;
                    let diagonal = next_x != x && next_y != y;
                    if mask.data[next] == 0
                        || self.labels[next] != 0
                        || (diagonal && connectivity == Connectivity::Four)
                    {
                        continue;
                    }
                    self.labels[next] = label;
                    stack.push(next);
                }
            }
        }
        let bbox = BoundingBox { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
        Component { area, bbox }
    }

    /// The pixels of part `number` (from 1) as a mask of `width` columns.
    pub fn mask(&self, number: u32, width: usize) -> Mask {
        let data: Vec<u8> = self.labels.iter().map(|&label| u8::from(label == number)).collect();
        let height = data.len().checked_div(width).unwrap_or(0);
        Mask { width, height, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_join_only_with_eight_neighbours() {
        let mask = Mask::from_values(&[1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0], 3, 4).unwrap();
        let four = mask.components(Connectivity::Four);
        assert_eq!(four.labels, [1, 0, 0, 2, 0, 3, 0, 2, 0, 0, 4, 0]);
        assert_eq!(
            four.parts[1],
            Component { area: 2, bbox: BoundingBox { x: 3, y: 0, width: 1, height: 2 } }
        );
        assert_eq!(four.mask(2, 4).area(), 2);
        let eight = mask.components(Connectivity::Eight);
        assert_eq!(eight.parts.len(), 1);
        assert_eq!(eight.parts[0].area, 5);
        assert!(Mask::empty(0, 0).components(Connectivity::Eight).parts.is_empty());
    }
}
