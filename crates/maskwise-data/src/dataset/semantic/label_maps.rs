//! Datasets whose labels are maps of class numbers: ADE20K, COCO-Stuff, Mapillary.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt;
use serde::Deserialize;

use super::labels::Labels;
use super::{Premise, conversations};
use crate::dataset::files::{decode, has_extension, list, read_bytes, read_json, unreadable};
use crate::dataset::{Composition, DatasetError, SampleRng, TrainingDataset, TrainingItem};
use crate::mask::Mask;

/// Images without any usable label that are drawn in a row before it is an error.
const MOST_ATTEMPTS: usize = 100;

/// Training on label maps.
pub struct LabelMaps {
    name: &'static str,
    classes: Vec<String>,
    /// The class of each sample value; none where it is ignored.
    meaning: Vec<Option<usize>>,
    /// Picture and label map.
    files: Vec<(PathBuf, PathBuf)>,
    composition: Arc<Composition>,
}

impl LabelMaps {
    /// ADE20K in `root/ade20k`: `images/training/*.jpg`, `annotations/training/*.png` (0 is unlabelled) and the names of the classes as
    /// a list in `ade20k_classes.json`, which the LISA repository has in `dataloaders`.
    ///
    /// # Errors
    /// A folder or file that is missing, empty or damaged.
    pub fn ade20k(root: &Path, composition: Arc<Composition>) -> Result<Self, DatasetError> {
        let root = root.join("ade20k");
        let classes: Vec<String> = read_json(&root.join("ade20k_classes.json"))?;
        let images = root.join("images/training");
        let files = pairs(&images, "jpg", |image| {
            (image.clone(), beside(&image, &root.join("annotations/training"), "png"))
        })?;
        let meaning = [None].into_iter().chain((0..classes.len()).map(Some)).collect();
        Ok(Self { name: "ade20k", classes, meaning, files, composition })
    }

    /// COCO-Stuff in `root/cocostuff`: `train2017/*.png` (a value is a class), pictures in `root/coco/train2017`, and the names of the
    /// classes in `cocostuff_classes.txt`, which the LISA repository has in `dataloaders`: a line `0: unlabeled`, then one for each
    /// class. Classes with a hyphen are ignored.
    ///
    /// # Errors
    /// As [`LabelMaps::ade20k`].
    pub fn cocostuff(root: &Path, composition: Arc<Composition>) -> Result<Self, DatasetError> {
        let names = root.join("cocostuff/cocostuff_classes.txt");
        let text =
            String::from_utf8(read_bytes(&names)?).map_err(|_| unreadable(&names, "is not UTF-8 text"))?;
        let name = |line: &str| line.rsplit_once(": ").map_or(line, |(_, name)| name).trim().to_owned();
        let classes: Vec<String> = text.lines().skip(1).map(name).collect();
        let images = root.join("coco/train2017");
        let files =
            pairs(&root.join("cocostuff/train2017"), "png", |map| (beside(&map, &images, "jpg"), map))?;
        let meaning =
            classes.iter().enumerate().map(|(index, name)| (!name.contains('-')).then_some(index)).collect();
        Ok(Self { name: "cocostuff", classes, meaning, files, composition })
    }

    /// Mapillary Vistas 2.0 in `root/mapillary`: `training/v2.0/labels/*.png`, `training/images/*.jpg`, `config_v2.0.json`.
    ///
    /// # Errors
    /// As [`LabelMaps::ade20k`].
    pub fn mapillary(root: &Path, composition: Arc<Composition>) -> Result<Self, DatasetError> {
        #[derive(Deserialize)]
        struct Config {
            labels: Vec<Label>,
        }
        #[derive(Deserialize)]
        struct Label {
            readable: String,
        }
        let root = root.join("mapillary");
        let config: Config = read_json(&root.join("config_v2.0.json"))?;
        let classes: Vec<String> =
            config.labels.into_iter().map(|label| label.readable.to_lowercase()).collect();
        let images = root.join("training/images");
        let files =
            pairs(&root.join("training/v2.0/labels"), "png", |map| (beside(&map, &images, "jpg"), map))?;
        let meaning = (0..classes.len()).map(Some).collect();
        Ok(Self { name: "mapillary", classes, meaning, files, composition })
    }

    /// The class of each pixel; none where it is ignored.
    fn meanings(&self, labels: &Labels, path: &Path) -> Result<Vec<Option<usize>>, DatasetError> {
        let meaning = |&value: &u8| match self.meaning.get(usize::from(value)) {
            Some(meaning) => Ok(*meaning),
            None if value == 255 => Ok(None),
            None => Err(unreadable(
                path,
                format!("the label {value} is no class; there are {}", self.classes.len()),
            )),
        };
        labels.values.iter().map(meaning).collect()
    }
}

impl TrainingDataset for LabelMaps {
    fn name(&self) -> &str {
        self.name
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let premise = Premise::draw(&self.composition, rng);
        for _ in 0..MOST_ATTEMPTS {
            let (picture, map) = &self.files[rng.random_range(0..self.files.len())];
            let labels = Labels::read(map)?;
            let meanings = self.meanings(&labels, map)?;
            let mut there = vec![false; self.classes.len()];
            meanings.iter().flatten().for_each(|&class| there[class] = true);
            let (present, absent): (Vec<usize>, Vec<usize>) =
                (0..there.len()).partition(|&class| there[class]);
            if present.is_empty() {
                continue;
            }
            let mut chosen = Vec::new();
            for index in self.composition.sample(rng, present.len()) {
                let data = meanings.iter().map(|&class| u8::from(class == Some(present[index]))).collect();
                let mask = Mask { width: labels.width, height: labels.height, data };
                chosen.push((self.classes[present[index]].clone(), mask));
            }
            let absent = self.composition.sample(rng, absent.len()).into_iter().map(|index| absent[index]);
            let absent: Vec<String> = absent.map(|class| self.classes[class].clone()).collect();
            // With every class present there is nothing to deny.
            let premise = if absent.is_empty() { Premise::True } else { premise };
            return Ok(TrainingItem {
                id: format!("{}: {}", self.name, picture.display()),
                image: decode(picture)?,
                conversations: conversations(&self.composition, rng, premise, chosen, absent),
            });
        }
        let folder = self.files[0].1.parent().unwrap_or(Path::new(""));
        Err(unreadable(folder, format!("{MOST_ATTEMPTS} label maps in a row had no labelled pixel")))
    }
}

/// The files of a folder with this extension, each made into a pair of picture and label map.
fn pairs(
    folder: &Path,
    extension: &str,
    pair: impl Fn(PathBuf) -> (PathBuf, PathBuf),
) -> Result<Vec<(PathBuf, PathBuf)>, DatasetError> {
    let files = list(folder)?.into_iter().filter(|path| has_extension(path, &[extension]));
    let pairs: Vec<_> = files.map(pair).collect();
    if pairs.is_empty() {
        return Err(unreadable(folder, format!("it has no .{extension} files")));
    }
    Ok(pairs)
}

/// The file of the same name in another folder, with another extension.
fn beside(path: &Path, folder: &Path, extension: &str) -> PathBuf {
    folder.join(path.file_name().unwrap_or_default()).with_extension(extension)
}
