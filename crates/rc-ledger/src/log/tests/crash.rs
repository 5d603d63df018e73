//! Stops at every step of the disk, and what is there afterwards.

use super::*;
use crate::reader::{BUNDLE_BYTES_MAX, read_tile};

/// What a test does: groups to append, and `None` where the segment is put away.
const SCRIPT: [Option<usize>; 10] = [
    Some(1),
    Some(3),
    Some(249),
    Some(2),
    None,
    Some(4),
    Some(260),
    Some(1),
    None,
    Some(2),
];

/// What a process was told before it ended.
#[derive(Default)]
struct Told {
    acknowledged: Vec<Checkpoint>,
    /// A group was handed in and not acknowledged.
    pending: usize,
    error: Option<Error>,
}

impl Told {
    fn size(&self) -> usize {
        self.acknowledged.last().map_or(0, |last| last.size() as usize)
    }
}

fn play(disk: &Memory, keys: &Keys, all: &[Vec<u8>]) -> Told {
    let mut told = Told::default();
    let result = (|| {
        let mut log = begin(disk, keys, None)?;
        told.acknowledged.push(log.checkpoint().clone());
        for step in SCRIPT {
            match step {
                Some(len) => {
                    let at = log.size() as usize;
                    told.pending = len;
                    let appended = log.append(&all[at..at + len])?;
                    told.acknowledged.push(appended.checkpoint);
                    told.pending = 0;
                }
                None => log.state.settle(log.disk.as_mut())?,
            }
        }
        log.close()
    })();
    told.error = result.err();
    told
}

/// Opens what a crash left: everything acknowledged is there, the group in flight wholly or not at all, and
/// the log goes on in one history with every checkpoint that was ever given.
fn survive(disk: &Memory, keys: &Keys, all: &[Vec<u8>], told: &Told, what: &str) {
    let log = begin(disk, keys, told.acknowledged.last());
    let mut log = log.unwrap_or_else(|error| panic!("{what}: {error}"));
    let size = log.size() as usize;
    let fits = size == told.size() || size == told.size() + told.pending;
    assert!(fits, "{what}: {size} of {} + {}", told.size(), told.pending);
    assert!(held(&log) == all[..size], "{what}");
    let report = check(disk, keys, &told.acknowledged);
    assert!(report.is_whole(), "{what}: {:#?}", report.faults);
    assert_eq!(report.warnings, [], "{what}");
    for checkpoint in &told.acknowledged {
        readable_at(disk, checkpoint.size(), what);
    }
    log.append(&all[size..size + 5]).unwrap();
    let report = check(disk, keys, &told.acknowledged);
    assert!(report.is_whole(), "{what}, and on: {:#?}", report.faults);
}

/// The files that a reader of this size asks for are there, or the full ones instead.
fn readable_at(disk: &Memory, size: u64, what: &str) {
    let mut last = Vec::new();
    for row in 0..3_u8 {
        let count = size >> (8 * row);
        let (index, width) = (count / 256, (count % 256) as usize);
        if width > 0 {
            last.push(Tile::new(Row::Level(row), index, width));
            if row == 0 {
                last.push(Tile::new(Row::Entries, index, width));
            }
        }
    }
    for tile in last {
        let found = read_tile(disk, tile, BUNDLE_BYTES_MAX).unwrap();
        assert!(found.is_some(), "{what}: {}", tile.path());
    }
}

fn total() -> u64 {
    SCRIPT.iter().flatten().sum::<usize>() as u64 + 300
}

/// How many steps the script takes.
fn steps(keys: &Keys, all: &[Vec<u8>]) -> usize {
    let disk = Memory::default();
    let told = play(&disk, keys, all);
    assert!(told.error.is_none(), "{:?}", told.error);
    survive(&disk.after(Crash::Killed), keys, all, &told, "no crash");
    disk.steps()
}

/// The process ends, another one recovers what the system still remembers and acknowledges it, and then the
/// power goes: what the second one signed was on disk.
#[test]
fn slow_what_a_recovery_signs_is_on_disk_before_it_is_signed() {
    let keys = Keys::new();
    let all = entries(1, total());
    for stop in 0..steps(&keys, &all) {
        let disk = Memory::default();
        disk.stop_at(stop);
        let mut told = play(&disk, &keys, &all);
        let disk = disk.after(Crash::Killed);
        let Ok(log) = begin(&disk, &keys, told.acknowledged.last()) else {
            continue; // Nothing was ever there.
        };
        told.acknowledged.push(log.checkpoint().clone());
        told.pending = 0;
        drop(log);
        for seed in 0..4 {
            let left = disk.after(Crash::Power(seed));
            survive(&left, &keys, &all, &told, &format!("stop at {stop}, seed {seed}"));
        }
    }
}

#[test]
fn slow_a_stop_at_any_step_loses_nothing_acknowledged() {
    let keys = Keys::new();
    let all = entries(1, total());
    let steps = steps(&keys, &all);
    assert!(steps > 100, "{steps}");
    for stop in 0..steps {
        let disk = Memory::default();
        disk.stop_at(stop);
        let told = play(&disk, &keys, &all);
        assert!(told.error.is_some());
        let crashes = [
            Crash::Killed,
            Crash::Power(stop as u64),
            Crash::Power(1_000_000 + stop as u64),
        ];
        for crash in crashes {
            let what = format!("stop at {stop}, {crash:?}");
            survive(&disk.after(crash), &keys, &all, &told, &what);
        }
    }
}

#[test]
fn slow_a_stop_at_any_step_of_a_recovery_loses_nothing_either() {
    let keys = Keys::new();
    let all = entries(1, total());
    let steps = steps(&keys, &all);
    for stop in (0..steps).step_by(5) {
        let disk = Memory::default();
        disk.stop_at(stop);
        let told = play(&disk, &keys, &all);
        for again in 0.. {
            let seed = (stop * 1000 + again) as u64;
            let crashed = disk.after(Crash::Power(seed));
            crashed.stop_at(again);
            let recovered = begin(&crashed, &keys, told.acknowledged.last()).is_ok();
            let what = format!("stop at {stop}, then at {again} of the recovery");
            survive(&crashed.after(Crash::Power(seed + 1)), &keys, &all, &told, &what);
            if recovered {
                break;
            }
        }
    }
}

#[test]
fn slow_a_full_disk_at_any_step_is_an_error_and_then_over() {
    let keys = Keys::new();
    let all = entries(1, total());
    let steps = steps(&keys, &all);
    for full in (0..steps).step_by(2) {
        let disk = Memory::default();
        disk.full_at(Some(full));
        let mut acknowledged: Vec<Checkpoint> = Vec::new();
        let mut log = None;
        let mut script = SCRIPT.iter();
        let mut pending = None;
        loop {
            let result = (|| {
                if log.is_none() {
                    log = Some(begin(&disk, &keys, acknowledged.last())?);
                }
                let log = log.as_mut().unwrap();
                if log.stopped {
                    log.recover()?;
                }
                loop {
                    let Some(step) = pending.take().or_else(|| script.next()) else {
                        return Ok(());
                    };
                    pending = Some(step);
                    match step {
                        Some(len) => {
                            let at = log.size() as usize;
                            acknowledged.push(log.append(&all[at..at + len])?.checkpoint);
                        }
                        None => {
                            let settled = log.state.settle(log.disk.as_mut());
                            log.stopped = settled.is_err();
                            settled?;
                        }
                    }
                    pending = None;
                }
            })();
            match result {
                Ok(()) => break,
                Err(error) => {
                    let error: Error = error;
                    assert_eq!(error.code(), "RC-LED-011", "{full}: {error}");
                    assert!(error.is_transient());
                    disk.full_at(None);
                }
            }
        }
        let log = log.unwrap();
        assert!(held(&log) == all[..log.size() as usize], "{full}");
        whole(&disk, &keys, &acknowledged);
    }
}

#[test]
fn a_stopped_log_takes_nothing_until_it_was_read_again() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    let first = log.append(&entries(1, 2)).unwrap().checkpoint;
    // The group is in the write-ahead log, and there is no space for its tile.
    disk.full_at(Some(disk.steps() + 2));
    assert_eq!(log.append(&entries(3, 4)).unwrap_err().code(), "RC-LED-011");
    assert_eq!(log.append(&entries(3, 4)).unwrap_err().code(), "RC-LED-013");
    assert_eq!(log.recover().unwrap_err().code(), "RC-LED-011");
    assert_eq!(log.checkpoint(), &first);
    disk.full_at(None);
    log.recover().unwrap();
    assert_eq!(log.size(), 4, "what was durable is kept");
    assert_eq!(log.append(&entries(5, 5)).unwrap().first_index, 4);
    whole(&disk, &keys, &[first]);
}
