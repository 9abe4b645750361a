//! PyTorch's checkpoint container before 1.6: five pickles one after the other (a magic number, the protocol's
//! version, facts about the machine, the checkpoint, the keys of the storages), then the storages in the order of
//! the keys, each with its element count (8 bytes) before it.

use std::collections::HashMap;
use std::io::BufReader;
use std::sync::Arc;

use super::error::WeightsError;
use super::files::PositionedFile;
use super::pickle_machine::{Container, Heap, Value, run};
use super::pickle_reader::PickleReader;
use super::torch_file::{Contents, Extent, invalid_torch, pickle_failure};

/// The pickled magic number 0x1950a86a20f9469cfc6c, after the two bytes that name the pickle's protocol.
pub(crate) const LEGACY_MAGIC: [u8; 12] =
    [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The only version of the container there ever was.
const PROTOCOL_VERSION: i64 = 1001;

/// Reads the pickles of a legacy container and finds its storages.
pub(crate) fn read_legacy(file: &PositionedFile) -> Result<Contents, WeightsError> {
    let mut reader = PickleReader::new(BufReader::new(file.reopen()?));
    let mut next = || run(&mut reader).map_err(|error| pickle_failure(file, error));
    next()?;
    let (_, version) = next()?;
    if !matches!(version, Value::Integer(PROTOCOL_VERSION)) {
        return Err(invalid_torch(file, "its container has an unknown version"));
    }
    let (facts, machine) = next()?;
    refuse_big_endian(file, &facts, &machine)?;
    let (heap, root) = next()?;
    let (key_heap, keys) = next()?;
    let storages = locate_storages(file, reader.consumed(), &heap, &storage_keys(file, &key_heap, &keys)?)?;
    Ok(Contents { heap, root, storages })
}

fn refuse_big_endian(file: &PositionedFile, heap: &Heap, machine: &Value) -> Result<(), WeightsError> {
    if let Value::Container(index) = machine
        && let Container::Dictionary(facts) = heap.get(*index)
    {
        let little =
            facts.iter().find(|(key, _)| matches!(key, Value::Text(key) if &**key == "little_endian"));
        return match little {
            Some((_, Value::Bool(true))) => Ok(()),
            Some((_, Value::Bool(false))) => Err(WeightsError::BigEndian { path: file.path().to_path_buf() }),
            _ => Err(invalid_torch(file, "it does not say its byte order")),
        };
    }
    Err(invalid_torch(file, "it does not say on which machine it was written"))
}

fn storage_keys(file: &PositionedFile, heap: &Heap, keys: &Value) -> Result<Vec<Arc<str>>, WeightsError> {
    let keys = heap.sequence(keys).map_err(|error| pickle_failure(file, error))?;
    let text = |key: &Value| match key {
        Value::Text(key) => Ok(key.clone()),
        _ => Err(invalid_torch(file, "the key of a storage is not text")),
    };
    keys.iter().map(text).collect()
}

fn locate_storages(
    file: &PositionedFile,
    start: u64,
    heap: &Heap,
    keys: &[Arc<str>],
) -> Result<HashMap<String, Extent>, WeightsError> {
    let mut position = start;
    let mut storages = HashMap::new();
    for key in keys {
        let storage = heap
            .storages()
            .get(key)
            .ok_or_else(|| invalid_torch(file, format!("no tensor uses its storage {key:?}")))?;
        let mut count = [0; 8];
        file.read_at(&mut count, position)?;
        let size = storage.element.map_or(1, |element| element.size() as u64);
        if u64::from_le_bytes(count).checked_mul(size) != Some(storage.length) {
            return Err(invalid_torch(
                file,
                format!("its storage {key:?} has another length than its tensors say"),
            ));
        }
        let extent = Extent { position: position + 8, length: storage.length };
        let end = extent.position.saturating_add(extent.length);
        if end > file.length() {
            return Err(file.truncated(end));
        }
        if storages.insert(key.to_string(), extent).is_some() {
            return Err(invalid_torch(file, format!("its storage {key:?} is there twice")));
        }
        position = end;
    }
    Ok(storages)
}
