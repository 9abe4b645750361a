//! CPU kernels on plain slices; knows no tensor library.

pub mod elementwise;
pub mod gemv;
pub mod resize;
pub mod rows;
