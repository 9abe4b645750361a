use crate::TrainError;
use maskwise_data::atomic::{WriteError, write_atomic};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A log of one JSON object to a line, each of which has a `step`.
#[derive(Debug)]
pub struct JsonLog {
    path: PathBuf,
    file: File,
}

impl JsonLog {
    /// Opens the log to append, without the lines about steps after `step` and without a last line that was cut off.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path, step: u64) -> Result<Self, TrainError> {
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(TrainError::io("read", path, error)),
        };
        let kept: String = text.split_inclusive('\n').filter(|line| is_kept(line, step)).collect();
        if kept != text {
            write_atomic(path, |writer| writer.write_all(kept.as_bytes()))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| WriteError::from_io(path, error))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Appends a line and hands it to the system at once, so that a killed process loses none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, line: &Value) -> Result<(), TrainError> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        Ok(written.map_err(|error| WriteError::from_io(&self.path, error))?)
    }
}

fn is_kept(line: &str, step: u64) -> bool {
    let parsed: Option<Value> = serde_json::from_str(line).ok();
    let line_step = parsed.and_then(|value| value.get("step")?.as_u64());
    line.ends_with('\n') && line_step.is_some_and(|line_step| line_step <= step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_continued_log_holds_each_step_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = JsonLog::open(&path, 0).unwrap();
        for step in 1..=4 {
            log.write(&json!({ "step": step, "loss": 0.5 })).unwrap();
        }
        fs::write(&path, [fs::read(&path).unwrap(), b"{\"step\":2,\"lo".to_vec()].concat()).unwrap();
        let mut log = JsonLog::open(&path, 2).unwrap();
        log.write(&json!({ "step": 3, "loss": 0.25 })).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.5}\n{\"step\":3,\"loss\":0.25}\n"
        );
    }
}
