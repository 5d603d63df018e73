//! What a writer says while it works, in a file that a kill leaves whole: attempts before their commit, answers after.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::failure::Result;
use crate::history::{Fact, Line};

/// How long a line waits for a disk that fails.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The writer's file of history. Lines go to the system one by one, so that they outlive the process.
#[derive(Debug)]
pub(crate) struct Journal(Mutex<fs_err::File>);

impl Journal {
    /// A new file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Ok(Self(Mutex::new(fs_err::File::create_new(path)?)))
    }

    /// About to commit.
    pub(crate) fn begin(&self, tx: &str, events: Vec<Fact>) {
        self.say(&Line::Begin {
            tx: tx.to_owned(),
            events,
        });
    }

    /// The commit was acknowledged.
    pub(crate) fn committed(&self, tx: String) {
        self.say(&Line::Committed(tx));
    }

    /// It was rolled back, and the rollback acknowledged.
    pub(crate) fn rolled_back(&self, tx: String) {
        self.say(&Line::RolledBack(tx));
    }

    fn say(&self, line: &Line) {
        let mut text = serde_json::to_vec(line).expect("a line is plain data");
        text.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A disk that fails for the writer's store fails here, too: the attempt waits, before it is one.
        while file.write_all(&text).is_err() {
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}
