//! What goes wrong around and inside the platform, one file a kind. Each test ends with what must hold after
//! all of them: nothing acknowledged is lost, nothing is doubled, nobody is left waiting.

mod connections;
mod disk;
mod documents;
mod h2;
mod hop;
mod input;
mod kills;
mod postgres;
mod processes;
mod queues;
mod rebuild;
mod storm;
