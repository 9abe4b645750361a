use crate::TrainError;
use std::path::Path;

/// As [`maskwise_data::fingerprint::of_paths`].
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn fingerprint(paths: &[&Path]) -> Result<String, TrainError> {
    maskwise_data::fingerprint::of_paths(paths)
        .map_err(|error| TrainError::io("read", &error.path, error.source))
}
