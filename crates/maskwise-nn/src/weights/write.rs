//! Writing of safetensors: one tensor in memory at a time, and either the whole of it lands on the disk or nothing.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use candle_core::{DType, Tensor, WithDType};
use serde_json::{Map, Value, json};

use super::element::checked_element_count;
use super::error::WeightsError;
use super::files::AtomicFile;

/// Size above which [`write_sharded`] starts another file, as `save_pretrained` does.
pub const DEFAULT_SHARD_BYTES: u64 = 5_000_000_000;

/// A tensor that will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorPlan {
    /// Its name, unique within the checkpoint.
    pub name: String,
    /// Its axes, outermost first.
    pub shape: Vec<usize>,
    /// The type it is written as, which it must have when it is handed over.
    pub dtype: DType,
}

/// Writes one safetensors file. `tensor` is asked for each tensor of `plans` by name when its turn comes, so the
/// caller need not hold more than one; `metadata` goes into the header's `__metadata__`.
///
/// The file appears under its name only when it is complete and on the disk. Within it, tensors of larger element
/// types come first, so that every tensor is aligned; before those stand tensors of bytes whose length is a multiple of 64, which then begin
/// at a multiple of 64, so that they can be used where they lie.
///
/// # Errors
/// [`WeightsError::DiskFull`], [`WeightsError::NotWritable`], [`WeightsError::NotAsAnnounced`] when a tensor differs
/// from its plan, [`WeightsError::DuplicateTensor`], [`WeightsError::UnsupportedDtype`], and any error of `tensor`.
/// After an error nothing is left behind, and a file that was there before is untouched.
pub fn write_safetensors(
    path: &Path,
    plans: &[TensorPlan],
    metadata: &BTreeMap<String, String>,
    mut tensor: impl FnMut(&str) -> Result<Tensor, WeightsError>,
) -> Result<(), WeightsError> {
    refuse_duplicates(path, plans)?;
    write_temporary(path, plans, metadata, &mut tensor)?.commit()
}

/// Writes a checkpoint into `folder`: `model.safetensors` if it fits into `shard_bytes`, else
/// `model-00001-of-0000N.safetensors` and so on with `model.safetensors.index.json`. Plans keep their order across
/// shards. All files get their names at the end, the index last; a `model.safetensors` of an earlier checkpoint,
/// which readers would prefer to the index, is then removed.
///
/// # Errors
/// As [`write_safetensors`].
pub fn write_sharded(
    folder: &Path,
    plans: &[TensorPlan],
    metadata: &BTreeMap<String, String>,
    shard_bytes: u64,
    mut tensor: impl FnMut(&str) -> Result<Tensor, WeightsError>,
) -> Result<(), WeightsError> {
    refuse_duplicates(folder, plans)?;
    let shards = divide(folder, plans, shard_bytes)?;
    if let [only] = shards.as_slice() {
        return write_temporary(&folder.join("model.safetensors"), only, metadata, &mut tensor)?.commit();
    }
    let mut finished = Vec::new();
    let mut weight_map = Map::new();
    for (index, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
        weight_map.extend(shard.iter().map(|plan| (plan.name.clone(), json!(name))));
        finished.push(write_temporary(&folder.join(name), shard, metadata, &mut tensor)?);
    }
    let mut total_size = 0;
    for plan in plans {
        total_size += plan_bytes(folder, plan)?;
    }
    let index = json!({ "metadata": { "total_size": total_size }, "weight_map": weight_map });
    finished.push(write_json(&folder.join("model.safetensors.index.json"), &index)?);
    finished.into_iter().try_for_each(AtomicFile::commit)?;
    remove_superseded(&folder.join("model.safetensors"))
}

fn remove_superseded(path: &Path) -> Result<(), WeightsError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(WeightsError::io("remove the superseded", path, error))
        }
        _ => Ok(()),
    }
}

fn refuse_duplicates(path: &Path, plans: &[TensorPlan]) -> Result<(), WeightsError> {
    let mut names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(WeightsError::DuplicateTensor {
            name: pair[0].to_string(),
            first: path.to_path_buf(),
            second: path.to_path_buf(),
        }),
        None => Ok(()),
    }
}

/// Cuts the plans into runs of at most `shard_bytes`; a tensor larger than that gets a run of its own.
fn divide<'a>(
    path: &Path,
    plans: &'a [TensorPlan],
    shard_bytes: u64,
) -> Result<Vec<&'a [TensorPlan]>, WeightsError> {
    let mut shards = Vec::new();
    let (mut first, mut filled) = (0, 0);
    for (index, plan) in plans.iter().enumerate() {
        let bytes = plan_bytes(path, plan)?;
        if index > first && filled + bytes > shard_bytes {
            shards.push(&plans[first..index]);
            (first, filled) = (index, 0);
        }
        filled += bytes;
    }
    shards.push(&plans[first..]);
    Ok(shards)
}

/// The complete file under its temporary name.
fn write_temporary(
    path: &Path,
    plans: &[TensorPlan],
    metadata: &BTreeMap<String, String>,
    tensor: &mut impl FnMut(&str) -> Result<Tensor, WeightsError>,
) -> Result<AtomicFile, WeightsError> {
    let mut ordered: Vec<&TensorPlan> = plans.iter().collect();
    let fills_lines = |plan: &TensorPlan| {
        plan.dtype == DType::U8 && plan.shape.iter().product::<usize>().is_multiple_of(64)
    };
    ordered.sort_by_key(|plan| (!fills_lines(plan), std::cmp::Reverse(plan.dtype.size_in_bytes())));
    let (header, data_bytes) = header(path, &ordered, metadata)?;
    let needed_bytes = header.len() as u64 + data_bytes;
    let failed = |error| write_failure(path, needed_bytes, error);

    let mut file = AtomicFile::create(path)?;
    let mut writer = BufWriter::with_capacity(1 << 20, &mut file);
    writer.write_all(&header).map_err(failed)?;
    for plan in ordered {
        let tensor = tensor(&plan.name)?;
        compare_with_plan(plan, &tensor)?;
        write_tensor(&mut writer, plan, &tensor, needed_bytes, path)?;
    }
    writer.flush().map_err(failed)?;
    drop(writer);
    file.finish().map_err(failed)?;
    Ok(file)
}

fn write_json(path: &Path, value: &Value) -> Result<AtomicFile, WeightsError> {
    let text = format!("{value:#}\n");
    let mut file = AtomicFile::create(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.finish());
    written.map_err(|error| write_failure(path, text.len() as u64, error))?;
    Ok(file)
}

fn write_failure(path: &Path, needed_bytes: u64, error: io::Error) -> WeightsError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            WeightsError::DiskFull { path: path.to_path_buf(), needed_bytes }
        }
        _ => WeightsError::io("write", path, error),
    }
}

/// Length and JSON header, padded to a multiple of 64 together, and the number of data bytes that will follow.
fn header(
    path: &Path,
    plans: &[&TensorPlan],
    metadata: &BTreeMap<String, String>,
) -> Result<(Vec<u8>, u64), WeightsError> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".to_string(), json!(metadata));
    }
    let mut end = 0;
    for plan in plans {
        let begin = end;
        end += plan_bytes(path, plan)?;
        let dtype = dtype_name(path, plan)?;
        let entry = json!({ "dtype": dtype, "shape": plan.shape, "data_offsets": [begin, end] });
        entries.insert(plan.name.clone(), entry);
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize((text.len() + 8).next_multiple_of(64) - 8, b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.append(&mut text);
    Ok((header, end))
}

fn plan_bytes(path: &Path, plan: &TensorPlan) -> Result<u64, WeightsError> {
    dtype_name(path, plan)?;
    match checked_element_count(&plan.shape) {
        Some(count) => Ok((count * plan.dtype.size_in_bytes()) as u64),
        None => Err(WeightsError::NotAsAnnounced {
            name: plan.name.clone(),
            announced: format!("{:?}, which no machine can hold", plan.shape),
            actual: "smaller".to_string(),
        }),
    }
}

fn dtype_name(path: &Path, plan: &TensorPlan) -> Result<&'static str, WeightsError> {
    Ok(match plan.dtype {
        DType::U8 => "U8",
        DType::U32 => "U32",
        DType::I16 => "I16",
        DType::I32 => "I32",
        DType::I64 => "I64",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F32 => "F32",
        DType::F64 => "F64",
        other => {
            return Err(WeightsError::UnsupportedDtype {
                name: plan.name.clone(),
                path: path.to_path_buf(),
                dtype: format!("{other:?}"),
            });
        }
    })
}

fn compare_with_plan(plan: &TensorPlan, tensor: &Tensor) -> Result<(), WeightsError> {
    if tensor.dims() == plan.shape && tensor.dtype() == plan.dtype {
        return Ok(());
    }
    Err(WeightsError::NotAsAnnounced {
        name: plan.name.clone(),
        announced: format!("{:?} {:?}", plan.dtype, plan.shape),
        actual: format!("{:?} {:?}", tensor.dtype(), tensor.dims()),
    })
}

/// Elements turned into bytes at a time.
const BLOCK_ELEMENTS: usize = 256 * 1024;

fn write_tensor(
    writer: &mut impl Write,
    plan: &TensorPlan,
    tensor: &Tensor,
    needed_bytes: u64,
    path: &Path,
) -> Result<(), WeightsError> {
    let library_failed = |error| WeightsError::tensor(&plan.name, error);
    let flat = tensor.flatten_all().map_err(library_failed)?;
    let count = flat.elem_count();
    for first in (0..count).step_by(BLOCK_ELEMENTS) {
        let block = flat.narrow(0, first, BLOCK_ELEMENTS.min(count - first)).map_err(library_failed)?;
        let bytes = little_endian_bytes(&block).map_err(library_failed)?;
        writer.write_all(&bytes).map_err(|error| write_failure(path, needed_bytes, error))?;
    }
    Ok(())
}

fn little_endian_bytes(block: &Tensor) -> candle_core::Result<Vec<u8>> {
    fn collect<T: WithDType, const SIZE: usize>(
        block: &Tensor,
        encode: impl Fn(T) -> [u8; SIZE],
    ) -> candle_core::Result<Vec<u8>> {
        Ok(block.to_vec1::<T>()?.into_iter().flat_map(encode).collect())
    }
    match block.dtype() {
        DType::U8 => block.to_vec1::<u8>(),
        DType::U32 => collect(block, u32::to_le_bytes),
        DType::I16 => collect(block, i16::to_le_bytes),
        DType::I32 => collect(block, i32::to_le_bytes),
        DType::I64 => collect(block, i64::to_le_bytes),
        DType::F16 => collect(block, half::f16::to_le_bytes),
        DType::BF16 => collect(block, half::bf16::to_le_bytes),
        DType::F32 => collect(block, f32::to_le_bytes),
        DType::F64 => collect(block, f64::to_le_bytes),
        other => candle_core::bail!("tensors of type {other:?} are not written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// A disk with a little space left.
    struct SmallDisk(usize);

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_named_with_the_needed_size() {
        let tensor = Tensor::zeros(100, DType::F32, &Device::Cpu).unwrap();
        let plan = TensorPlan { name: "t".to_string(), shape: vec![100], dtype: DType::F32 };
        let path = Path::new("out/model.safetensors");
        assert!(write_tensor(&mut SmallDisk(400), &plan, &tensor, 480, path).is_ok());
        let error = write_tensor(&mut SmallDisk(399), &plan, &tensor, 480, path).unwrap_err();
        assert!(matches!(error, WeightsError::DiskFull { needed_bytes: 480, .. }));
        assert!(error.to_string().contains("the disk is full: out/model.safetensors needs 480 bytes"));
    }

    #[test]
    fn shards_are_cut_at_the_limit_and_keep_the_order() {
        let plan =
            |name: &str, length| TensorPlan { name: name.to_string(), shape: vec![length], dtype: DType::U8 };
        let plans = [plan("a", 4), plan("b", 6), plan("c", 1), plan("d", 30), plan("e", 2)];
        let shards = divide(Path::new("out"), &plans, 10).unwrap();
        let names: Vec<Vec<&str>> =
            shards.iter().map(|shard| shard.iter().map(|plan| plan.name.as_str()).collect()).collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c"], vec!["d"], vec!["e"]]);
    }
}
