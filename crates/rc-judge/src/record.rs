//! A rollout as it was judged, line by line, and how it is judged again.
//!
//! The first line is the header; then come seconds, finished counts and verdicts in the order in which they were taken.
//! Lines are JSON and appended as they happen, so that a record that ends in the middle can be replayed to there. All
//! inputs are whole numbers: what was written reads back as exactly what was judged.

use rc_model::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::history::Baseline;
use crate::judge::Judge;
use crate::rules::{Rules, RulesError};
use crate::sample::{Finished, SampleError, Second};
use crate::verdict::{Decision, Reason, Verdict};

/// The version of the format.
pub const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    rules: Rules,
    baseline: Baseline,
}

/// Every other line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Second(Second),
    Finished(Finished),
    /// Kept as it was written: a later version of ours may say more.
    Verdict(Value),
}

/// Why a record cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the record is empty: its first line is the header")]
    Empty,
    #[error("line {line} cannot be read")]
    Line {
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("the record has format {found}, this program reads format {FORMAT}")]
    Format { found: u32 },
    #[error("line {line} was never judged")]
    Sample {
        line: usize,
        #[source]
        source: SampleError,
    },
    #[error("the rules cannot be held")]
    Rules(#[from] RulesError),
}

/// A judge that writes down what it takes. Every method gives the line to append; the caller keeps them.
#[derive(Debug, Clone)]
pub struct Recorder {
    judge: Judge,
    rules: Digest,
    /// Of every line so far: the digest before it and its text.
    inputs: Digest,
}

impl Recorder {
    /// A judge that begins, and the header.
    ///
    /// # Errors
    /// Rules that cannot be held.
    pub fn new(rules: &Rules, baseline: &Baseline) -> Result<(Self, String), RulesError> {
        let judge = Judge::new(rules, baseline)?;
        let header = line(&Header {
            format: FORMAT,
            rules: rules.clone(),
            baseline: baseline.clone(),
        });
        let recorder = Self {
            judge,
            rules: rules.digest(),
            // The rules have a digest of their own: replays with others judge the same inputs.
            inputs: Digest::of(line(baseline).as_bytes()),
        };
        Ok((recorder, header))
    }

    /// The judge, to ask what it decides.
    #[must_use]
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Takes one closed second.
    ///
    /// # Errors
    /// As [`Judge::observe`].
    pub fn observe(&mut self, second: Second) -> Result<String, SampleError> {
        self.judge.observe(&second)?;
        Ok(self.take(Line::Second(second)))
    }

    /// Takes what ended since the last time.
    ///
    /// # Errors
    /// As [`Judge::observe_finished`].
    pub fn observe_finished(&mut self, finished: Finished) -> Result<String, SampleError> {
        self.judge.observe_finished(&finished)?;
        Ok(self.take(Line::Finished(finished)))
    }

    /// The verdict with the digests of what it rests on, and its line.
    #[must_use]
    pub fn verdict(&self) -> (Verdict, String) {
        let verdict = Verdict {
            rules: self.rules.to_string(),
            inputs: self.inputs.to_string(),
            ..self.judge.verdict()
        };
        let text = line(&Line::Verdict(value(&verdict)));
        (verdict, text)
    }

    fn take(&mut self, input: Line) -> String {
        let text = line(&input);
        let mut chained = self.inputs.as_bytes().to_vec();
        chained.extend_from_slice(text.as_bytes());
        self.inputs = Digest::of(&chained);
        text
    }
}

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    pub seconds: u64,
    /// Every change of the decision.
    pub changes: Vec<Change>,
    /// The verdict at the end of the record.
    pub verdict: Verdict,
    /// Verdicts in the record.
    pub recorded: u64,
    /// Whether each of them came out again, bit for bit; absent when the rules are others, or none is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identical: Option<bool>,
    /// The last recorded decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_decision: Option<String>,
}

/// A decision that differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Change {
    pub at: Option<u64>,
    pub decision: Decision,
    pub reason: Reason,
}

impl Judge {
    /// Judges the record `text` again, with its own rules or with `rules`.
    ///
    /// # Errors
    /// A line that cannot be read or that no judge would have taken, and rules that cannot be held.
    pub fn replay(text: &str, rules: Option<&Rules>) -> Result<Replay, RecordError> {
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(place, text)| (place + 1, text))
            .filter(|(_, text)| !text.trim().is_empty());
        let (number, first) = lines.next().ok_or(RecordError::Empty)?;
        let header = header(number, first)?;
        let rules = rules.unwrap_or(&header.rules);
        let (mut recorder, _) = Recorder::new(rules, &header.baseline)?;
        let same_rules = rules.digest() == header.rules.digest();
        let (mut seconds, mut recorded, mut all_identical) = (0, 0, true);
        let mut recorded_decision = None;
        let mut changes: Vec<Change> = Vec::new();
        for (number, text) in lines {
            let refused = |source| RecordError::Sample { line: number, source };
            match parse(number, text)? {
                Line::Second(second) => {
                    seconds += 1;
                    recorder.observe(second).map_err(refused)?;
                }
                Line::Finished(finished) => {
                    recorder.observe_finished(finished).map_err(refused)?;
                }
                Line::Verdict(written) => {
                    recorded += 1;
                    recorded_decision = written.get("decision").and_then(Value::as_str).map(str::to_owned);
                    if same_rules {
                        // Both have gone through the same writing and reading.
                        let again = parse(number, &recorder.verdict().1)?;
                        all_identical &= matches!(again, Line::Verdict(again) if again == written);
                    }
                }
            }
            let judge = recorder.judge();
            let (decision, reason) = judge.decide();
            let known = changes.last().map(|change| (change.decision, change.reason));
            if known != Some((decision, reason)) {
                let at = judge.last_second();
                changes.push(Change { at, decision, reason });
            }
        }
        Ok(Replay {
            seconds,
            changes,
            verdict: recorder.verdict().0,
            recorded,
            identical: (same_rules && recorded > 0).then_some(all_identical),
            recorded_decision,
        })
    }
}

fn header(number: usize, text: &str) -> Result<Header, RecordError> {
    /// What every format has.
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let unread = |source| RecordError::Line { line: number, source };
    let Versioned { format } = serde_json::from_str(text).map_err(unread)?;
    if format != FORMAT {
        return Err(RecordError::Format { found: format });
    }
    serde_json::from_str(text).map_err(unread)
}

fn parse(number: usize, text: &str) -> Result<Line, RecordError> {
    serde_json::from_str(text).map_err(|source| RecordError::Line { line: number, source })
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("counts, names and finite numbers are JSON")
}

fn value(verdict: &Verdict) -> Value {
    serde_json::to_value(verdict).expect("counts, names and finite numbers are JSON")
}

#[cfg(test)]
mod tests;
