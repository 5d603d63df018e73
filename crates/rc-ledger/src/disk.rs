//! What the writer asks of a disk.
