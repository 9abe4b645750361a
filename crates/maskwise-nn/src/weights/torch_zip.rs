//! PyTorch's checkpoint container since 1.6: a zip archive, stored without compression, that holds the pickle
//! `NAME/data.pkl` and one entry `NAME/data/KEY` per storage.

use std::collections::HashMap;
use std::io::BufReader;

use zip::{CompressionMethod, ZipArchive};

use super::error::WeightsError;
use super::files::PositionedFile;
use super::pickle_machine::{Heap, Value, run};
use super::pickle_reader::PickleReader;
use super::torch_file::{Contents, Extent, invalid_torch, pickle_failure};

/// Largest pickle that is loaded; see also the limit on what is read of it.
const MAXIMUM_PICKLE_BYTES: u64 = 64 << 20;

/// Reads directory and pickle of a zip container.
pub(crate) fn read_zip(file: &PositionedFile) -> Result<Contents, WeightsError> {
    let entries = list_entries(file)?;
    let mut pickles = entries.keys().filter(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
    let (Some(pickle), None) = (pickles.next(), pickles.next()) else {
        return Err(invalid_torch(file, "the archive does not hold exactly one data.pkl"));
    };
    let folder = &pickle[..pickle.len() - "data.pkl".len()];
    refuse_big_endian(file, &entries, folder)?;

    let (heap, root) = read_pickle(file, entries[pickle])?;
    let storage_folder = format!("{folder}data/");
    let key = |name: &str| name.strip_prefix(&storage_folder).map(str::to_string);
    let storages = entries.iter().filter_map(|(name, extent)| Some((key(name)?, *extent))).collect();
    Ok(Contents { heap, root, storages })
}

/// Every entry by name with the place of its bytes.
fn list_entries(file: &PositionedFile) -> Result<HashMap<String, Extent>, WeightsError> {
    let damaged = |error| {
        invalid_torch(
            file,
            format!("its zip directory is missing or damaged, as after an incomplete download ({error})"),
        )
    };
    let mut archive = ZipArchive::new(BufReader::new(file.reopen()?)).map_err(damaged)?;
    if archive.has_duplicate_names() {
        return Err(invalid_torch(file, "two entries of the archive have the same name"));
    }
    let mut entries = HashMap::with_capacity(archive.len());
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        if entry.encrypted() || entry.compression() != CompressionMethod::Stored {
            return Err(invalid_torch(file, format!("its entry {name:?} is compressed or encrypted")));
        }
        let Some(position) = entry.data_start() else {
            return Err(invalid_torch(file, format!("its entry {name:?} has no data")));
        };
        let extent = Extent { position, length: entry.size() };
        if position.checked_add(extent.length).is_none_or(|end| end > file.length()) {
            return Err(file.truncated(position.saturating_add(extent.length)));
        }
        entries.insert(name, extent);
    }
    Ok(entries)
}

fn refuse_big_endian(
    file: &PositionedFile,
    entries: &HashMap<String, Extent>,
    folder: &str,
) -> Result<(), WeightsError> {
    let Some(extent) = entries.get(&format!("{folder}byteorder")) else { return Ok(()) };
    let mut order = vec![0; extent.length.min(8) as usize];
    file.read_at(&mut order, extent.position)?;
    match order.as_slice() {
        b"little" => Ok(()),
        b"big" => Err(WeightsError::BigEndian { path: file.path().to_path_buf() }),
        _ => Err(invalid_torch(file, "its byte order is neither little nor big")),
    }
}

fn read_pickle(file: &PositionedFile, extent: Extent) -> Result<(Heap, Value), WeightsError> {
    if extent.length > MAXIMUM_PICKLE_BYTES {
        return Err(invalid_torch(file, format!("its data.pkl has {} bytes", extent.length)));
    }
    let mut bytes = vec![0; extent.length as usize];
    file.read_at(&mut bytes, extent.position)?;
    run(&mut PickleReader::new(bytes.as_slice())).map_err(|error| pickle_failure(file, error))
}
