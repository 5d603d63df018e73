//! Seeing what the platform does: spans kept on disk for a while, sent out as OTLP, and drawn as trees.
//!
//! It refuses to know what a span is about.
