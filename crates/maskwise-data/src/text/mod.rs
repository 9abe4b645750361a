//! Tokenizers and conversation templates.
