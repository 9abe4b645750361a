//! Recorded tensors: a safetensors file and the manifest beside it. Everything is looked up in the manifest, nothing by heart.

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The folder of the recorded tensors, or a line that says why the test did nothing.
pub(crate) fn goldens_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("MASKWISE_GOLDENS").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: MASKWISE_GOLDENS is not set");
    }
    folder
}

#[derive(Debug, Deserialize)]
struct Manifest {
    file: PathBuf,
    tensors: Vec<Entry>,
    #[serde(default)]
    values: Value,
}

/// What the manifest says of one recording. A strided one holds every `stride`-th element from `offset` on.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    #[serde(default)]
    full_shape: Option<Vec<usize>>,
    #[serde(default)]
    stride: Option<Vec<usize>>,
    #[serde(default)]
    offset: Option<Vec<usize>>,
    #[serde(default)]
    full_stats: Option<Statistics>,
    #[serde(default)]
    png: Option<PathBuf>,
    /// Everything else that a manifest may say.
    #[serde(flatten)]
    pub(crate) more: HashMap<String, Value>,
}

/// Of the whole tensor, where only a part was recorded.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Statistics {
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
    abs_sum: f64,
}

impl Entry {
    pub(crate) fn full_shape(&self) -> &[usize] {
        self.full_shape.as_deref().unwrap_or(&self.shape)
    }

    /// The index into the whole tensor of each recorded element, row-major.
    fn positions(&self) -> impl Iterator<Item = Vec<usize>> {
        let axes = self.shape.len();
        let stride = self.stride.clone().unwrap_or_else(|| vec![1; axes]);
        let offset = self.offset.clone().unwrap_or_else(|| vec![0; axes]);
        (0..self.shape.iter().product::<usize>()).map(move |mut flat| {
            let mut index = vec![0; axes];
            for axis in (0..axes).rev() {
                index[axis] = offset[axis] + stride[axis] * (flat % self.shape[axis]);
                flat /= self.shape[axis];
            }
            index
        })
    }
}

/// A manifest with its tensors, and an account of what was compared.
pub(crate) struct Goldens {
    pub(crate) values: Value,
    folder: PathBuf,
    entries: BTreeMap<String, Entry>,
    tensors: HashMap<String, Tensor>,
    consumed: Mutex<BTreeSet<String>>,
    worst: Mutex<BTreeMap<String, f64>>,
}

impl Goldens {
    /// Opens `<stem>.manifest.json` in `folder` with the file that it names.
    pub(crate) fn open(folder: &Path, stem: &str) -> Self {
        let path = folder.join(format!("{stem}.manifest.json"));
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let manifest: Manifest = serde_json::from_str(&text).unwrap();
        let file = path.with_file_name(manifest.file.file_name().unwrap());
        let tensors = candle_core::safetensors::load(&file, &Device::Cpu)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let entries: BTreeMap<_, _> =
            manifest.tensors.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        assert!(!entries.is_empty(), "{} lists no tensors", path.display());
        let (consumed, worst) = (Mutex::default(), Mutex::default());
        Self { values: manifest.values, folder: folder.to_owned(), entries, tensors, consumed, worst }
    }

    /// A value of the manifest.
    pub(crate) fn value(&self, name: &str) -> &Value {
        self.values
            .get(name)
            .and_then(|value| value.get("value"))
            .unwrap_or_else(|| panic!("the manifest has no value {name}"))
    }

    /// The names of all entries, in alphabetical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    pub(crate) fn entry(&self, name: &str) -> &Entry {
        self.entries.get(name).unwrap_or_else(|| panic!("the manifest has no {name}"))
    }

    /// A recording that was not strided; counts as consumed.
    pub(crate) fn tensor(&self, name: &str) -> Tensor {
        assert!(self.entry(name).stride.is_none(), "{name} is only recorded in part");
        self.raw(name).clone()
    }

    /// As f32 values.
    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        flat(&self.tensor(name))
    }

    /// As integers.
    pub(crate) fn integers(&self, name: &str) -> Vec<i64> {
        self.tensor(name).flatten_all().unwrap().to_dtype(DType::I64).unwrap().to_vec1().unwrap()
    }

    /// A recorded mask, row by row.
    pub(crate) fn mask(&self, name: &str) -> Vec<bool> {
        let entry = self.entry(name);
        self.consume(name);
        let path = self.folder.join(entry.png.as_ref().unwrap_or_else(|| panic!("{name} has no png")));
        let image = maskwise_data::image::decode_path(&path, &Default::default()).unwrap();
        let (height, width) = (image.height() as usize, image.width() as usize);
        assert_eq!([height, width], entry.shape[..], "{name}");
        image.pixels().map(|pixel| pixel[0] > 0).collect()
    }

    /// Marks `name` as not compared on purpose.
    pub(crate) fn leave_out(&self, name: &str) {
        let _ = self.entry(name);
        self.consume(name);
    }

    /// Asserts that `ours` is within `limit` of the recording `name`, relative to its largest absolute value; axes of size one may differ.
    pub(crate) fn compare(&self, name: &str, ours: &Tensor, limit: f64) {
        self.compare_where(name, ours, limit, |_| true);
        if let Some(statistics) = self.entry(name).full_stats {
            check_statistics(name, &flat(ours), statistics, limit);
        }
    }

    /// As [`Goldens::compare`], at those indices of the whole tensor that `keep` accepts only.
    pub(crate) fn compare_where(
        &self,
        name: &str,
        ours: &Tensor,
        limit: f64,
        keep: impl Fn(&[usize]) -> bool,
    ) {
        let entry = self.entry(name);
        let squeezed = |shape: &[usize]| shape.iter().copied().filter(|size| *size != 1).collect::<Vec<_>>();
        let full_shape = entry.full_shape();
        assert_eq!(squeezed(ours.dims()), squeezed(full_shape), "{name}: shape");
        let (found, recorded) = (flat(ours), flat(self.raw(name)));
        let place = |index: &[usize]| {
            index.iter().zip(full_shape).fold(0, |place, (index, size)| place * size + index)
        };
        let (mut largest, mut difference, mut compared) = (0.0_f64, 0.0_f64, 0);
        for (index, recorded) in entry.positions().zip(recorded).filter(|(index, _)| keep(index)) {
            let found = found[place(&index)];
            assert!(found.is_finite(), "{name}: {found} at {index:?}");
            largest = largest.max(f64::from(recorded.abs()));
            difference = difference.max(f64::from((found - recorded).abs()));
            compared += 1;
        }
        assert!(compared > 0, "{name}: nothing to compare");
        let error = if difference == 0.0 { 0.0 } else { difference / largest };
        self.note(&kind_of(name), error);
        assert!(
            error <= limit,
            "{name}: relative error {error:.2e} is above {limit:.0e} (largest value {largest})"
        );
    }

    /// The difference between `ours` and the recording `name` relative to its norm, where it was recorded.
    pub(crate) fn frobenius(&self, name: &str, ours: &Tensor) -> f64 {
        let (mut difference, mut norm) = (0.0, 0.0);
        for (found, recorded) in self.pairs(name, ours) {
            difference += (found - recorded).powi(2);
            norm += recorded * recorded;
        }
        (difference / norm).sqrt()
    }

    /// Our value and the recorded one, where it was recorded.
    pub(crate) fn pairs(&self, name: &str, ours: &Tensor) -> Vec<(f64, f64)> {
        let entry = self.entry(name);
        let (found, recorded) = (flat(ours), flat(self.raw(name)));
        assert_eq!(found.len(), entry.full_shape().iter().product::<usize>(), "{name}: size");
        let place = |index: &[usize]| {
            index.iter().zip(entry.full_shape()).fold(0, |place, (index, size)| place * size + index)
        };
        let pairs = entry.positions().zip(recorded);
        pairs.map(|(index, recorded)| (f64::from(found[place(&index)]), f64::from(recorded))).collect()
    }

    /// The cosine between `ours` and the recording `name`, where it was recorded.
    pub(crate) fn cosine(&self, name: &str, ours: &Tensor) -> f64 {
        let (mut product, mut ours_squared, mut theirs_squared) = (0.0, 0.0, 0.0);
        for (left, right) in self.pairs(name, ours) {
            product += left * right;
            ours_squared += left * left;
            theirs_squared += right * right;
        }
        product / (ours_squared * theirs_squared).sqrt()
    }

    /// Asserts that the integers are those of the recording `name`.
    pub(crate) fn compare_integers(&self, name: &str, ours: &[i64]) {
        assert_eq!(ours, self.integers(name), "{name}");
    }

    /// Asserts that the mask `ours` overlaps the recorded mask `name` by at least `least`; returns the IoU.
    pub(crate) fn compare_mask(&self, name: &str, ours: &[bool], least: f64) -> f64 {
        let overlap = iou(ours, &self.mask(name));
        self.note(&format!("{} 1-IoU", kind_of(name)), 1.0 - overlap);
        assert!(overlap >= least, "{name}: IoU {overlap} is below {least}");
        overlap
    }

    /// Keeps the worst of a kind for the summary.
    pub(crate) fn note(&self, kind: &str, error: f64) {
        let mut worst = self.worst.lock().unwrap();
        let entry = worst.entry(kind.to_owned()).or_insert(0.0);
        *entry = entry.max(error);
    }

    /// The worst that was noted of a kind.
    pub(crate) fn worst(&self, kind: &str) -> f64 {
        self.worst.lock().unwrap().get(kind).copied().unwrap_or(0.0)
    }

    /// Asserts that every entry was consumed; prints the worst error of each kind.
    pub(crate) fn finish(&self) {
        for (kind, error) in self.worst.lock().unwrap().iter() {
            println!("{kind:40} {error:.2e}");
        }
        let consumed = self.consumed.lock().unwrap();
        let forgotten: Vec<_> = self.entries.keys().filter(|name| !consumed.contains(*name)).collect();
        assert!(forgotten.is_empty(), "recorded, but compared with nothing: {forgotten:?}");
    }

    fn raw(&self, name: &str) -> &Tensor {
        let entry = self.entry(name);
        self.consume(name);
        let tensor =
            self.tensors.get(name).unwrap_or_else(|| panic!("{name} is in the manifest but not in the file"));
        assert_eq!(tensor.dims(), entry.shape, "{name}: the file and the manifest disagree");
        tensor
    }

    fn consume(&self, name: &str) {
        self.consumed.lock().unwrap().insert(name.to_owned());
    }
}

/// What follows from the limit for the whole tensor, of which only a part was recorded.
fn check_statistics(name: &str, values: &[f32], recorded: Statistics, limit: f64) {
    let count = values.len() as f64;
    let values = || values.iter().map(|value| f64::from(*value));
    let mean = values().sum::<f64>() / count;
    let std = (values().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let allowed = limit * recorded.min.abs().max(recorded.max.abs());
    for (statistic, found, recorded) in [
        ("mean", mean, recorded.mean),
        ("std", std, recorded.std),
        ("min", values().fold(f64::INFINITY, f64::min), recorded.min),
        ("max", values().fold(f64::NEG_INFINITY, f64::max), recorded.max),
        (
            "mean of the absolute values",
            values().map(f64::abs).sum::<f64>() / count,
            recorded.abs_sum / count,
        ),
    ] {
        assert!(
            (found - recorded).abs() <= allowed,
            "{name}: {statistic} of the whole tensor is {found} instead of {recorded}"
        );
    }
}

/// The last part of a name without its numbers: tensors of one kind in all cases.
fn kind_of(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '_').to_owned()
}

/// All values in f32.
pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Intersection over union; two empty masks agree.
pub(crate) fn iou(left: &[bool], right: &[bool]) -> f64 {
    assert_eq!(left.len(), right.len(), "masks of different sizes");
    let count =
        |test: fn(bool, bool) -> bool| left.iter().zip(right).filter(|(a, b)| test(**a, **b)).count() as f64;
    let union = count(|a, b| a || b);
    if union == 0.0 { 1.0 } else { count(|a, b| a && b) / union }
}

/// Where mask logits are above 0.
pub(crate) fn binary(logits: &Tensor) -> Vec<bool> {
    flat(logits).into_iter().map(|logit| logit > 0.0).collect()
}
