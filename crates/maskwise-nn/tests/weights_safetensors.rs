//! Safetensors: round trips, sharding, combining, and what must be refused.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests too")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use maskwise_nn::weights::{
    Filtered, InMemory, Merged, Problem, Renamed, TensorPlan, TensorSource, WeightsError, looks_untrained,
    open_bytes, open_checkpoint, open_file, open_files, write_safetensors, write_sharded,
};
use proptest::prelude::*;

fn cpu(values: &[f32], shape: &[usize], dtype: DType) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn plan(name: &str, tensor: &Tensor) -> TensorPlan {
    TensorPlan { name: name.to_string(), shape: tensor.dims().to_vec(), dtype: tensor.dtype() }
}

fn values(source: &dyn TensorSource, name: &str) -> Vec<f64> {
    let tensor = source.read(name, DType::F64, &Device::Cpu).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn sample() -> BTreeMap<String, Tensor> {
    let grid: Vec<f32> = (0..12).map(|value| value as f32 / 2.0).collect();
    BTreeMap::from([
        ("bytes".to_string(), cpu(&[1., 2., 255.], &[3], DType::U8)),
        ("a.weight".to_string(), cpu(&grid, &[3, 4], DType::F32)),
        ("a.transposed".to_string(), cpu(&grid, &[3, 4], DType::F32).t().unwrap()),
        ("b.weight".to_string(), cpu(&grid, &[12], DType::BF16)),
        ("c".to_string(), cpu(&grid, &[2, 6], DType::F16)),
        ("d".to_string(), cpu(&[-7., 9.], &[2, 1], DType::I64)),
        ("scalar".to_string(), cpu(&[4.5], &[], DType::F64)),
        ("empty".to_string(), cpu(&[], &[0, 5], DType::F32)),
    ])
}

fn plans(tensors: &BTreeMap<String, Tensor>) -> Vec<TensorPlan> {
    tensors.iter().map(|(name, tensor)| plan(name, tensor)).collect()
}

fn assert_holds(source: &dyn TensorSource, tensors: &BTreeMap<String, Tensor>) {
    assert!(source.tensors().keys().eq(tensors.keys()));
    let memory = InMemory::new(tensors.clone().into_iter().collect());
    for (name, tensor) in tensors {
        let info = &source.tensors()[name];
        assert_eq!((info.shape.as_slice(), info.dtype), (tensor.dims(), tensor.dtype()), "{name}");
        assert_eq!(values(source, name), values(&memory, name), "{name}");
    }
}

fn files_in(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn one_file_round_trips_and_other_readers_accept_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let tensors = sample();
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    write_safetensors(&path, &plans(&tensors), &metadata, |name| Ok(tensors[name].clone())).unwrap();
    assert_eq!(files_in(folder.path()), ["model.safetensors"]);
    assert_holds(&open_file(&path).unwrap(), &tensors);

    // The format's own library, as an independent reader.
    let bytes = std::fs::read(&path).unwrap();
    let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(reference.len(), tensors.len());
    let weight = reference.tensor("a.transposed").unwrap();
    assert_eq!(weight.shape(), [4, 3]);
    assert_eq!(weight.data()[4..8], 2f32.to_le_bytes());
    for (name, view) in reference.tensors() {
        let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(start % tensors[&name].dtype().size_in_bytes(), 0, "{name} is aligned");
    }
}

#[test]
fn shards_round_trip_and_replace_an_older_single_file() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = sample();
    let write = |limit| {
        write_sharded(folder.path(), &plans(&tensors), &BTreeMap::new(), limit, |name| {
            Ok(tensors[name].clone())
        })
    };
    write(1 << 20).unwrap();
    assert_eq!(files_in(folder.path()), ["model.safetensors"]);
    write(60).unwrap();
    let names = files_in(folder.path());
    assert!(names.len() > 3 && !names.contains(&"model.safetensors".to_string()), "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("model")), "{names:?}");
    assert_holds(&open_checkpoint(folder.path()).unwrap(), &tensors);
    assert_holds(&open_file(&folder.path().join("model.safetensors.index.json")).unwrap(), &tensors);
    let shards: Vec<_> = names.iter().filter(|name| name.ends_with(".safetensors")).collect();
    let paths: Vec<_> = shards.iter().map(|name| folder.path().join(name)).collect();
    assert_holds(&open_files(&paths).unwrap(), &tensors);
    let duplicate = [paths[0].clone(), paths[0].clone()];
    assert!(matches!(open_files(&duplicate), Err(WeightsError::DuplicateTensor { .. })));
}

#[test]
fn bytes_in_memory_are_read_as_a_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let tensors = sample();
    write_safetensors(&path, &plans(&tensors), &BTreeMap::new(), |name| Ok(tensors[name].clone())).unwrap();
    let bytes: &'static [u8] = std::fs::read(&path).unwrap().leak();
    let label = std::path::Path::new("embedded model: model.safetensors");
    assert_holds(&open_bytes(label, bytes).unwrap(), &tensors);
    for end in [0, 4, 20, bytes.len() - 1] {
        let error = open_bytes(label, &bytes[..end]).err().unwrap().to_string();
        assert!(error.starts_with("embedded model: model.safetensors"), "{error}");
    }
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, "before").unwrap();
    let tensor = cpu(&[1., 2.], &[2], DType::F32);
    let announced = [plan("a", &tensor), plan("b", &tensor)];
    let wrong = cpu(&[1., 2.], &[1, 2], DType::F32);
    let none = BTreeMap::new();

    let failing = |name: &str| {
        if name == "a" { Ok(tensor.clone()) } else { Err(WeightsError::Missing { name: name.to_string() }) }
    };
    assert!(matches!(
        write_safetensors(&path, &announced, &none, failing),
        Err(WeightsError::Missing { name }) if name == "b"
    ));
    let changed = |name: &str| Ok(if name == "a" { tensor.clone() } else { wrong.clone() });
    assert!(matches!(
        write_safetensors(&path, &announced, &none, changed),
        Err(WeightsError::NotAsAnnounced { name, .. }) if name == "b"
    ));
    assert!(matches!(
        write_sharded(folder.path(), &announced, &none, 8, changed),
        Err(WeightsError::NotAsAnnounced { .. })
    ));
    let twice = [plan("a", &tensor), plan("a", &tensor)];
    assert!(matches!(
        write_safetensors(&path, &twice, &none, |_| Ok(tensor.clone())),
        Err(WeightsError::DuplicateTensor { .. })
    ));
    assert_eq!(files_in(folder.path()), ["model.safetensors"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");

    let nowhere = folder.path().join("no such folder/model.safetensors");
    assert!(matches!(
        write_safetensors(&nowhere, &announced, &none, |_| Ok(tensor.clone())),
        Err(WeightsError::NotWritable { .. })
    ));
}

#[test]
fn folders_without_complete_weights_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let error = open_checkpoint(root).err().unwrap();
    assert!(matches!(error, WeightsError::NoWeights { .. }));
    assert!(error.to_string().contains("pytorch_model.bin.index.json"), "{error}");
    assert!(matches!(open_checkpoint(&root.join("absent")), Err(WeightsError::Io { .. })));

    let tensors = sample();
    write_sharded(root, &plans(&tensors), &BTreeMap::new(), 60, |name| Ok(tensors[name].clone())).unwrap();
    let index_path = root.join("model.safetensors.index.json");
    let index = std::fs::read_to_string(&index_path).unwrap();

    std::fs::write(&index_path, index.replace("\"scalar\"", "\"scalars\"")).unwrap();
    let error = open_checkpoint(root).err().unwrap();
    let WeightsError::IndexMismatch { absent, unlisted, .. } = &error else { panic!("{error}") };
    assert!(absent[0].starts_with("scalars ("), "{error}");
    assert!(unlisted[0].starts_with("scalar ("), "{error}");

    for text in ["", "[]", "{}", r#"{"weight_map":{}}"#, r#"{"weight_map":{"a":"../a.bin"}}"#] {
        std::fs::write(&index_path, text).unwrap();
        assert!(matches!(open_checkpoint(root), Err(WeightsError::InvalidIndex { .. })), "{text}");
    }

    std::fs::write(&index_path, &index).unwrap();
    let shard = files_in(root).into_iter().find(|name| name.ends_with(".safetensors")).unwrap();
    let bytes = std::fs::read(root.join(&shard)).unwrap();
    std::fs::write(root.join(&shard), &bytes[..bytes.len() - 1]).unwrap();
    let error = open_checkpoint(root).err().unwrap();
    assert!(matches!(error, WeightsError::Truncated { .. }) && error.to_string().contains(&shard), "{error}");
    std::fs::remove_file(root.join(&shard)).unwrap();
    let error = open_checkpoint(root).err().unwrap();
    assert!(
        matches!(error, WeightsError::MissingShards { .. }) && error.to_string().contains(&shard),
        "{error}"
    );
}

fn file_with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn open_written(bytes: &[u8]) -> Result<Box<dyn TensorSource>, WeightsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    open_file(&path)
}

#[test]
fn broken_headers_are_refused() {
    let good = r#"{"__metadata__":{"a":"b"},"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  "#;
    assert!(open_written(&file_with_header(good, 8)).is_ok());
    let broken = [
        (good, 9),
        ("{", 0),
        ("{]", 0),
        (r#"{"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
        (r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
        (r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12),
        (r#"{"t":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8),
        (r#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}"#, 8),
        (r#"{"t":{"dtype":"U8","shape":[0,9223372036854775807,9],"data_offsets":[0,0]}}"#, 0),
        (r#"{"t":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, 0),
        (
            r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
            2,
        ),
        (
            r#"{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"u":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
            3,
        ),
    ];
    for (header, data) in broken {
        let error = open_written(&file_with_header(header, data)).err().unwrap();
        assert!(matches!(error, WeightsError::InvalidSafetensors { .. }), "{header}: {error}");
    }
    let eight_bits = r#"{"t":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#;
    assert!(matches!(
        open_written(&file_with_header(eight_bits, 2)),
        Err(WeightsError::UnsupportedDtype { .. })
    ));
    assert!(matches!(open_written(&file_with_header(good, 7)), Err(WeightsError::Truncated { .. })));
    let mut endless = file_with_header(good, 8);
    endless[..8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    assert!(matches!(open_written(&endless), Err(WeightsError::InvalidSafetensors { .. })));
    endless[..8].copy_from_slice(&90_000_000_u64.to_le_bytes());
    assert!(matches!(open_written(&endless), Err(WeightsError::Truncated { .. })));
}

#[test]
fn survives_truncation_and_flipped_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let tensors = sample();
    write_safetensors(&path, &plans(&tensors), &BTreeMap::new(), |name| Ok(tensors[name].clone())).unwrap();
    let valid = std::fs::read(&path).unwrap();
    for length in 0..valid.len() {
        std::fs::write(&path, &valid[..length]).unwrap();
        assert!(open_file(&path).is_err(), "cut to {length} bytes");
    }
    for position in 0..valid.len() {
        for flip in [0x01, 0x10, 0x80] {
            let mut bytes = valid.clone();
            bytes[position] ^= flip;
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(source) = open_file(&path) {
                for name in source.tensors().keys() {
                    let _ = source.read(name, DType::F32, &Device::Cpu);
                }
            }
        }
    }
}

#[test]
fn sources_combine() {
    let boxed = |names: &[&str]| -> Box<dyn TensorSource> {
        let tensor = cpu(&[1., 2.], &[2], DType::F32);
        Box::new(InMemory::new(names.iter().map(|name| (name.to_string(), tensor.clone())).collect()))
    };
    let sam = Renamed::under(boxed(&["mask_decoder.w"]), "model.visual_model");
    let merged = Merged::new(vec![boxed(&["a", "b"]), Box::new(sam)]).unwrap();
    let names: Vec<_> = merged.tensors().keys().cloned().collect();
    assert_eq!(names, ["a", "b", "model.visual_model.mask_decoder.w"]);
    for name in &names {
        assert_eq!(values(&merged, name), [1., 2.]);
    }
    assert!(Merged::new(vec![boxed(&["a"]), boxed(&["a"])]).is_err());
    let without_a = Filtered::new(boxed(&["a", "c"]), |name| name != "a");
    assert!(without_a.read("a", DType::F32, &Device::Cpu).is_err());
    assert_eq!(Merged::new(vec![boxed(&["a"]), Box::new(without_a)]).unwrap().tensors().len(), 2);

    let renamed = Renamed::new(boxed(&["x.a", "y.b"]), |name| name.strip_prefix("x.").map(str::to_string));
    let renamed = renamed.unwrap();
    assert!(renamed.tensors().keys().eq(["a"]));
    assert_eq!(values(&renamed, "a"), [1., 2.]);
    assert!(Renamed::new(boxed(&["a", "b"]), |_| Some("c".to_string())).is_err());
}

#[test]
fn gradients_reach_variables_in_memory() {
    let variable = Var::from_tensor(&cpu(&[1., 2.], &[2], DType::F32)).unwrap();
    let source = InMemory::new(HashMap::from([("v".to_string(), variable.as_tensor().clone())]));
    for dtype in [DType::F32, DType::F64] {
        let loss = source.read("v", dtype, &Device::Cpu).unwrap().sqr().unwrap().sum_all().unwrap();
        let gradient = loss.backward().unwrap().get(&variable).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(gradient, [2., 4.]);
    }
}

#[test]
fn untrained_heads_are_found() {
    let tensors = HashMap::from([
        ("zero".to_string(), cpu(&[0.; 4], &[2, 2], DType::BF16)),
        ("constant".to_string(), cpu(&[0.5; 4], &[2, 2], DType::F32)),
        ("broken".to_string(), cpu(&[0.5, f32::NAN], &[2], DType::F32)),
        ("trained".to_string(), cpu(&[0.5, -0.5], &[2], DType::F16)),
    ]);
    let source = InMemory::new(tensors);
    let findings = looks_untrained(&source, ["zero", "trained", "constant", "broken"]).unwrap();
    let found: Vec<_> = findings.iter().map(|finding| (finding.name.as_str(), finding.problem)).collect();
    let expected =
        [("zero", Problem::AllZero), ("constant", Problem::Constant(0.5)), ("broken", Problem::NonFinite(1))];
    assert_eq!(found, expected);
    assert_eq!(findings[0].to_string(), "`zero` is all zero");
    assert!(matches!(looks_untrained(&source, ["absent"]), Err(WeightsError::Missing { .. })));
}

/// Bit patterns of 16-bit and 32-bit floats, infinities and all, but not NaN (which equals nothing).
fn finite_bits() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("NaN", |value| !value.is_nan())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Reading converts exactly as candle converts (f32 to bf16 and f16 round to nearest even; widening is exact).
    #[test]
    fn conversion_while_reading_is_candles(numbers in proptest::collection::vec(finite_bits(), 1..200)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        for stored in [DType::F32, DType::BF16, DType::F16] {
            let tensor = cpu(&numbers, &[numbers.len()], stored);
            write_safetensors(&path, &[plan("t", &tensor)], &BTreeMap::new(), |_| Ok(tensor.clone())).unwrap();
            let source = open_file(&path).unwrap();
            for wanted in [DType::F32, DType::BF16, DType::F16] {
                let read = source.read("t", wanted, &Device::Cpu).unwrap();
                let bits = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
                prop_assert_eq!(bits(&read), bits(&tensor.to_dtype(wanted).unwrap()));
            }
        }
    }

    /// Tensors longer than one block, and the last block of any length.
    #[test]
    fn blocks_join(count in 65_500_usize..66_000) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let tensor = Tensor::arange(0_u32, count as u32, &Device::Cpu).unwrap();
        write_safetensors(&path, &[plan("t", &tensor)], &BTreeMap::new(), |_| Ok(tensor.clone())).unwrap();
        let read = open_file(&path).unwrap().read("t", DType::I64, &Device::Cpu).unwrap();
        prop_assert!(read.to_vec1::<i64>().unwrap().into_iter().eq(0..count as i64));
    }
}
