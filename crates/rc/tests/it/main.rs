//! The built binary, as a user meets it: one file a command area, one scratch project a test.

mod corpus;
mod real_documents;
mod world;
