//! Reasoning segmentation: an image and a question in, an answer and its mask out.

pub mod hub;
