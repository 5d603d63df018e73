use super::*;
use crate::disk::tests::memory::{Crash, Memory};
use crate::tests::{clock, entries};
use crate::verify::{Report, Trust, verify_files};
use crate::{Reader, leaf_hash, root_of};

mod crash;
mod folder;
mod foreign;
pub(crate) mod support;

use support::Keys;

const DIR: &str = "log";

/// Opens or creates, as a service does.
fn begin(disk: &Memory, seeds: &Keys, known: Option<&Checkpoint>) -> Result<Log, Error> {
    let dir = Path::new(DIR);
    let files: Box<dyn Disk> = Box::new(disk.clone());
    if exists(disk)? || known.is_some() {
        Log::open_on(dir, files, seeds.signer(), known, clock())
    } else {
        Log::create_on(dir, files, seeds.signer(), clock())
    }
}

fn check(disk: &Memory, keys: &Keys, older: &[Checkpoint]) -> Report {
    let mut trust = Trust::new(keys.signer().vkeys());
    trust.older = older.to_vec();
    verify_files(disk, Path::new(DIR), &trust).unwrap()
}

/// Nothing is wrong, and nothing is strange.
#[track_caller]
fn whole(disk: &Memory, keys: &Keys, older: &[Checkpoint]) -> Report {
    let report = check(disk, keys, older);
    assert!(report.is_whole(), "{:#?}", report.faults);
    assert_eq!(report.older_contained, older.len() as u64);
    report
}

fn held(log: &Log) -> Vec<Vec<u8>> {
    let entries = log.entries(0..u64::MAX);
    entries.map(|entry| entry.unwrap().1).collect()
}

#[test]
fn groups_of_all_kinds_come_back_with_the_root_of_all_leaves() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    let all = entries(1, 900);
    let mut checkpoints = vec![log.checkpoint().clone()];
    let mut at = 0;
    for len in [1, 2, 253, 1, 255, 0, 1, 256, 100, 31] {
        let appended = log.append(&all[at..at + len]).unwrap();
        assert_eq!(appended.first_index, at as u64);
        at += len;
        let leaves: Vec<Hash> = all[..at].iter().map(|entry| leaf_hash(entry)).collect();
        assert_eq!(appended.checkpoint.root(), &root_of(&leaves));
        assert_eq!((log.size(), appended.checkpoint.size()), (at as u64, at as u64));
        checkpoints.push(appended.checkpoint);
    }
    assert_eq!(at, 900);
    assert_eq!(held(&log), all);
    let report = whole(&disk, &keys, &checkpoints);
    assert_eq!(
        (report.entries, report.sources, report.warnings_total),
        (900, 1, 0)
    );
    assert_eq!(report.unsettled_from, Some(0));
    log.close().unwrap();
    let report = whole(&disk, &keys, &checkpoints);
    assert_eq!(report.unsettled_from, Some(768));
    let log = begin(&disk, &keys, checkpoints.last()).unwrap();
    assert_eq!(held(&log), all);
}

#[test]
fn every_published_size_has_its_partial_files_until_they_are_full() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    let all = entries(1, 520);
    let there = |path: &str| disk.read(path, usize::MAX).unwrap().map(|bytes| bytes.len());
    log.append(&all[..3]).unwrap();
    log.append(&all[3..10]).unwrap();
    assert_eq!(there("tile/0/000.p/3"), Some(96));
    assert_eq!(there("tile/0/000.p/10"), Some(320));
    assert!(there("tile/entries/000.p/3").is_some() && there("tile/entries/000.p/10").is_some());
    assert_eq!(there("tile/1/000.p/1"), None);
    log.append(&all[10..256]).unwrap();
    assert_eq!(
        (there("tile/0/000"), there("tile/1/000.p/1")),
        (Some(8192), Some(32))
    );
    assert_eq!((there("tile/0/000.p/3"), there("tile/0/000.p/10")), (None, None));
    log.append(&all[256..520]).unwrap();
    assert_eq!(
        (there("tile/0/002.p/8"), there("tile/1/000.p/2")),
        (Some(256), Some(64))
    );
    assert_eq!(
        there("tile/1/000.p/1"),
        Some(32),
        "the tree of 256 entries was published"
    );
    assert_eq!(there("tile/0/001.p/0"), None);
}

#[test]
fn a_segment_is_put_away_and_its_groups_stay_apart() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    let all = entries(1, 700);
    let mut checkpoints = Vec::new();
    for (from, to) in [(0, 200), (200, 258), (258, 300), (300, 301)] {
        checkpoints.push(log.append(&all[from..to]).unwrap().checkpoint);
    }
    log.state.settle(log.disk.as_mut()).unwrap();
    assert_eq!(wal::bases(&disk).unwrap(), [256]);
    let segment = disk.read(&wal::path(256), usize::MAX).unwrap().unwrap();
    let parsed = wal::parse(256, &segment).unwrap();
    assert_eq!((parsed.records.len(), parsed.end), (3, 301));
    log.state.settle(log.disk.as_mut()).unwrap();
    assert_eq!(wal::bases(&disk).unwrap(), [256], "nothing more can go");
    checkpoints.push(log.append(&all[301..700]).unwrap().checkpoint);
    drop(log);
    let log = begin(&disk, &keys, checkpoints.last()).unwrap();
    assert_eq!(held(&log), all);
    whole(&disk, &keys, &checkpoints);
}

#[test]
fn a_full_segment_is_put_away_by_itself() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    let group: Vec<Vec<u8>> = vec![Vec::new(); GROUP_ENTRIES_MAX];
    for _ in 0..SEGMENTS_GROUPS {
        log.append(&group).unwrap();
    }
    assert_eq!(wal::bases(&disk).unwrap(), [wal::SEGMENT_ENTRIES]);
    log.append(&group).unwrap();
    let root = *log.checkpoint().root();
    drop(log);
    let log = begin(&disk, &keys, None).unwrap();
    assert_eq!(*log.checkpoint().root(), root);
    assert_eq!(log.size(), wal::SEGMENT_ENTRIES + GROUP_ENTRIES_MAX as u64);
}

/// Groups that fill a segment.
const SEGMENTS_GROUPS: usize = wal::SEGMENT_ENTRIES as usize / GROUP_ENTRIES_MAX;

#[test]
fn entries_and_groups_have_bounds() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    let steps = disk.steps();
    for group in [
        vec![vec![0; ENTRY_BYTES_MAX + 1]],
        vec![Vec::new(); GROUP_ENTRIES_MAX + 1],
        vec![vec![0; ENTRY_BYTES_MAX]; GROUP_BYTES_MAX / ENTRY_BYTES_MAX + 1],
    ] {
        assert_eq!(log.append(&group).unwrap_err().code(), "RC-LED-010");
    }
    assert_eq!(disk.steps(), steps, "nothing was written");
    log.append(&[vec![0; ENTRY_BYTES_MAX], Vec::new()]).unwrap();
    drop(log);
    let log = begin(&disk, &keys, None).unwrap();
    assert_eq!(held(&log), [vec![0; ENTRY_BYTES_MAX], Vec::new()]);
}

#[test]
fn an_older_copy_is_not_signed_again() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    log.append(&entries(1, 10)).unwrap();
    let copy = disk.after(Crash::Killed);
    let newer = log.append(&entries(11, 20)).unwrap().checkpoint;
    drop(log);
    let error = begin(&copy, &keys, Some(&newer)).unwrap_err();
    assert_eq!(error.code(), "RC-LED-004");
    assert_eq!(
        error.to_string(),
        "the log holds 10 entries, and 20 were signed before (the checkpoint of the second place)"
    );
    // The copy went on by itself before it was noticed.
    let mut fork = begin(&copy, &keys, None).unwrap();
    fork.append(&entries(101, 130)).unwrap();
    drop(fork);
    let error = begin(&copy, &keys, Some(&newer)).unwrap_err();
    assert_eq!(error.code(), "RC-LED-005");
    begin(&disk, &keys, Some(&newer)).unwrap();
}

#[test]
fn a_fork_before_the_write_ahead_log_is_refused() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    log.append(&entries(1, 100)).unwrap();
    let copy = disk.after(Crash::Killed);
    let own = log.append(&entries(101, 700)).unwrap().checkpoint;
    let mut fork = begin(&copy, &keys, None).unwrap();
    fork.append(&entries(1001, 1300)).unwrap();
    let other = fork.checkpoint().clone();
    for log in [log, fork] {
        log.close().unwrap();
    }
    assert_eq!(
        begin(&disk, &keys, Some(&other)).unwrap_err().code(),
        "RC-LED-005"
    );
    assert_eq!(begin(&copy, &keys, Some(&own)).unwrap_err().code(), "RC-LED-004");
    begin(&disk, &keys, Some(&own)).unwrap();
}

#[test]
fn entries_of_another_history_are_not_signed() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    log.append(&entries(1, 5)).unwrap();
    drop(log);
    // Somebody who can write the folder, but not sign, puts other entries into all places.
    let mut forged = wal::begin(&mut disk.clone(), 0, &[]).unwrap();
    let mut bundle = Vec::new();
    for entry in entries(11, 15) {
        tile::push_entry(&mut bundle, &entry);
    }
    forged.bytes = 0;
    disk.clone()
        .append(&forged.path, &wal::record(0, &bundle))
        .unwrap();
    assert_eq!(begin(&disk, &keys, None).unwrap_err().code(), "RC-LED-005");
}

#[test]
fn no_new_log_where_one_was() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    let checkpoint = log.append(&entries(1, 5)).unwrap().checkpoint;
    drop(log);
    let again = Log::create_on(Path::new(DIR), Box::new(disk.clone()), keys.signer(), clock());
    assert_eq!(again.unwrap_err().code(), "RC-LED-003");
    disk.set(CHECKPOINT, None);
    let again = Log::create_on(Path::new(DIR), Box::new(disk.clone()), keys.signer(), clock());
    assert_eq!(again.unwrap_err().code(), "RC-LED-003");
    assert_eq!(begin(&disk, &keys, None).unwrap_err().code(), "RC-LED-002");
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let again = Log::create(&dir, keys.signer(), Some(&checkpoint), clock());
    assert_eq!(
        again.unwrap_err().to_string(),
        format!(
            "no new log is made in `{}`: a checkpoint of 5 entries is known",
            dir.display()
        )
    );
}

#[test]
fn another_key_does_not_open() {
    let (disk, keys) = (Memory::default(), Keys::new());
    begin(&disk, &keys, None).unwrap();
    assert_eq!(begin(&disk, &Keys::new(), None).unwrap_err().code(), "RC-LED-008");
}

#[test]
fn a_full_tile_is_never_written_with_other_bytes() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    log.append(&entries(1, 200)).unwrap();
    disk.set("tile/0/000", Some(&[1; 8192]));
    assert_eq!(log.append(&entries(201, 300)).unwrap_err().code(), "RC-LED-006");
    assert_eq!(log.append(&[]).unwrap_err().code(), "RC-LED-013");
    assert_eq!(disk.read("tile/0/000", usize::MAX).unwrap().unwrap(), [1; 8192]);
}

#[test]
fn torn_tails_of_every_length_are_cut_off() {
    let (disk, keys) = (Memory::default(), Keys::new());
    let mut log = begin(&disk, &keys, None).unwrap();
    log.append(&entries(1, 3)).unwrap();
    let path = wal::path(0);
    let before = disk.read(&path, usize::MAX).unwrap().unwrap();
    let first = disk.after(Crash::Killed);
    let second = log.append(&entries(4, 5)).unwrap().checkpoint;
    let after = disk.read(&path, usize::MAX).unwrap().unwrap();
    drop(log);
    for len in before.len()..=after.len() {
        let whole_group = len == after.len();
        let mut random = after[..len].to_vec();
        random.extend_from_slice(&[0x5a; 40]);
        for tail in [after[..len].to_vec(), random] {
            let torn = first.after(Crash::Killed);
            torn.set(&path, Some(&tail));
            let log = begin(&torn, &keys, None).unwrap();
            assert_eq!(log.size(), if whole_group { 5 } else { 3 }, "{len}");
            drop(log);
            let left = torn.read(&path, usize::MAX).unwrap().unwrap();
            assert_eq!(left.len(), if whole_group { after.len() } else { before.len() });
            whole(&torn, &keys, &[]);
            // The same tail in a log whose checkpoint speaks of the group.
            let torn = disk.after(Crash::Killed);
            torn.set(&path, Some(&tail));
            let opened = begin(&torn, &keys, None);
            assert_eq!(opened.is_ok(), whole_group, "{len}");
            assert_eq!(
                check(&torn, &keys, std::slice::from_ref(&second)).is_whole(),
                whole_group
            );
        }
    }
}

#[test]
fn a_readers_proofs_hold_for_every_entry_and_size() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let keys = Keys::new();
    let mut log = Log::create(&dir, keys.signer(), None, clock()).unwrap();
    let all = entries(1, 600);
    let mut checkpoints = vec![log.checkpoint().clone()];
    for chunk in all.chunks(50) {
        checkpoints.push(log.append(chunk).unwrap().checkpoint);
    }
    let reader = Reader::open(&dir, log.signer().vkeys()).unwrap();
    let newest = reader.checkpoint();
    for (index, entry) in (0_u64..).zip(&all) {
        let receipt = reader.receipt(index).unwrap();
        receipt.verify(entry).unwrap();
    }
    for old in &checkpoints {
        let proof = reader.consistency_proof(old.size(), 600).unwrap();
        tree::verify_consistency(old.size(), old.root(), 600, newest.root(), &proof).unwrap();
        assert_eq!(&reader.root_at(old.size()).unwrap(), old.root());
    }
    assert_eq!(reader.inclusion_proof(600).unwrap_err().code(), "RC-LED-014");
    assert_eq!(reader.consistency_proof(1, 601).unwrap_err().code(), "RC-LED-014");
    assert_eq!(reader.consistency_proof(2, 1).unwrap_err().code(), "RC-LED-014");
    assert_eq!(reader.root_at(601).unwrap_err().code(), "RC-LED-014");
}
