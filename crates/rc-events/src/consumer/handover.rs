//! What one state of a consumer takes over from another.

use uuid::Uuid;

use crate::event::Place;

/// How far a key is: the last number that was applied or passed, and the event that had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAt {
    /// Which key.
    pub place: Place,
    /// Its last number.
    pub last: u64,
    /// The id of the event with this number.
    pub id: Uuid,
}
