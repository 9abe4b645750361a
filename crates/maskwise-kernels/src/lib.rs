//! CPU kernels on plain slices; knows no tensor library.
