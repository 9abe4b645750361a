//! The Hugging Face hub: environment, cache and download.
