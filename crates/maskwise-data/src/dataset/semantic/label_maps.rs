//! Datasets whose labels are maps of class numbers: ADE20K, COCO-Stuff, Mapillary.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::class_maps::ClassMaps;
use super::labels::Labels;
use super::{Premise, conversations};
use crate::dataset::files::{LastPicture, check_size, decode, unreadable};
use crate::dataset::{
    Asked, Composition, DatasetError, IndexCache, SampleRng, TrainingDataset, TrainingItem,
    ValidationDataset, ValidationItem,
};
use crate::mask::Mask;
use crate::text::QuestionTemplates;
use rand::RngExt;

/// Images without any usable label that are drawn in a row before it is an error.
const MOST_ATTEMPTS: usize = 100;

/// Training on label maps.
pub struct LabelMaps {
    maps: ClassMaps,
    composition: Arc<Composition>,
}

impl LabelMaps {
    /// Opens `ade20k`, `cocostuff` or `mapillary` below `root`, laid out as in [`LabelMapsValidation`].
    ///
    /// # Errors
    /// A folder or file that is missing, empty or damaged, or another name.
    pub fn open(name: &str, root: &Path, composition: Arc<Composition>) -> Result<Self, DatasetError> {
        Ok(Self { maps: ClassMaps::open(name, root)?, composition })
    }
}

impl TrainingDataset for LabelMaps {
    fn name(&self) -> &str {
        self.maps.name
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let ClassMaps { name, classes, files, .. } = &self.maps;
        let premise = Premise::draw(&self.composition, rng);
        for _ in 0..MOST_ATTEMPTS {
            let (picture, map) = &files[rng.random_range(0..files.len())];
            let labels = Labels::read(map)?;
            let present = self.maps.present(&labels, map)?;
            let absent: Vec<usize> = (0..classes.len()).filter(|class| !present.contains(class)).collect();
            if present.is_empty() {
                continue;
            }
            let mut chosen = Vec::new();
            for index in self.composition.sample(rng, present.len()) {
                let target = self.maps.target(&labels, present[index]);
                let data = target.into_iter().map(|value| u8::from(value == 1)).collect();
                let mask = Mask { width: labels.width, height: labels.height, data };
                chosen.push((classes[present[index]].clone(), mask));
            }
            let absent = self.composition.sample(rng, absent.len()).into_iter().map(|index| absent[index]);
            let absent: Vec<String> = absent.map(|class| classes[class].clone()).collect();
            // With every class present there is nothing to deny.
            let premise = if absent.is_empty() { Premise::True } else { premise };
            return Ok(TrainingItem {
                id: format!("{name}: {}", picture.display()),
                image: decode(picture)?,
                conversations: conversations(&self.composition, rng, premise, chosen, absent),
            });
        }
        let folder = files[0].1.parent().unwrap_or(Path::new(""));
        Err(unreadable(folder, format!("{MOST_ATTEMPTS} label maps in a row had no labelled pixel")))
    }
}

/// All classes of all pictures of label maps: the phrase is the class's name, the target its pixels; pixels without a class are ignored.
///
/// Below `root` lie, as the reference has them,
///
/// | name | files |
/// |---|---|
/// | `ade20k` | `ade20k/images/training/*.jpg`, `ade20k/annotations/training/*.png` (0 is unlabelled), and the names as a list in `ade20k/ade20k_classes.json` |
/// | `cocostuff` | `coco/train2017/*.jpg`, `cocostuff/train2017/*.png` (a value is a class), and the names in `cocostuff/cocostuff_classes.txt`: a line `0: unlabeled`, then one for each class; those with a hyphen are ignored |
/// | `mapillary` | Vistas 2.0: `mapillary/training/images/*.jpg`, `mapillary/training/v2.0/labels/*.png`, `mapillary/config_v2.0.json` |
///
/// The LISA repository has the files of names in `dataloaders`.
pub struct LabelMapsValidation {
    maps: ClassMaps,
    /// Picture and class of each item; no class where the label map cannot be read.
    items: Vec<(usize, Option<usize>)>,
    questions: QuestionTemplates,
    last: LastPicture,
}

impl LabelMapsValidation {
    /// The files and folders that decide about a dataset below `root`, pictures aside.
    ///
    /// # Errors
    /// As [`LabelMapsValidation::open`].
    pub(in crate::dataset) fn sources(name: &str, root: &Path) -> Result<Vec<PathBuf>, DatasetError> {
        Ok(ClassMaps::open(name, root)?.sources)
    }

    /// Opens `ade20k`, `cocostuff` or `mapillary` below `root`. Without a kept index every label map is read, on all cores.
    ///
    /// # Errors
    /// A folder or file of names that is missing, empty or damaged, or another name. A damaged label map is an item that cannot be read.
    pub fn open(
        name: &str,
        root: &Path,
        questions: QuestionTemplates,
        cache: &IndexCache,
    ) -> Result<Self, DatasetError> {
        let maps = ClassMaps::open(name, root)?;
        let sources: Vec<&Path> = maps.sources.iter().map(PathBuf::as_path).collect();
        let mut classes: Vec<Option<Vec<usize>>> =
            cache.open(name, &sources, || Ok(classes_of_all(&maps)))?;
        // What could not be read may be readable by now.
        for (picture, classes) in classes.iter_mut().enumerate().filter(|(_, classes)| classes.is_none()) {
            *classes = maps.classes_of(picture).ok();
        }
        let items = classes.iter().enumerate().flat_map(|(picture, classes)| {
            let unreadable = [(picture, None)].into_iter().filter(|_| classes.is_none());
            let classes = classes.iter().flatten().map(move |class| (picture, Some(*class)));
            unreadable.chain(classes)
        });
        let items: Vec<_> = items.collect();
        if items.is_empty() {
            return Err(unreadable(root, format!("no label map of {name} has a labelled pixel")));
        }
        Ok(Self { items, maps, questions, last: LastPicture::default() })
    }
}

/// The classes of every picture; none where its label map cannot be read.
fn classes_of_all(maps: &ClassMaps) -> Vec<Option<Vec<usize>>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut classes = vec![None; maps.files.len()];
    let share = classes.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        for (number, part) in classes.chunks_mut(share).enumerate() {
            scope.spawn(move || {
                for (place, classes) in part.iter_mut().enumerate() {
                    *classes = maps.classes_of(number * share + place).ok();
                }
            });
        }
    });
    classes
}

impl ValidationDataset for LabelMapsValidation {
    fn name(&self) -> &str {
        self.maps.name
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn picture(&self, index: usize) -> usize {
        self.items[index].0
    }

    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError> {
        let (picture, class) = self.items[index];
        let (path, map) = &self.maps.files[picture];
        let Some(class) = class else {
            // With the reason why, unless it has gone meanwhile.
            self.maps.classes_of(picture)?;
            return Err(unreadable(map, "it could not be read when the dataset was opened; open it again"));
        };
        let labels = Labels::read(map)?;
        let image = self.last.decode(path)?;
        check_size(&image, path, (labels.width, labels.height), map)?;
        let phrase = self.maps.classes[class].to_lowercase();
        Ok(ValidationItem {
            id: format!("{}: {}", self.maps.name, path.file_name().unwrap_or_default().display()),
            image,
            file: Some(path.clone()),
            question: self.questions.short.fill(&phrase),
            answer: self.questions.answer.fill(&phrase),
            asked: Asked::Phrase(phrase),
            target: self.maps.target(&labels, class),
            masks: 1,
            instances: Vec::new(),
            exists: true,
            family: String::new(),
        })
    }
}
