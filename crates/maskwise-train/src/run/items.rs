use crate::{Learner, Progress, TrainError};
use maskwise_data::dataset::{Loader, LoaderConfig, Mixture};
use std::sync::Arc;

/// Steps whose items are prepared ahead.
const STEPS_AHEAD: u64 = 2;

/// The items of a run from where it stands on, drawn and prepared by `workers` threads, for [`super::Trainer::run`]. Their number does
/// not alter the items.
///
/// # Errors
/// When a thread cannot be started.
pub fn prepared_items<L>(
    learner: Arc<L>,
    mixture: Arc<Mixture>,
    settings: &super::RunSettings,
    progress: &Progress,
    workers: usize,
) -> Result<impl Iterator<Item = Result<(String, L::Prepared), TrainError>> + Send + use<L>, TrainError>
where
    L: Learner + 'static,
    L::Prepared: 'static,
{
    let ahead = (STEPS_AHEAD * settings.items_per_step()).max(workers as u64) as usize;
    let config = LoaderConfig { seed: settings.seed, start: progress.next_position, workers, ahead };
    let loader = Loader::start(mixture, config, move |item| {
        let id = item.id.clone();
        learner.prepare(item).map(|prepared| (id, prepared))
    })?;
    Ok(loader.map(|item| item?))
}
