//! Layers and strict weight loading on candle tensors.
