//! Systems: compositions of networks and heads that answer a question with text and masks.

pub mod read;
