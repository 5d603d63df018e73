//! What one walk has seen of each place.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::{Event, NewEvent, Place, Record, Report, Seq, content};
use crate::event::Numbering;

/// An event that the log keeps.
#[derive(Debug)]
struct Row {
    kseq: u64,
    /// Its place in the log.
    pos: i64,
    content: u64,
    /// It is on the bus.
    met: bool,
    /// The relay has not come to it.
    waits: bool,
    /// A repair would publish it.
    missing: bool,
}

/// What is known of one place.
#[derive(Debug, Default)]
struct Page {
    /// What the log keeps, by number.
    rows: Vec<Row>,
    /// The lowest and the highest number on the bus; 0 for none.
    lowest: u64,
    highest: u64,
    /// Numbers between them that have not come, and that the log does not keep.
    holes: Vec<RangeInclusive<u64>>,
}

/// All places of one walk.
#[derive(Debug, Default)]
pub(super) struct Book {
    pages: HashMap<Place, Page>,
}

impl Book {
    /// The log has this event.
    pub(super) fn wrote(&mut self, record: &Record) {
        let event = &record.event;
        let rows = &mut self.pages.entry(event.place()).or_default().rows;
        let row = Row {
            kseq: event.kseq,
            pos: record.origin_pos,
            content: content(event),
            met: false,
            waits: false,
            missing: false,
        };
        // In order, but for a log that is itself damaged.
        match rows.binary_search_by_key(&event.kseq, |row| row.kseq) {
            Ok(at) => rows[at] = row,
            Err(at) => rows.insert(at, row),
        }
    }

    /// The bus has this event.
    pub(super) fn met(&mut self, event: &Event, report: &mut Report) {
        report.bus_events += 1;
        let (place, kseq, pos) = (event.place(), event.kseq, Some(event.pos));
        let page = self.pages.entry(place.clone()).or_default();
        let late = kseq < page.highest;
        match page.find(kseq) {
            Some(at) => {
                let row = &mut page.rows[at];
                if row.content != content(event) {
                    report.changed.add(1, &place, kseq, pos);
                } else if row.met {
                    report.doubled.add(1, &place, kseq, pos);
                } else if late {
                    report.reordered.add(1, &place, kseq, pos);
                }
                row.met = true;
            }
            None if page.first().is_some_and(|first| kseq > first) => {
                report.phantom.add(1, &place, kseq, pos);
            }
            None => {
                report.beyond_log += 1;
                if late && page.fill(kseq) {
                    report.reordered.add(1, &place, kseq, pos);
                } else if kseq <= page.highest {
                    report.doubled.add(1, &place, kseq, pos);
                }
            }
        }
        if event.numbering == Numbering::Consecutive {
            page.dig(kseq);
        }
        page.highest = page.highest.max(kseq);
        if page.lowest == 0 || kseq < page.lowest {
            page.lowest = kseq;
        }
    }

    /// The relay has not come to this event.
    pub(super) fn waits(&mut self, record: &Record) {
        if let Some(page) = self.pages.get_mut(&record.event.place())
            && let Some(row) = page.row(record.event.kseq)
        {
            row.waits = true;
        }
    }

    /// Judges what was not met. `first` is the oldest event that the bus keeps.
    pub(super) fn close(&mut self, first: Seq, report: &mut Report) {
        let met = self
            .pages
            .values()
            .flat_map(|page| &page.rows)
            .filter(|row| row.met);
        // The bus deletes its oldest events: those are the ones that the relay took out of the log first.
        let oldest_met = met.map(|row| row.pos).min().unwrap_or(i64::MAX);
        for (place, page) in &mut self.pages {
            let lowest = page.lowest;
            for row in &mut page.rows {
                report.log_events += 1;
                if row.met {
                    continue;
                }
                if row.waits {
                    report.waiting += 1;
                } else if first == 1 || (lowest > 0 && lowest < row.kseq) || row.pos > oldest_met {
                    row.missing = true;
                    report.missing.add(1, place, row.kseq, None);
                } else {
                    report.beyond_bus += 1;
                }
            }
            for hole in &page.holes {
                report
                    .lost
                    .add(hole.end() - hole.start() + 1, place, *hole.start(), None);
            }
        }
    }

    /// Whether a repair would publish this event.
    pub(super) fn misses(&self, event: &NewEvent) -> bool {
        let page = self.pages.get(&event.place());
        page.and_then(|page| page.find(event.kseq).map(|at| page.rows[at].missing))
            .unwrap_or(false)
    }

    /// Whether it would publish any.
    pub(super) fn misses_any(&self) -> bool {
        self.pages
            .values()
            .flat_map(|page| &page.rows)
            .any(|row| row.missing)
    }
}

impl Page {
    fn find(&self, kseq: u64) -> Option<usize> {
        self.rows.binary_search_by_key(&kseq, |row| row.kseq).ok()
    }

    fn row(&mut self, kseq: u64) -> Option<&mut Row> {
        self.find(kseq).map(|at| &mut self.rows[at])
    }

    /// The lowest number that the log keeps.
    fn first(&self) -> Option<u64> {
        self.rows.first().map(|row| row.kseq)
    }

    /// Notes the numbers between the highest one and `kseq` that the log does not keep.
    fn dig(&mut self, kseq: u64) {
        let from = self.highest + 1;
        let upto = kseq.min(self.first().unwrap_or(u64::MAX)).saturating_sub(1);
        if self.highest > 0 && from <= upto {
            self.holes.push(from..=upto);
        }
    }

    /// Takes a number out of the holes; `false` when it was in none.
    fn fill(&mut self, kseq: u64) -> bool {
        let Some(at) = self.holes.iter().position(|hole| hole.contains(&kseq)) else {
            return false;
        };
        let hole = self.holes.swap_remove(at);
        let (start, end) = hole.into_inner();
        if start < kseq {
            self.holes.push(start..=kseq - 1);
        }
        if kseq < end {
            self.holes.push(kseq + 1..=end);
        }
        true
    }
}
