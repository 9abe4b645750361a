//! Pictures with label maps: which files belong together, and what the samples mean.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::labels::Labels;
use crate::dataset::DatasetError;
use crate::dataset::files::{has_extension, list, read_bytes, read_json, unreadable};
use crate::mask::IGNORED;

/// The pictures of a dataset with their label maps. What lies where, [`LabelMapsValidation`](super::LabelMapsValidation) says.
pub(super) struct ClassMaps {
    pub(super) name: &'static str,
    pub(super) classes: Vec<String>,
    /// The class of each sample value; none where it is ignored.
    meaning: Vec<Option<usize>>,
    /// Picture and label map.
    pub(super) files: Vec<(PathBuf, PathBuf)>,
    /// The files and folders that decide about the above.
    pub(super) sources: Vec<PathBuf>,
}

impl ClassMaps {
    pub(super) fn open(name: &str, root: &Path) -> Result<Self, DatasetError> {
        match name {
            "ade20k" => Self::ade20k(&root.join("ade20k")),
            "cocostuff" => Self::cocostuff(root),
            "mapillary" => Self::mapillary(&root.join("mapillary")),
            _ => {
                let known = "ade20k, cocostuff and mapillary have";
                Err(DatasetError::Config(format!("{name:?} has no label maps; {known}")))
            }
        }
    }

    fn ade20k(root: &Path) -> Result<Self, DatasetError> {
        let (names, images) = (root.join("ade20k_classes.json"), root.join("images/training"));
        let maps = root.join("annotations/training");
        let classes: Vec<String> = read_json(&names)?;
        let files = pairs(&images, "jpg", |image| (image.clone(), beside(&image, &maps, "png")))?;
        let meaning = [None].into_iter().chain((0..classes.len()).map(Some)).collect();
        Ok(Self { name: "ade20k", classes, meaning, files, sources: vec![names, images, maps] })
    }

    fn cocostuff(root: &Path) -> Result<Self, DatasetError> {
        let names = root.join("cocostuff/cocostuff_classes.txt");
        let text =
            String::from_utf8(read_bytes(&names)?).map_err(|_| unreadable(&names, "is not UTF-8 text"))?;
        let name = |line: &str| line.rsplit_once(": ").map_or(line, |(_, name)| name).trim().to_owned();
        let classes: Vec<String> = text.lines().skip(1).map(name).collect();
        let (images, maps) = (root.join("coco/train2017"), root.join("cocostuff/train2017"));
        let files = pairs(&maps, "png", |map| (beside(&map, &images, "jpg"), map))?;
        let meaning =
            classes.iter().enumerate().map(|(index, name)| (!name.contains('-')).then_some(index)).collect();
        Ok(Self { name: "cocostuff", classes, meaning, files, sources: vec![names, maps] })
    }

    fn mapillary(root: &Path) -> Result<Self, DatasetError> {
        #[derive(Deserialize)]
        struct Config {
            labels: Vec<Label>,
        }
        #[derive(Deserialize)]
        struct Label {
            readable: String,
        }
        let names = root.join("config_v2.0.json");
        let config: Config = read_json(&names)?;
        let classes: Vec<String> =
            config.labels.into_iter().map(|label| label.readable.to_lowercase()).collect();
        let (images, maps) = (root.join("training/images"), root.join("training/v2.0/labels"));
        let files = pairs(&maps, "png", |map| (beside(&map, &images, "jpg"), map))?;
        let meaning = (0..classes.len()).map(Some).collect();
        Ok(Self { name: "mapillary", classes, meaning, files, sources: vec![names, maps] })
    }

    /// The classes that a label map has, ascending.
    ///
    /// # Errors
    /// A label that is no class.
    pub(super) fn present(&self, labels: &Labels, path: &Path) -> Result<Vec<usize>, DatasetError> {
        let mut occurs = [false; 256];
        labels.values.iter().for_each(|value| occurs[usize::from(*value)] = true);
        let mut classes = Vec::new();
        for value in (0..256).filter(|value| occurs[*value]) {
            match self.meaning.get(value) {
                Some(class) => classes.extend(class),
                None if value == usize::from(IGNORED) => {}
                None => {
                    let classes = self.classes.len();
                    return Err(unreadable(
                        path,
                        format!("the label {value} is no class; there are {classes}"),
                    ));
                }
            }
        }
        classes.sort_unstable();
        Ok(classes)
    }

    /// Where a class is: 1 inside, 0 outside, 255 where a pixel has no class.
    pub(super) fn target(&self, labels: &Labels, class: usize) -> Vec<u8> {
        let mut values = [IGNORED; 256];
        for (value, meaning) in values.iter_mut().zip(&self.meaning) {
            if let Some(found) = meaning {
                *value = u8::from(*found == class);
            }
        }
        labels.values.iter().map(|value| values[usize::from(*value)]).collect()
    }

    /// The classes of a picture, ascending.
    pub(super) fn classes_of(&self, picture: usize) -> Result<Vec<usize>, DatasetError> {
        let map = &self.files[picture].1;
        self.present(&Labels::read(map)?, map)
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
