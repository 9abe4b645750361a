use crate::folder::difference;
use crate::{EvalError, Evaluation, Shard};
use std::path::{Path, PathBuf};

/// Puts the shards of an evaluation together, in whatever order they are named, as a single run would have written it into `output`.
///
/// # Errors
/// When a shard is missing, unfinished, there twice, or of another run.
pub fn merge(shards: &[PathBuf], output: &Path) -> Result<Evaluation, EvalError> {
    let mut parts = Vec::with_capacity(shards.len());
    for path in shards {
        parts.push((path, Evaluation::read(path)?));
    }
    parts.sort_by_key(|(_, part)| part.record.shard.number);
    let Some((_, first)) = parts.first() else {
        return Err(EvalError::Benchmark("there are no shards to merge".to_owned()));
    };
    let mut record = first.record.clone();
    let of = record.shard.of;
    record.shard = Shard::default();
    let mut samples = Vec::with_capacity(record.items);
    for (place, (path, part)) in parts.into_iter().enumerate() {
        let Shard { number, of: parts } = part.record.shard;
        if parts != of || number != place + 1 {
            let reason = format!("is shard {number} of {parts} where shard {} of {of} is due", place + 1);
            return Err(EvalError::folder(path, reason));
        }
        let alone = crate::RunRecord { shard: Shard::default(), ..part.record };
        if let Some(difference) = difference(&alone, &record) {
            return Err(EvalError::folder(path, format!("is of another run: {difference}")));
        }
        samples.extend(part.samples);
    }
    if let Some((place, sample)) = samples.iter().enumerate().find(|(place, sample)| sample.index != *place) {
        let reason = format!(
            "the shards are unfinished: item {} stands where {place} is due; resume them",
            sample.index
        );
        return Err(EvalError::Benchmark(reason));
    }
    if samples.len() != record.items {
        let reason =
            format!("the shards have {} of {} items; resume or add the rest", samples.len(), record.items);
        return Err(EvalError::Benchmark(reason));
    }
    let whole = Evaluation { record, samples };
    whole.write(output)?;
    Ok(whole)
}
