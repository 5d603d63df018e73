//! A tamper-evident log: append, prove, checkpoint, verify. Its files are C2SP tlog-tiles, so that anybody's
//! tools can read and check them.
//!
//! It refuses to know what entries are about, who may append, and how requests arrive. It has no async.
