use super::{Classes, Group};
use crate::coverage::coverage;
use maskwise_data::dataset::SampleRng;
use maskwise_data::image::{PixelValues, PreprocessError};
use maskwise_data::mask::Mask;
use maskwise_data::tabletop::{Scene, Thing};
use maskwise_models::systems::read::{ImageInputs, SamInputs};
use rand::RngExt;
use rand::seq::SliceRandom;

/// A picture as the encoders that learn see it.
#[derive(Clone, Debug)]
pub struct VisionItem {
    /// The item's name in errors.
    pub id: String,
    /// For CLIP.
    pub clip: Option<ClipView>,
    /// For SAM.
    pub sam: Option<SamView>,
}

/// What CLIP sees, and what it is to say of it.
#[derive(Clone, Debug)]
pub struct ClipView {
    /// Its pixels.
    pub pixels: PixelValues,
    /// What its cells show: `grid²` rows of [`Classes::columns`], each group summing to 1.
    pub labels: Vec<f32>,
    /// Things and parts as regions of its cells.
    pub regions: Vec<Region>,
}

/// What SAM sees, and what it is to draw of it.
#[derive(Clone, Debug)]
pub struct SamView {
    /// Its pixels.
    pub inputs: SamInputs,
    /// What its cells show, as for CLIP.
    pub labels: Vec<f32>,
    /// What is to be segmented.
    pub targets: Vec<VisionTarget>,
}

/// What the views of a picture are made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grids {
    /// CLIP's cells along a side.
    pub(super) clip: usize,
    /// SAM's cells along a side.
    pub(super) sam: usize,
}

/// A thing or a part, to be classified as a whole.
#[derive(Clone, Debug)]
pub struct Region {
    /// The share of the region that lies in each of CLIP's cells; they sum to 1.
    pub shares: Vec<f32>,
    /// The class within each group that the region is classified in.
    pub classes: Vec<(Group, usize)>,
}

/// A thing or a part to be segmented.
#[derive(Clone, Debug)]
pub struct VisionTarget {
    /// Its name, among [`Classes::texts`].
    pub text: usize,
    /// Its pixels.
    pub mask: Mask,
    /// What stands in for the similarity of `[SEG]` with the image tokens: the share of each of CLIP's cells that it covers,
    /// blurred and noisy.
    pub similarity: Vec<f32>,
    /// Whether the mask decoder is told the name.
    pub with_text: bool,
    /// Whether it is given points.
    pub with_points: bool,
}

/// Fewest visible pixels of something to be segmented.
const SMALLEST: u64 = 16;
/// Share of targets that are prompted by points alone, and by text alone.
const ONE_PROMPT: f32 = 0.12;

impl ClipView {
    /// Labels `scene`.
    ///
    /// # Errors
    /// When the picture cannot be preprocessed.
    pub(super) fn new(
        scene: &Scene,
        inputs: &ImageInputs,
        grids: Grids,
        classes: &Classes,
    ) -> Result<Self, PreprocessError> {
        let covered = Covered::new(scene, grids.clip);
        let pixels = inputs.for_language(&scene.image)?;
        Ok(Self { pixels, labels: covered.labels(scene, classes), regions: covered.regions(scene, classes) })
    }
}

impl SamView {
    /// Labels `scene` and draws at most `most_targets` targets.
    ///
    /// # Errors
    /// When the picture cannot be preprocessed.
    pub(super) fn new(
        scene: &Scene,
        inputs: &ImageInputs,
        grids: Grids,
        most_targets: usize,
        classes: &Classes,
        rng: &mut SampleRng,
    ) -> Result<Self, PreprocessError> {
        let mut candidates = Vec::new();
        for thing in &scene.things {
            candidates.push((classes.kind_text(thing.kind), &thing.mask));
            for (index, part) in thing.parts.iter().enumerate() {
                candidates.push((classes.part_text(thing.kind, index), &part.mask));
            }
        }
        candidates.retain(|(_, mask)| mask.area() >= SMALLEST);
        candidates.shuffle(rng);
        candidates.truncate(most_targets);
        let targets = candidates.into_iter().map(|(text, mask)| {
            let prompt: f32 = rng.random();
            VisionTarget {
                text,
                mask: mask.clone(),
                similarity: similarity(mask, grids.clip, rng),
                with_text: prompt >= ONE_PROMPT,
                with_points: prompt < 1.0 - ONE_PROMPT,
            }
        });
        let targets = targets.collect();
        let labels = Covered::new(scene, grids.sam).labels(scene, classes);
        Ok(Self { inputs: inputs.for_masks(&scene.image)?, labels, targets })
    }
}

/// The share of each cell that each thing and each of its parts covers.
struct Covered {
    grid: usize,
    things: Vec<(Vec<f32>, Vec<Vec<f32>>)>,
}

impl Covered {
    fn new(scene: &Scene, grid: usize) -> Self {
        let of_thing = |thing: &Thing| {
            let parts = thing.parts.iter().map(|part| coverage(&part.mask, grid)).collect();
            (coverage(&thing.mask, grid), parts)
        };
        Self { grid, things: scene.things.iter().map(of_thing).collect() }
    }

    /// `grid²` rows of class shares.
    fn labels(&self, scene: &Scene, classes: &Classes) -> Vec<f32> {
        let columns = classes.columns();
        let mut labels = vec![0.0; self.grid * self.grid * columns];
        let mut add = |column: usize, shares: &[f32]| {
            for (cell, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
                labels[cell * columns + column] += share;
            }
        };
        for (thing, (shares, parts)) in scene.things.iter().zip(&self.things) {
            add(classes.start(Group::Kind) + classes.kind(thing.kind), shares);
            add(classes.start(Group::Colour) + classes.colour(thing.colour), shares);
            add(classes.start(Group::Pattern) + classes.pattern(thing.pattern), shares);
            for (index, shares) in parts.iter().enumerate() {
                add(classes.start(Group::Part) + classes.part(thing.kind, index), shares);
            }
        }
        for row in labels.chunks_exact_mut(columns) {
            for group in Group::ALL {
                let group = &mut row[classes.start(group)..][..classes.count(group)];
                let covered: f32 = group.iter().sum();
                // Parts may overlap: their shares are scaled to what is there.
                group.iter_mut().for_each(|share| *share /= covered.max(1.0));
                group[0] = (1.0 - covered).max(0.0);
            }
        }
        labels
    }

    /// The visible things and parts.
    fn regions(&self, scene: &Scene, classes: &Classes) -> Vec<Region> {
        let mut regions = Vec::new();
        let mut add = |mask: &Mask, shares: &[f32], of: Vec<(Group, usize)>| {
            if mask.area() >= SMALLEST {
                let total: f32 = shares.iter().sum::<f32>().max(f32::MIN_POSITIVE);
                let shares = shares.iter().map(|share| share / total).collect();
                regions.push(Region { shares, classes: of });
            }
        };
        for (thing, (shares, parts)) in scene.things.iter().zip(&self.things) {
            let of = vec![
                (Group::Kind, classes.kind(thing.kind)),
                (Group::Colour, classes.colour(thing.colour)),
                (Group::Pattern, classes.pattern(thing.pattern)),
            ];
            add(&thing.mask, shares, of);
            for (index, (part, shares)) in thing.parts.iter().zip(parts).enumerate() {
                add(&part.mask, shares, vec![(Group::Part, classes.part(thing.kind, index))]);
            }
        }
        regions
    }
}

/// A similarity map as a language model might give it.
fn similarity(mask: &Mask, grid: usize, rng: &mut SampleRng) -> Vec<f32> {
    let mut map = coverage(mask, grid);
    let highest = map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    map.iter_mut().for_each(|value| *value /= highest);
    if rng.random_bool(0.5) {
        map = blurred(&map, grid);
    }
    let noise: f32 = rng.random_range(0.0..0.4);
    map.iter().map(|value| value + noise * (rng.random::<f32>() + rng.random::<f32>() - 1.0)).collect()
}

/// The mean over each cell and its neighbours, the cell itself counted thrice.
fn blurred(map: &[f32], grid: usize) -> Vec<f32> {
    let blur = |cell: usize| {
        let (row, column) = (cell / grid, cell % grid);
        let (mut sum, mut count) = (2.0 * map[cell], 2.0);
        for y in row.saturating_sub(1)..=(row + 1).min(grid - 1) {
            for x in column.saturating_sub(1)..=(column + 1).min(grid - 1) {
                sum += map[y * grid + x];
                count += 1.0;
            }
        }
        sum / count
    };
    (0..grid * grid).map(blur).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use maskwise_data::tabletop::SceneConfig;
    use rand::SeedableRng;

    #[test]
    fn labels_sum_to_one_in_each_group() {
        let classes = Classes::default();
        let mut rng = SampleRng::seed_from_u64(5);
        let scene = Scene::draw(&mut rng, &SceneConfig::default()).unwrap();
        let labels = Covered::new(&scene, 12).labels(&scene, &classes);
        for row in labels.chunks_exact(classes.columns()) {
            for group in Group::ALL {
                let group = &row[classes.start(group)..][..classes.count(group)];
                assert!((group.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{group:?}");
            }
        }
        let kinds: f32 = labels.chunks_exact(classes.columns()).map(|row| 1.0 - row[0]).sum();
        let covered: u64 = scene.things.iter().map(|thing| thing.mask.area()).sum();
        let cell = (256.0 / 12.0_f32).powi(2);
        assert!((kinds * cell / covered as f32 - 1.0).abs() < 0.05, "{kinds} cells, {covered} pixels");
    }
}
