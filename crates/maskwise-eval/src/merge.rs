use crate::folder::difference;
use crate::{EvalError, Evaluation, Shard};
use std::path::PathBuf;

/// Puts the shards of an evaluation together, in whatever order they are named; [`finish_merged`](crate::finish_merged) writes it.
///
/// # Errors
/// When a shard is missing, unfinished, there twice, or of another run.
pub fn merge(shards: &[PathBuf]) -> Result<Evaluation, EvalError> {
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
    let whole = Evaluation { record, samples };
    whole.check_complete()?;
    Ok(whole)
}
