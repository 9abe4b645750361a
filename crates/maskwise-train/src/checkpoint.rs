//! Checkpoints from which a run continues as if it had never stopped.
//!
//! ```text
//! RUN/checkpoints/last                              the name of the newest checkpoint
//! RUN/checkpoints/best                              the name of the one with the best score
//! RUN/checkpoints/step-000123/parameters.safetensors
//! RUN/checkpoints/step-000123/optimizer.safetensors moments as `first/NAME` and `second/NAME`
//! RUN/checkpoints/step-000123/state.json            counters, best score, what the run is
//! ```
//!
//! A checkpoint is written as `step-000123.partial`, brought to the disk, renamed; then the pointers are swapped. Whatever moment
//! the process is killed at, `last` names a complete checkpoint. Nothing random is kept because all of it is a function of the seed
//! and the position.

use crate::optimizer::Moment;
use crate::{Optimizer, Parameters, TrainError};
use candle_core::{DType, Device, Tensor};
use maskwise_data::atomic::write_atomic;
use maskwise_nn::weights::{SafetensorsFile, TensorPlan, TensorSource, WeightsError, write_safetensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;
const PARAMETERS: &str = "parameters.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// What must be the same when a run is continued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunIdentity {
    /// A hash of the model that the run started from: its frozen weights and its configuration.
    pub model: String,
    /// A hash of the data.
    pub data: String,
    /// Every setting that alters the mathematics, as nested keys.
    pub settings: Value,
}

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Optimiser steps made; also the position in the schedule.
    pub step: u64,
    /// The global position of the next training item.
    pub next_position: u64,
    /// The best validation so far.
    pub best: Option<BestScore>,
}

/// A validation that no other has surpassed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestScore {
    /// The score's name, `ciou` for example.
    pub score: String,
    /// Its value; higher is better.
    pub value: f64,
    /// Optimiser steps made before that validation.
    pub step: u64,
}

/// The trained tensors of a checkpoint folder, f32.
///
/// # Errors
/// When its file is missing or damaged.
pub(crate) fn checkpoint_parameters(folder: &Path) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let file = SafetensorsFile::open(&folder.join(PARAMETERS))?;
    let names = file.tensors().keys();
    names.map(|name| Ok((name.clone(), file.read(name, DType::F32, &Device::Cpu)?))).collect()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: u32,
    progress: Progress,
    optimizer_steps: BTreeMap<String, u64>,
    identity: RunIdentity,
}

/// The checkpoints of a run folder for whoever only reads them, while the run may go on.
#[derive(Debug)]
pub struct CheckpointFolder(PathBuf);

impl CheckpointFolder {
    /// Those of `run_folder`.
    pub fn of(run_folder: &Path) -> Self {
        Self(run_folder.join("checkpoints"))
    }

    fn names(&self) -> Result<Vec<String>, TrainError> {
        let failed = |error| TrainError::io("list", &self.0, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Steps of all complete checkpoints, ascending.
    fn complete(&self) -> Result<Vec<u64>, TrainError> {
        let mut steps: Vec<u64> = self.names()?.iter().filter_map(|name| step_of(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The folder of the newest checkpoint; none before the first save.
    ///
    /// # Errors
    /// When the pointer names no checkpoint.
    pub fn last(&self) -> Result<Option<PathBuf>, TrainError> {
        match self.pointer("last")? {
            Some(folder) => Ok(Some(folder)),
            // Killed between the first rename and the first pointer: the folder is complete.
            None => Ok(self.complete()?.last().map(|step| self.0.join(folder_name(*step)))),
        }
    }

    /// The folder of the checkpoint with the best score; none before a validation.
    ///
    /// # Errors
    /// When the pointer names no checkpoint.
    pub fn best(&self) -> Result<Option<PathBuf>, TrainError> {
        self.pointer("best")
    }

    fn pointer(&self, name: &str) -> Result<Option<PathBuf>, TrainError> {
        let path = self.0.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(TrainError::io("read", &path, error)),
        };
        let target = text.trim();
        let folder = self.0.join(target);
        if step_of(target).is_none() || !folder.is_dir() {
            let reason =
                format!("it names `{target}`, which is no checkpoint here; write the name of one into it");
            return Err(TrainError::Resume { path, reason });
        }
        Ok(Some(folder))
    }
}

/// The checkpoints of one run folder, locked against a second process while this value lives.
#[derive(Debug)]
pub struct Checkpoints {
    folder: CheckpointFolder,
    keep: usize,
    lock: File,
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        // Closing would not be enough: a process that another thread starts at this moment has a copy of the descriptor until
        // it runs its program, and a lock ends with the last copy. Unlocking ends it for all.
        let _ = self.lock.unlock();
    }
}

impl Checkpoints {
    /// Opens or makes `RUN/checkpoints`, of which the newest `keep` (at least one) are kept besides the best, and removes what a
    /// killed save left behind.
    ///
    /// # Errors
    /// When another process trains into this folder, or it cannot be written.
    pub fn open(run_folder: &Path, keep: usize) -> Result<Self, TrainError> {
        let folder = CheckpointFolder::of(run_folder);
        fs::create_dir_all(&folder.0).map_err(|error| TrainError::io("create", &folder.0, error))?;
        let lock_path = folder.0.join("lock");
        let lock = File::create(&lock_path).map_err(|error| TrainError::io("write", &lock_path, error))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let reason = "another process trains into this folder; wait for it or choose another folder";
                return Err(TrainError::setting(run_folder.display().to_string(), reason));
            }
            Err(TryLockError::Error(error)) => return Err(TrainError::io("lock", &lock_path, error)),
            Ok(()) => {}
        }
        let checkpoints = Self { folder, keep: keep.max(1), lock };
        checkpoints.remove_leftovers()?;
        Ok(checkpoints)
    }

    fn remove_leftovers(&self) -> Result<(), TrainError> {
        for name in self.folder.names()? {
            if name.ends_with(".partial") {
                remove_folder(&self.folder.0.join(name))?;
            } else if name.starts_with(".maskwise-") {
                let path = self.folder.0.join(name);
                fs::remove_file(&path).map_err(|error| TrainError::io("remove", &path, error))?;
            }
        }
        Ok(())
    }

    /// The folder of the newest checkpoint; none before the first save.
    ///
    /// # Errors
    /// When the pointer names no checkpoint.
    pub fn last(&self) -> Result<Option<PathBuf>, TrainError> {
        self.folder.last()
    }

    /// The folder of the checkpoint with the best score; none before a validation.
    ///
    /// # Errors
    /// When the pointer names no checkpoint.
    pub fn best(&self) -> Result<Option<PathBuf>, TrainError> {
        self.folder.best()
    }

    fn point(&self, name: &str, step: u64) -> Result<(), TrainError> {
        let text = format!("{}\n", folder_name(step));
        Ok(write_atomic(&self.folder.0.join(name), |writer| writer.write_all(text.as_bytes()))?)
    }

    /// Writes a checkpoint, all of it or nothing, points `last` to it (and `best`, if its progress says that it is the best), and
    /// removes those that are no longer kept. `saving` is told the number of tensors written and of all.
    ///
    /// # Errors
    /// When something cannot be written (a full disk, say). The checkpoints from before are then untouched.
    pub fn save(
        &self,
        parameters: &Parameters,
        optimizer: &Optimizer,
        progress: &Progress,
        identity: &RunIdentity,
        saving: &mut dyn FnMut(usize, usize),
    ) -> Result<PathBuf, TrainError> {
        let target = self.folder.0.join(folder_name(progress.step));
        let partial = target.with_extension("partial");
        remove_folder(&partial)?;
        let state = State {
            format: FORMAT,
            progress: progress.clone(),
            optimizer_steps: optimizer.steps().map(|(name, steps)| (name.to_owned(), steps)).collect(),
            identity: identity.clone(),
        };
        if let Err(error) = write_files(&partial, parameters, optimizer, &state, saving) {
            // What failed is the error to report; a leftover is removed when the run is continued.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        // Of an earlier line of this run that was abandoned; no pointer names it.
        remove_folder(&target)?;
        fs::rename(&partial, &target).map_err(|error| TrainError::io("rename", &partial, error))?;
        sync_folder(&self.folder.0);
        self.point("last", progress.step)?;
        self.point_to_best(progress)?;
        self.remove_old(progress)?;
        Ok(target)
    }

    fn point_to_best(&self, progress: &Progress) -> Result<(), TrainError> {
        match &progress.best {
            Some(best) if self.folder.0.join(folder_name(best.step)).is_dir() => {
                self.point("best", best.step)
            }
            _ => Ok(()),
        }
    }

    fn remove_old(&self, progress: &Progress) -> Result<(), TrainError> {
        let best = progress.best.as_ref().map(|best| best.step);
        let mut old: Vec<u64> =
            self.folder.complete()?.into_iter().filter(|step| *step <= progress.step).collect();
        old.truncate(old.len().saturating_sub(self.keep));
        old.retain(|step| Some(*step) != best);
        old.into_iter().try_for_each(|step| remove_folder(&self.folder.0.join(folder_name(step))))
    }

    /// Puts the newest checkpoint back into `parameters` and `optimizer`. None when there is none yet.
    ///
    /// # Errors
    /// [`TrainError::Resume`] when the checkpoint belongs to another model, other data, other settings (naming the first that differs)
    /// or other parameters; nothing is changed then. Otherwise when a file cannot be read.
    pub fn load(
        &self,
        parameters: &Parameters,
        optimizer: &mut Optimizer,
        identity: &RunIdentity,
    ) -> Result<Option<Progress>, TrainError> {
        let Some(folder) = self.last()? else { return Ok(None) };
        let state = read_state(&folder)?;
        let refuse = |reason: String| TrainError::Resume { path: folder.clone(), reason };
        compare_identities(&state.identity, identity).map_err(refuse)?;

        let kept = SafetensorsFile::open(&folder.join(PARAMETERS))?;
        compare_tensors(&kept, &parameter_plans(parameters)).map_err(refuse)?;
        let moments = SafetensorsFile::open(&folder.join(OPTIMIZER))?;
        compare_tensors(&moments, &moment_plans(parameters, optimizer)).map_err(refuse)?;
        if let Some((name, _)) =
            parameters.iter().find(|(name, _)| !state.optimizer_steps.contains_key(*name))
        {
            return Err(refuse(format!("{STATE} lacks the step count of `{name}`")));
        }

        for (name, variable) in parameters.iter() {
            variable.set(&kept.read(name, DType::F32, variable.device())?)?;
            let read = |key: String| moments.read(&key, DType::F32, variable.device());
            let steps = state.optimizer_steps[name];
            let second = optimizer.has_second_moment(name).then(|| read(second_moment(name))).transpose()?;
            let moment = Moment { steps, first: read(first_moment(name))?, second };
            optimizer.restore(name, &moment)?;
        }
        // Killed between the two pointers, `best` is one behind.
        self.point_to_best(&state.progress)?;
        Ok(Some(state.progress))
    }
}

fn folder_name(step: u64) -> String {
    format!("step-{step:06}")
}

fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn first_moment(name: &str) -> String {
    format!("first/{name}")
}

fn second_moment(name: &str) -> String {
    format!("second/{name}")
}

fn plan(name: String, shape: &[usize]) -> TensorPlan {
    TensorPlan { name, shape: shape.to_vec(), dtype: DType::F32 }
}

fn parameter_plans(parameters: &Parameters) -> Vec<TensorPlan> {
    parameters.iter().map(|(name, variable)| plan(name.to_owned(), variable.dims())).collect()
}

fn moment_plans(parameters: &Parameters, optimizer: &Optimizer) -> Vec<TensorPlan> {
    let both = |(name, variable): (&str, &candle_core::Var)| {
        let second = optimizer.has_second_moment(name).then(|| plan(second_moment(name), variable.dims()));
        [Some(plan(first_moment(name), variable.dims())), second].into_iter().flatten()
    };
    parameters.iter().flat_map(both).collect()
}

fn write_files(
    folder: &Path,
    parameters: &Parameters,
    optimizer: &Optimizer,
    state: &State,
    saving: &mut dyn FnMut(usize, usize),
) -> Result<(), TrainError> {
    fs::create_dir_all(folder).map_err(|error| TrainError::io("create", folder, error))?;
    let unknown = |name: &str| WeightsError::UnknownTensor { name: name.to_owned() };
    let moments = moment_plans(parameters, optimizer);
    let (mut written, total) = (0, parameters.iter().len() + moments.len());
    let mut count = || {
        saving(written, total);
        written += 1;
    };
    write_safetensors(&folder.join(PARAMETERS), &parameter_plans(parameters), &BTreeMap::new(), |name| {
        count();
        Ok(parameters.get(name).ok_or_else(|| unknown(name))?.as_detached_tensor())
    })?;
    write_safetensors(&folder.join(OPTIMIZER), &moments, &BTreeMap::new(), |key| {
        count();
        let (kind, name) = key.split_once('/').ok_or_else(|| unknown(key))?;
        let variable = parameters.get(name).ok_or_else(|| unknown(key))?;
        let moment = optimizer.moment(name, variable).map_err(|_| unknown(key))?;
        if kind == "first" { Ok(moment.first) } else { moment.second.ok_or_else(|| unknown(key)) }
    })?;
    let text = serde_json::to_vec_pretty(state).map_err(|error| TrainError::Other(error.into()))?;
    write_atomic(&folder.join(STATE), |writer| writer.write_all(&text))?;
    sync_folder(folder);
    Ok(())
}

fn read_state(folder: &Path) -> Result<State, TrainError> {
    let path = folder.join(STATE);
    let text = fs::read_to_string(&path).map_err(|error| TrainError::io("read", &path, error))?;
    let refuse = |reason: String| TrainError::Resume { path: path.clone(), reason };
    let state: State =
        serde_json::from_str(&text).map_err(|error| refuse(format!("it is damaged: {error}")))?;
    if state.format != FORMAT {
        return Err(refuse(format!("it has format {}, this version reads {FORMAT}", state.format)));
    }
    Ok(state)
}

fn compare_identities(kept: &RunIdentity, wanted: &RunIdentity) -> Result<(), String> {
    let advice = "restore it, or start in another run folder";
    if kept.model != wanted.model {
        return Err(format!(
            "it belongs to another model ({}, this is {}); {advice}",
            kept.model, wanted.model
        ));
    }
    if let Some((key, kept, wanted)) = first_difference("", &kept.settings, &wanted.settings) {
        return Err(format!(
            "the run was started with `{key}` = {kept}, the configuration now says {wanted}; {advice}"
        ));
    }
    if kept.data != wanted.data {
        return Err(format!("the data changed since ({}, now {}); {advice}", kept.data, wanted.data));
    }
    Ok(())
}

/// The first key, in the order of the names, at which two settings differ.
fn first_difference(key: &str, kept: &Value, wanted: &Value) -> Option<(String, String, String)> {
    if let (Value::Object(kept), Value::Object(wanted)) = (kept, wanted) {
        let mut names: Vec<&String> = kept.keys().chain(wanted.keys()).collect();
        names.sort();
        return names.into_iter().find_map(|name| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            first_difference(
                &key,
                kept.get(name).unwrap_or(&Value::Null),
                wanted.get(name).unwrap_or(&Value::Null),
            )
        });
    }
    let text = |value: &Value| if value.is_null() { "nothing".to_owned() } else { value.to_string() };
    (kept != wanted).then(|| (key.to_owned(), text(kept), text(wanted)))
}

fn compare_tensors(file: &SafetensorsFile, plans: &[TensorPlan]) -> Result<(), String> {
    let tensors = file.tensors();
    for plan in plans {
        match tensors.get(&plan.name) {
            None => return Err(format!("it lacks `{}`, which this model trains", plan.name)),
            Some(kept) if kept.shape != plan.shape || kept.dtype != plan.dtype => {
                let (found, wanted) = ((kept.dtype, &kept.shape), (plan.dtype, &plan.shape));
                return Err(format!("`{}` is {found:?} there and {wanted:?} in this model", plan.name));
            }
            Some(_) => {}
        }
    }
    match tensors.keys().find(|name| plans.iter().all(|plan| plan.name != **name)) {
        Some(name) => Err(format!("it holds `{name}`, which this model does not train")),
        None => Ok(()),
    }
}

fn remove_folder(path: &Path) -> Result<(), TrainError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes renames within a folder durable; not every system lets a folder be opened.
fn sync_folder(path: &Path) {
    if let Ok(folder) = File::open(path) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::Checkpoints;

    #[test]
    fn a_copy_of_the_descriptor_holds_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let first = Checkpoints::open(folder.path(), 1).unwrap();
        let error = Checkpoints::open(folder.path(), 1).unwrap_err().to_string();
        assert!(error.contains("another process trains into this folder"), "{error}");
        let inherited = first.lock.try_clone().unwrap(); // as a process that is being started has it
        drop(first);
        Checkpoints::open(folder.path(), 1).unwrap();
        drop(inherited);
    }
}
