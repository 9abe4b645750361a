//! Networks and systems.
