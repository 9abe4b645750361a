//! PyTorch checkpoints: fixtures written by PyTorch 2 (`weights_fixtures/make.py`) and by the official
//! implementations (`units/bin_ckpt` of the goldens), and what must be refused.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests too")]

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use maskwise_nn::weights::{TensorSource, TorchFile, WeightsError, open_checkpoint, open_file};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/weights_fixtures").join(name)
}

fn floats(source: &dyn TensorSource, name: &str) -> Vec<f32> {
    let tensor = source.read(name, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(tensor.dims(), source.tensors()[name].shape, "{name}");
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Values written by `make.py`.
fn check_fixture(source: &dyn TensorSource) {
    let up_to = |end: u8| (0..end).map(f32::from).collect::<Vec<_>>();
    let expected: Vec<(&str, &[usize], DType, Vec<f32>)> = vec![
        ("rows", &[3, 4], DType::F32, up_to(12)),
        ("columns", &[4, 3], DType::F32, vec![0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.]),
        ("window", &[2, 2], DType::F32, vec![5., 6., 9., 10.]),
        ("repeated", &[2, 4], DType::F32, vec![0., 1., 2., 3., 0., 1., 2., 3.]),
        ("scalar", &[], DType::F64, vec![2.5]),
        ("empty", &[0, 3], DType::F32, vec![]),
        ("halves", &[2], DType::F16, vec![1.5, -2.25]),
        ("brains", &[2], DType::BF16, vec![1.5, -2.25]),
        ("flags", &[3], DType::U8, vec![1., 0., 1.]),
        ("bytes", &[2], DType::I16, vec![-3., 7.]),
        ("longs", &[2], DType::I64, vec![-(2f32.powi(40)), 2f32.powi(40)]),
        ("parameter", &[3, 4], DType::F32, (1..13).map(|value| value as f32).collect()),
    ];
    for (name, shape, dtype, values) in &expected {
        let info = &source.tensors()[*name];
        assert_eq!((info.shape.as_slice(), info.dtype), (*shape, *dtype), "{name}");
        assert_eq!(floats(source, name), *values, "{name}");
    }
    let with_shorts = source.tensors().contains_key("shorts");
    if with_shorts {
        assert_eq!(floats(source, "shorts"), [1.0, 65535.0]);
    }
    assert_eq!(source.tensors().len(), expected.len() + usize::from(with_shorts));
    let longs = source.read("longs", DType::I64, &Device::Cpu).unwrap();
    assert_eq!(longs.to_vec1::<i64>().unwrap(), [-(1 << 40), 1 << 40]);
}

#[test]
fn reads_what_pytorch_writes() {
    let plain = open_file(&fixture("plain.pth")).unwrap();
    assert!(plain.tensors().contains_key("shorts"), "an untyped storage");
    check_fixture(&plain);
    check_fixture(&open_file(&fixture("wrapped_protocol4.pth")).unwrap());
    check_fixture(&open_file(&fixture("wrapped_legacy.pth")).unwrap());

    let module = open_file(&fixture("module.bin")).unwrap();
    assert_eq!(floats(&module, "weight"), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(floats(&module, "bias"), [0.5, 0.5]);
}

#[test]
fn selects_an_entry() {
    for name in ["wrapped_protocol4.pth", "wrapped_legacy.pth"] {
        let state = TorchFile::open_entry(&fixture(name), &["optimizer", "state"]).unwrap();
        assert_eq!(floats(&state, "0.step"), [4.0]);
        let error = TorchFile::open_entry(&fixture(name), &["ema"]).unwrap_err();
        assert!(error.to_string().contains("ema"), "{error}");
    }
}

#[test]
fn converts_only_what_keeps_the_values() {
    let source = open_file(&fixture("plain.pth")).unwrap();
    for (name, dtype) in [("rows", DType::I64), ("bytes", DType::U8), ("longs", DType::I32)] {
        let error = source.read(name, dtype, &Device::Cpu).unwrap_err();
        assert!(
            matches!(&error, WeightsError::UnsupportedConversion { name: n, .. } if n == name),
            "{error}"
        );
    }
    let error = source.read("no such", DType::F32, &Device::Cpu).unwrap_err();
    assert!(matches!(error, WeightsError::UnknownTensor { .. }));
}

#[test]
fn refuses_a_module_with_code() {
    let error = open_file(&fixture("whole_module.pth")).err().unwrap();
    let WeightsError::PickleRefused { request, .. } = &error else { panic!("{error}") };
    assert!(request.starts_with("torch.nn.modules.linear"), "{request}");
}

/// The magic number and version that begin a legacy container, facts about a machine, then `pickle` and no storages.
fn legacy_file(little_endian: bool, pickle: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    bytes.extend(b"\x80\x02}X\x0d\x00\x00\x00little_endian");
    bytes.extend([if little_endian { 0x88 } else { 0x89 }]);
    bytes.extend(b"s.\x80\x02");
    bytes.extend(pickle);
    bytes.extend(b"\x80\x02].");
    bytes
}

fn open_bytes(bytes: &[u8]) -> Result<Box<dyn TensorSource>, WeightsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.pth");
    std::fs::write(&path, bytes).unwrap();
    open_file(&path)
}

#[test]
fn refuses_code_by_name() {
    let attempts: [(&[u8], &str); 7] = [
        (b"cos\nsystem\nX\x04\x00\x00\x00true\x85R.", "os.system"),
        (b"\x8c\x08builtins\x8c\x04eval\x93\x8c\x01a\x85R.", "builtins.eval"),
        (b"(X\x04\x00\x00\x00trueios\nsystem\n.", "os.system"),
        (b"ctorch.hub\nload\n)R.", "torch.hub.load"),
        (b"ctorch\nload\n)R.", "torch.load"),
        (b"ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        (b"ccollections\nOrder\x1b[2Jed\n)R.", "collections.Order\\u{1b}[2Jed"),
    ];
    for (pickle, expected) in attempts {
        let error = open_bytes(&legacy_file(true, pickle)).err().unwrap();
        let WeightsError::PickleRefused { request, .. } = &error else { panic!("{expected}: {error}") };
        assert!(request.contains(expected), "{request}");
        assert!(error.to_string().contains("nothing was executed"));
    }
}

#[test]
fn refuses_big_endian_and_odd_files() {
    assert!(matches!(open_bytes(&legacy_file(false, b"}.")), Err(WeightsError::BigEndian { .. })));
    let empty = open_bytes(&legacy_file(true, b"}.")).err().unwrap();
    assert!(empty.to_string().contains("no tensors"), "{empty}");
    let pointer = open_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n").err().unwrap();
    assert!(pointer.to_string().contains("Git LFS pointer"), "{pointer}");
    for content in [&b""[..], b"<html>not found</html>", b"\x89PNG\r\n\x1a\n0000000000000000"] {
        assert!(matches!(open_bytes(content), Err(WeightsError::UnknownFormat { .. })));
    }
}

/// Pickles that try to make a small file take much memory or time.
#[test]
fn bounds_hostile_pickles() {
    // A dictionary that holds the one before it twice, forty levels deep.
    let mut doubling = b"}q\x00".to_vec();
    for level in 1..40_u8 {
        doubling.extend([b'}', b'q', level, b'(', b'K', 1, b'h', level - 1, b'K', 2, b'h', level - 1, b'u']);
    }
    doubling.push(b'.');
    // One list of many items turned into a dictionary again and again.
    let mut copying = b"](".to_vec();
    copying.splice(0..1, *b"]q\x00");
    copying.extend(b"K\x01K\x02\x86".repeat(10_000));
    copying.extend(b"e0");
    copying.extend(b"ccollections\nOrderedDict\nq\x010");
    copying.extend(b"h\x01h\x00\x85R".repeat(10_000));
    copying.push(b'.');
    let cyclic = b"}q\x00K\x01h\x00s.".to_vec();
    let nested = [b")".to_vec(), b"\x85".repeat(1_000_000), b".".to_vec()].concat();
    let unbounded_text = b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc".to_vec();
    let endless = b"N".repeat(3_000_000);
    for pickle in [doubling, copying, cyclic, nested, unbounded_text, endless] {
        let error = open_bytes(&legacy_file(true, &pickle)).err().unwrap();
        assert!(matches!(error, WeightsError::InvalidTorchFile { .. }), "{error}");
    }
}

/// A view of `shape` and `strides` from `offset` on a storage of `count` floats, named `t`, without its data.
fn one_tensor(count: u8, offset: u8, shape: [u32; 2], strides: [u32; 2]) -> Vec<u8> {
    let pair = |[a, b]: [u32; 2]| [&b"J"[..], &a.to_le_bytes(), b"J", &b.to_le_bytes(), b"\x86"].concat();
    let mut pickle =
        b"}X\x01\x00\x00\x00tctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage".to_vec();
    pickle.extend(b"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK");
    pickle.extend([count, b't', b'Q', b'K', offset]);
    pickle.extend(pair(shape));
    pickle.extend(pair(strides));
    pickle.extend(b"\x89}tRs.");
    pickle
}

#[test]
fn refuses_views_beyond_their_storage() {
    let with_data = |pickle: &[u8]| {
        let mut bytes = legacy_file(true, pickle);
        bytes.truncate(bytes.len() - 4);
        bytes.extend(b"\x80\x02]X\x01\x00\x00\x000a.");
        bytes.extend(6_u64.to_le_bytes());
        bytes.extend((0..6).flat_map(|value| (value as f32).to_le_bytes()));
        bytes
    };
    let good = with_data(&one_tensor(6, 1, [2, 2], [1, 3]));
    let source = open_bytes(&good).unwrap();
    drop(source);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("view.pth");
    std::fs::write(&path, &good).unwrap();
    assert_eq!(floats(&open_file(&path).unwrap(), "t"), [1., 4., 2., 5.]);

    for (count, offset, shape, strides) in [
        (6, 2, [2, 2], [1, 3]),
        (6, 7, [0, 2], [2, 1]),
        (6, 0, [i32::MAX as u32, i32::MAX as u32], [0, 0]),
        (6, 0, [2, 2], [i32::MAX as u32, i32::MAX as u32]),
        (6, 0, [u32::MAX, 2], [1, 1]), // negative
        (7, 0, [2, 2], [1, 1]),        // not the length that the file holds
    ] {
        let error = open_bytes(&with_data(&one_tensor(count, offset, shape, strides))).err().unwrap();
        assert!(matches!(error, WeightsError::InvalidTorchFile { .. }), "{error}");
    }
    for cut in [1, 20, 30] {
        assert!(open_bytes(&good[..good.len() - cut]).is_err());
    }
}

/// Valid files cut short, and with bits flipped all over: an error or other values, never a panic.
#[test]
fn survives_truncation_and_flipped_bits() {
    for name in ["plain.pth", "wrapped_legacy.pth", "module.bin"] {
        let valid = std::fs::read(fixture(name)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let step = (valid.len() / 300).max(1);
        for length in (0..valid.len()).step_by(step) {
            std::fs::write(&path, &valid[..length]).unwrap();
            assert!(open_file(&path).is_err(), "{name} cut to {length} bytes");
        }
        let mut bytes = valid.clone();
        let step = (valid.len() / 500).max(1);
        for position in (0..valid.len()).step_by(step) {
            for flip in [0x01, 0x80] {
                bytes[position] ^= flip;
                std::fs::write(&path, &bytes).unwrap();
                if let Ok(source) = open_file(&path) {
                    for name in source.tensors().keys() {
                        let _ = source.read(name, DType::F32, &Device::Cpu);
                    }
                }
                bytes[position] ^= flip;
            }
        }
    }
}

/// The folder of goldens that holds PyTorch checkpoints, or `None` when goldens are not at hand.
fn goldens() -> Option<PathBuf> {
    let root = std::env::var_os("MASKWISE_GOLDENS");
    if root.is_none() {
        println!("skipped: MASKWISE_GOLDENS is not set");
    }
    root.map(|root| PathBuf::from(root).join("units/bin_ckpt"))
}

fn assert_same(found: &dyn TensorSource, expected: &dyn TensorSource, name: &str) {
    let (found_info, expected_info) = (&found.tensors()[name], &expected.tensors()[name]);
    assert_eq!(found_info.shape, expected_info.shape, "{name}");
    assert_eq!(found_info.dtype, expected_info.dtype, "{name}");
    // Doubles hold every value of the other types but the largest integers.
    let values = |source: &dyn TensorSource| -> Vec<f64> {
        let tensor: Tensor = source.read(name, DType::F64, &Device::Cpu).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    assert_eq!(values(found), values(expected), "{name}");
}

#[test]
fn sharded_bin_equals_its_expectation() {
    let Some(folder) = goldens() else { return };
    let found = open_checkpoint(&folder).unwrap();
    let expected = open_file(&folder.join("expected_bf16.safetensors")).unwrap();
    assert!(found.tensors().keys().eq(expected.tensors().keys()));
    assert!(!found.tensors().is_empty());
    for name in expected.tensors().keys() {
        assert_same(&found, &expected, name);
    }
}

#[test]
fn views_equal_their_expectation() {
    let Some(folder) = goldens() else { return };
    let expected = open_file(&folder.join("views_expected.safetensors")).unwrap();
    let views = open_file(&folder.join("views.pth")).unwrap();
    for name in expected.tensors().keys() {
        assert_same(&views, &expected, name);
    }
    // The legacy file holds some of them; every one it holds must be as expected.
    let legacy = open_file(&folder.join("views_legacy.pth")).unwrap();
    assert!(!legacy.tensors().is_empty());
    for name in legacy.tensors().keys() {
        assert_same(&legacy, &expected, name);
    }
}

#[test]
fn sam_subset_opens() {
    let Some(folder) = goldens() else { return };
    let sam = open_file(&folder.join("sam_subset.pth")).unwrap();
    assert!(sam.tensors().keys().any(|name| name.starts_with("prompt_encoder.")));
    for name in sam.tensors().keys() {
        assert!(floats(&sam, name).iter().all(|value| value.is_finite()), "{name}");
    }
}
