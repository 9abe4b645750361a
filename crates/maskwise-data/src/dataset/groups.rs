//! Datasets that the reference draws from as one: a run gives the group a rate, and its members are drawn uniformly (spec 6).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{
    CocoInstances, Composition, DatasetError, IndexCache, LabelMaps, LabelMapsValidation, Mixture,
    PartInstances, Refer, TrainingDataset, ValidationDataset, default_split_by,
};
use crate::text::QuestionTemplates;

/// Members of `refer_seg`.
pub const REFER_SEG: [&str; 4] = ["refclef", "refcoco", "refcoco+", "refcocog"];
/// Members of `neg_refer_seg`, of the read convention: some expressions name what is absent.
pub const NEG_REFER_SEG: [&str; 3] = ["R-refcoco", "R-refcoco+", "R-refcocog"];
/// Members of `correct_refer_seg`, of the read convention: for what is absent there is an expression that would be right.
pub const CORRECT_REFER_SEG: [&str; 3] = ["fprefcoco", "fprefcoco+", "fprefcocog"];
/// Members of `sem_seg`.
pub const SEM_SEG: [&str; 5] = ["ade20k", "cocostuff", "pascal_part", "paco_lvis", "mapillary"];

/// The train splits of these referring datasets in `root`, the folder `refer_seg`; see [`Refer::open`].
///
/// # Errors
/// As [`Refer::open`], or no member.
pub fn refer_group<S: AsRef<str>>(
    name: &str,
    root: &Path,
    members: &[S],
    composition: &Arc<Composition>,
) -> Result<Mixture, DatasetError> {
    group(name, members, |member| {
        let split_by = default_split_by(member, composition.convention);
        Ok(Box::new(Refer::open(root, member, split_by, "train", composition.clone())?))
    })
}

/// These semantic datasets in `root`, the reference's `dataset_dir`; see [`LabelMaps`] and [`PartInstances`].
///
/// # Errors
/// As there, a name that is none of [`SEM_SEG`], or no member.
pub fn semantic_group<S: AsRef<str>>(
    name: &str,
    root: &Path,
    members: &[S],
    composition: &Arc<Composition>,
) -> Result<Mixture, DatasetError> {
    let composition = || composition.clone();
    group(name, members, |member| {
        Ok(match member {
            "ade20k" | "cocostuff" | "mapillary" => Box::new(LabelMaps::open(member, root, composition())?),
            "paco_lvis" => Box::new(PartInstances::paco_lvis(root, composition())?),
            "pascal_part" => Box::new(PartInstances::pascal_part(root, composition())?),
            other => {
                let known = SEM_SEG.join(", ");
                return Err(DatasetError::Config(format!(
                    "{name}: {other:?} is no semantic dataset; there are {known}"
                )));
            }
        })
    })
}

/// Every class of every picture of a dataset of [`SEM_SEG`] below `root`; see [`LabelMapsValidation`] and [`CocoInstances::parts`].
///
/// # Errors
/// As there, or another name.
pub fn semantic_validation(
    name: &str,
    root: &Path,
    questions: QuestionTemplates,
    cache: &IndexCache,
) -> Result<Box<dyn ValidationDataset>, DatasetError> {
    Ok(match name {
        "paco_lvis" | "pascal_part" => Box::new(CocoInstances::parts(name, root, questions, cache)?),
        _ => Box::new(LabelMapsValidation::open(name, root, questions, cache)?),
    })
}

/// The files and folders that decide about what [`semantic_validation`] opens, pictures aside.
///
/// # Errors
/// As there.
pub fn semantic_sources(name: &str, root: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    match name {
        "paco_lvis" | "pascal_part" => Ok(vec![CocoInstances::parts_file(name, root)?]),
        _ => LabelMapsValidation::sources(name, root),
    }
}

fn group<S: AsRef<str>>(
    name: &str,
    members: &[S],
    open: impl Fn(&str) -> Result<Box<dyn TrainingDataset>, DatasetError>,
) -> Result<Mixture, DatasetError> {
    let open = |member: &S| Ok((open(member.as_ref())?, 1.0));
    Mixture::new(name, members.iter().map(open).collect::<Result<_, DatasetError>>()?)
}
