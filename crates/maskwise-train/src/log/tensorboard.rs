//! TensorBoard event files: TFRecord framing around `tensorflow.Event` messages, written by hand.
//!
//! Fields (of `event.proto` and `summary.proto` of TensorFlow): Event 1 `wall_time`, 2 `step`, 3 `file_version`, 5 `summary`,
//! 7 `session_log`; Summary 1 `value`; Value 1 `tag`, 2 `simple_value`, 4 `image`; Image 1 `height`, 2 `width`, 3 `colorspace`,
//! 4 `encoded_image_string`; SessionLog 1 `status`.

use crate::TrainError;
use maskwise_data::atomic::WriteError;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// One event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventWriter {
    /// Starts a new event file in `folder` for a run that continues after `step`. TensorBoard then forgets what earlier files of the
    /// folder say about later steps.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(folder: &Path, step: u64) -> Result<Self, TrainError> {
        fs::create_dir_all(folder).map_err(|error| TrainError::io("create", folder, error))?;
        let (path, file) = new_file(folder)?;
        let mut writer = Self { path, file: BufWriter::new(file) };
        let mut event = Message::at(now(), 0);
        event.bytes(3, b"brain.Event:2");
        writer.record(&event.0)?;
        if step > 0 {
            let mut log = Message::default();
            log.varint(1, 1); // SessionLog.START
            let mut event = Message::at(now(), step + 1);
            event.bytes(7, &log.0);
            writer.record(&event.0)?;
        }
        writer.flush()?;
        Ok(writer)
    }

    /// Writes a number under `tag`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalar(&mut self, tag: &str, value: f64, step: u64) -> Result<(), TrainError> {
        let mut content = Message::default();
        content.bytes(1, tag.as_bytes());
        content.float(2, value as f32);
        self.value(&content, step)
    }

    /// Writes an RGB picture, PNG-encoded, of (width, height) under `tag`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn image(&mut self, tag: &str, png: &[u8], size: (u32, u32), step: u64) -> Result<(), TrainError> {
        let mut image = Message::default();
        image.varint(1, u64::from(size.1));
        image.varint(2, u64::from(size.0));
        image.varint(3, 3);
        image.bytes(4, png);
        let mut content = Message::default();
        content.bytes(1, tag.as_bytes());
        content.bytes(4, &image.0);
        self.value(&content, step)
    }

    /// Hands everything written so far to the system.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<(), TrainError> {
        let flushed = self.file.flush();
        Ok(flushed.map_err(|error| WriteError::from_io(&self.path, error))?)
    }

    fn value(&mut self, content: &Message, step: u64) -> Result<(), TrainError> {
        let mut summary = Message::default();
        summary.bytes(1, &content.0);
        let mut event = Message::at(now(), step);
        event.bytes(5, &summary.0);
        self.record(&event.0)
    }

    fn record(&mut self, data: &[u8]) -> Result<(), TrainError> {
        let length = (data.len() as u64).to_le_bytes();
        let parts: [&[u8]; 4] =
            [&length, &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()];
        let written = self.file.write_all(&parts.concat());
        Ok(written.map_err(|error| WriteError::from_io(&self.path, error))?)
    }
}

/// Files sort by name into the order in which they were begun, which is the order that TensorBoard reads them in.
fn new_file(folder: &Path) -> Result<(PathBuf, File), TrainError> {
    let seconds = now() as u64;
    let mut counter = 0;
    loop {
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.{counter:03}.maskwise"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => counter += 1,
            Err(error) => return Err(WriteError::from_io(&path, error).into()),
        }
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The checksum of the TFRecord framing.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A protocol buffers message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// An event at a time and a step.
    fn at(wall_time: f64, step: u64) -> Self {
        let mut event = Self::default();
        event.key(1, 1);
        event.0.extend(wall_time.to_le_bytes());
        event.varint(2, step);
        event
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.raw_varint(field << 3 | wire_type);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.raw_varint(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.raw_varint(value.len() as u64);
        self.0.extend(value);
    }
}

#[cfg(test)]
mod tests;
