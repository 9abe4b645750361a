//! Decoding of images and the preprocessors of the vision towers.
