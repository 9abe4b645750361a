use crate::{Progress, TrainError};
use maskwise_data::dataset::{DatasetError, Loader, LoaderConfig};

/// Steps whose items are prepared ahead.
const STEPS_AHEAD: u64 = 2;

/// The items of a run from where it stands on, made by `workers` threads, for [`super::Trainer::run`]: `make` returns the id and the
/// prepared item of a seed and a global position. The number of threads does not alter the items.
///
/// # Errors
/// When a thread cannot be started.
pub fn prepared_items<Prepared, F>(
    settings: &super::RunSettings,
    progress: &Progress,
    workers: usize,
    make: F,
) -> Result<impl Iterator<Item = Result<(String, Prepared), TrainError>> + Send + use<Prepared, F>, TrainError>
where
    Prepared: Send + 'static,
    F: Fn(u64, u64) -> Result<(String, Prepared), TrainError> + Send + Sync + 'static,
{
    let ahead = (STEPS_AHEAD * settings.items_per_step()).max(workers as u64) as usize;
    let config = LoaderConfig { seed: settings.seed, start: progress.next_position, workers, ahead };
    // A learner's error keeps its kind: it is the item's content, not the loader's failure.
    let loader = Loader::produce(config, move |seed, position| Ok::<_, DatasetError>(make(seed, position)))?;
    Ok(loader.map(|item| item?))
}
