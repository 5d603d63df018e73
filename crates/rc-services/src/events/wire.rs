//! What the services and `rc events` say to each other about dead letters: JSON on the services' own sockets.

use rc_events::Error;
use rc_events::letters::{
    Edit, Letter, LetterCounts, LetterFilter, LetterState, Letters, ReplayLetters, ReplayedLetters,
};
use rc_model::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which letters; everything that is set must hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Only letters with a higher number: the next page.
    #[serde(skip_serializing_if = "is_zero")]
    pub after: i64,
    /// At most so many; 0 for as many as one answer holds.
    #[serde(skip_serializing_if = "is_none")]
    pub limit: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's own signature")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's own signature")]
fn is_none(value: &usize) -> bool {
    *value == 0
}

impl Selection {
    /// As the engine takes it.
    ///
    /// # Errors
    /// A state that is none.
    pub fn filter(&self) -> Result<LetterFilter, String> {
        let state = self.state.as_deref().map(|word| {
            LetterState::parse(word).ok_or_else(|| {
                let known: Vec<&str> = LetterState::ALL.iter().map(|state| state.as_str()).collect();
                format!("`state` is one of `{}`", known.join("`, `"))
            })
        });
        Ok(LetterFilter {
            numbers: self.numbers.clone(),
            tenant: self.tenant.clone(),
            topic: self.topic.clone(),
            key: self.key.clone(),
            event_type: self.event_type.clone(),
            class: self.class.clone(),
            state: state.transpose()?,
            since: self.since,
            until: self.until,
            after: self.after,
            limit: self.limit,
        })
    }
}

/// A dead letter without its payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LetterLine {
    pub number: i64,
    /// The consumer, or the relay's origin.
    pub holder: String,
    pub state: String,
    pub class: String,
    /// The last error's code and text.
    pub code: String,
    pub why: String,
    pub tenant: TenantId,
    pub topic: String,
    pub key: String,
    /// The event's number in its key.
    pub sequence: u64,
    pub event_id: String,
    #[serde(rename = "type")]
    pub event_type: String,
    pub attempts: u32,
    pub replays: u32,
    pub edited: bool,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    pub trace_id: Option<String>,
}

impl From<&Letter> for LetterLine {
    fn from(letter: &Letter) -> Self {
        let event = &letter.event;
        Self {
            number: letter.number,
            holder: letter.holder.clone(),
            state: letter.state.as_str().to_owned(),
            class: letter.class.clone().into_owned(),
            code: letter.code.clone(),
            why: letter.why.clone(),
            tenant: event.tenant.clone(),
            topic: event.topic.clone().into_owned(),
            key: event.key.clone(),
            sequence: event.kseq,
            event_id: event.id.to_string(),
            event_type: event.event_type.clone().into_owned(),
            attempts: letter.attempts,
            replays: letter.replays,
            edited: letter.edited.is_some(),
            first_at: letter.first,
            last_at: letter.last,
            trace_id: event.trace.map(|trace| trace.trace_id_hex()),
        }
    }
}

/// A dead letter with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LetterView {
    #[serde(flatten)]
    pub line: LetterLine,
    /// Where it was on the bus, or in the outbox.
    pub position: i64,
    pub event_at: Timestamp,
    pub schema: u16,
    /// As it came.
    pub payload: Payload,
    /// What will be applied instead.
    pub edited_payload: Option<Payload>,
}

/// A payload that is JSON, or bytes that are not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    Json(Value),
    Base64(String),
}

impl Payload {
    fn of(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).map_or_else(
            |_not_json| Self::Base64(data_encoding::BASE64.encode(bytes)),
            Self::Json,
        )
    }
}

impl From<&Letter> for LetterView {
    fn from(letter: &Letter) -> Self {
        Self {
            line: LetterLine::from(letter),
            position: letter.pos,
            event_at: letter.event.time,
            schema: letter.event.schema,
            payload: Payload::of(&letter.event.payload),
            edited_payload: letter.edited.as_deref().map(Payload::of),
        }
    }
}

/// The letters that were asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    pub letters: Vec<LetterLine>,
    /// How many match in all.
    pub total: u64,
}

/// How many letters match.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    pub holder: String,
    pub letters: u64,
    pub keys: u64,
    pub oldest_at: Option<Timestamp>,
    /// By state and class.
    pub of: Vec<Count>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Count {
    pub state: String,
    pub class: String,
    pub letters: u64,
}

impl Counts {
    /// What `holder` counted.
    #[must_use]
    pub fn of(holder: &str, counts: LetterCounts) -> Self {
        let mut of: Vec<Count> = counts
            .of
            .into_iter()
            .map(|(state, class, letters)| Count {
                state: state.as_str().to_owned(),
                class,
                letters,
            })
            .collect();
        of.sort_by(|a, b| (&a.state, &a.class).cmp(&(&b.state, &b.class)));
        Self {
            holder: holder.to_owned(),
            letters: counts.letters,
            keys: counts.keys,
            oldest_at: counts.oldest,
            of,
        }
    }
}

/// A change of letters, with why.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// For the audit log, in the caller's words.
    pub reason: String,
    /// Only count what would be touched.
    #[serde(default)]
    pub dry_run: bool,
    pub what: What,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum What {
    Replay {
        select: Selection,
        /// Also letters that failed the same way too often.
        #[serde(default)]
        force: bool,
        /// Letters a second.
        #[serde(default)]
        rate: Option<std::num::NonZeroU32>,
    },
    Drop {
        select: Selection,
    },
    /// RFC 6902 against what will be applied now.
    Patch {
        number: i64,
        patch: Value,
    },
    /// A whole payload.
    Payload {
        number: i64,
        payload: Value,
    },
    /// The payload that came, again.
    Original {
        number: i64,
    },
}

impl What {
    /// Does it. Whoever keeps an audit log records it first.
    ///
    /// # Errors
    /// What the letters' holder says; [`Error::Invalid`] for a state that is none.
    pub async fn apply(self, letters: &dyn Letters) -> Result<Changed, Error> {
        let filter = |select: Selection| select.filter().map_err(|why| Error::Invalid(why.into()));
        let (number, edit) = match self {
            Self::Replay { select, force, rate } => {
                let how = ReplayLetters { force, rate };
                let done = letters.replay(&filter(select)?, how).await?;
                return Ok(Changed::Replayed(done.into()));
            }
            Self::Drop { select } => {
                let letters = letters.drop(&filter(select)?).await?;
                return Ok(Changed::Dropped { letters });
            }
            Self::Patch { number, patch } => (number, Edit::Patch(patch)),
            Self::Payload { number, payload } => (number, Edit::Payload(payload.to_string().into())),
            Self::Original { number } => (number, Edit::Original),
        };
        let letter = letters.edit(number, edit).await?;
        Ok(Changed::Edited(Box::new(LetterView::from(&letter))))
    }
}

/// What a change came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// A dry run: what it would touch.
    Would(Counts),
    Replayed(Replayed),
    Dropped {
        letters: u64,
    },
    Edited(Box<LetterView>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Replayed {
    /// Letters whose effect is there now.
    pub applied: u64,
    /// Letters that had been given up, and whose number has passed.
    pub passed: u64,
    pub failed: Vec<Failed>,
    /// Keys whose first letter is stuck and was not tried.
    pub stuck_keys: u64,
}

/// A letter that failed again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failed {
    pub number: i64,
    pub code: String,
    pub why: String,
    /// Whether it needs force from now on.
    pub stuck: bool,
}

impl From<ReplayedLetters> for Replayed {
    fn from(done: ReplayedLetters) -> Self {
        let failed = done.failed.into_iter().map(|failed| Failed {
            number: failed.number,
            code: failed.code,
            why: failed.why,
            stuck: failed.stuck,
        });
        Self {
            applied: done.applied,
            passed: done.passed,
            failed: failed.collect(),
            stuck_keys: done.stuck_keys,
        }
    }
}
