use std::path::Path;

use super::*;
use crate::disk::tests::memory::Memory;
use crate::log::tests::support::{Built, build, build_with};
use crate::tests::{START_MS, entries, entry};

fn check(built: &Built, disk: &Memory) -> Report {
    verify_files(disk, Path::new("log"), &Trust::new(&built.vkeys)).unwrap()
}

/// Kinds and texts of the faults.
fn faults(report: &Report) -> Vec<String> {
    let all = report.faults.iter().chain(&report.warnings);
    all.map(|fault| {
        let file = fault.file.as_deref().unwrap_or("-");
        let index = fault
            .index
            .map_or_else(|| "-".to_owned(), |index| index.to_string());
        format!("{} {file} {index}: {}", fault.kind.as_str(), fault.text)
    })
    .collect()
}

#[test]
fn a_changed_byte_of_any_file_is_a_fault() {
    let built = build(&[&entries(1, 2), &entries(3, 5)]);
    let mut tried = 0;
    for (path, bytes) in built.disk.all() {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            built.disk.set(&path, Some(&changed));
            let report = check(&built, &built.disk);
            assert!(!report.is_whole(), "byte {at} of {path}");
            tried += 1;
        }
        built.disk.set(&path, Some(&bytes));
    }
    assert!(tried > 5_000, "{tried}");
    assert_eq!(faults(&check(&built, &built.disk)), Vec::<String>::new());
}

#[test]
fn a_file_that_is_missing_empty_or_longer_is_a_fault() {
    let built = build(&[&entries(1, 300), &entries(301, 310)]);
    // Partial files of earlier sizes may go at any time.
    let optional = ["tile/0/001.p/44", "tile/entries/001.p/44"];
    for (path, bytes) in built.disk.all() {
        let longer = [&bytes[..], &bytes[..32.min(bytes.len())]].concat();
        for other in [None, Some(&[][..]), Some(&longer)] {
            built.disk.set(&path, other);
            let report = check(&built, &built.disk);
            let strange = report.unfinished > 0 && path.ends_with(".wal") && other == Some(&longer);
            let gone = other.is_none() && optional.contains(&path.as_str());
            assert!(
                !report.is_whole() || strange || gone,
                "{path} {:?}",
                other.map(<[u8]>::len)
            );
        }
        built.disk.set(&path, Some(&bytes));
    }
    assert_eq!(faults(&check(&built, &built.disk)), Vec::<String>::new());
}

#[test]
fn slow_changed_bytes_of_a_log_of_full_tiles_are_faults() {
    let built = build(&[&entries(1, 255), &entries(256, 520)]);
    let mut random = fastrand::Rng::with_seed(4);
    for (path, bytes) in built.disk.all() {
        for _ in 0..20 {
            let mut changed = bytes.clone();
            changed[random.usize(..bytes.len())] ^= 1 << random.u8(..8);
            built.disk.set(&path, Some(&changed));
            assert!(!check(&built, &built.disk).is_whole(), "{path}");
        }
        built.disk.set(&path, Some(&bytes));
    }
    assert!(check(&built, &built.disk).is_whole());
}

#[test]
fn faults_name_the_entry_and_the_file() {
    let built = build(&[&entries(1, 300)]);
    let path = "tile/entries/000";
    let mut bundle = built.disk.read(path, usize::MAX).unwrap().unwrap();
    let len = entries(1, 1)[0].len();
    // The name of the resource of the second entry: it stays an entry.
    let at = bundle[len + 2..]
        .windows(2)
        .position(|pair| pair == b"k2")
        .unwrap()
        + len
        + 3;
    bundle[at] = b'9';
    built.disk.set(path, Some(&bundle));
    assert_eq!(
        faults(&check(&built, &built.disk)),
        [
            "file tile/0/000 1: hash 1 is not that of entry 1",
            "file tile/1/000.p/1 0: hash 0 is not that of the entries from 0 on",
            "root - -: the 300 entries do not have the root that was signed",
        ]
    );
}

#[test]
fn gaps_repetitions_and_clocks_are_noticed_a_source_at_a_time() {
    let mut group = Vec::new();
    for (source, seq, back_ms) in [
        ("a/1", 1, 0),
        ("b/1", 1, 0),
        ("a/1", 2, 0),
        ("a/1", 4, 0),
        ("b/1", 1, 0),
        ("b/1", 2, 20_000),
        ("c/1", 2, 0),
        ("a/1", 5, 9_000),
    ] {
        let mut entry = entry(source, seq);
        entry.at_ms = START_MS - back_ms;
        group.push(entry.encode().unwrap());
    }
    let built = build(&[&group]);
    let report = check(&built, &built.disk);
    assert_eq!(
        faults(&report),
        [
            "sequence tile/entries/000.p/8 3: source `a/1` has 4 after 2",
            "sequence tile/entries/000.p/8 4: source `b/1` has 1 after 1",
            "sequence tile/entries/000.p/8 6: source `c/1` begins with 2",
            "clock tile/entries/000.p/8 5: the clock of source `b/1` went back by 20000 ms",
        ]
    );
    assert_eq!(
        (report.faults_total, report.warnings_total, report.sources),
        (3, 1, 3)
    );
    assert_eq!(report.first_at_ms, Some(START_MS));
    assert_eq!(report.last_at_ms, Some(START_MS - 9_000));
}

#[test]
fn bytes_that_are_no_entries_are_named() {
    let built = build(&[&[b"not an entry".to_vec()]]);
    let report = check(&built, &built.disk);
    assert_eq!(
        (report.faults_total, report.faults[0].kind),
        (1, FaultKind::Entry)
    );
}

#[test]
fn the_list_of_faults_is_bounded_and_their_number_is_not() {
    let group: Vec<Vec<u8>> = (0..500).map(|_| b"x".to_vec()).collect();
    let built = build(&[&group]);
    let report = check(&built, &built.disk);
    assert_eq!((report.faults.len(), report.faults_total), (LISTED_MAX, 500));
}

#[test]
fn a_log_that_was_cut_off_is_seen_by_who_kept_a_checkpoint() {
    let built = build(&[&entries(1, 10), &entries(11, 20)]);
    let shorter = build_with(&built.keys, &[&entries(1, 10)]);
    let other = build_with(&built.keys, &[&entries(101, 110), &entries(111, 130)]);
    let mut trust = Trust::new(&built.vkeys);
    let verify = |disk: &Memory, trust: &Trust| verify_files(disk, Path::new("log"), trust).unwrap();
    assert!(
        verify(&shorter.disk, &trust).is_whole(),
        "by itself it cannot be seen"
    );
    trust.older = built.checkpoints.clone();
    let report = verify(&built.disk, &trust);
    assert_eq!((report.is_whole(), report.older_contained), (true, 3));
    let report = verify(&shorter.disk, &trust);
    assert_eq!(
        faults(&report),
        ["older - -: the log has 10 entries, and 20 were signed before"]
    );
    let report = verify(&other.disk, &trust);
    let rewritten =
        |size| format!("older - -: the first {size} entries do not have the root that was signed for them");
    let sequence = faults(&report)
        .iter()
        .filter(|fault| fault.starts_with("sequence"))
        .count();
    assert_eq!(faults(&report)[sequence..], [rewritten(10), rewritten(20)]);
}

#[test]
fn a_write_ahead_log_of_other_entries_is_a_fault() {
    let built = build(&[&entries(1, 3)]);
    let mut bundle = Vec::new();
    for entry in [entries(1, 1), entries(7, 7), entries(3, 3)].concat() {
        crate::tile::push_entry(&mut bundle, &entry);
    }
    let mut disk = built.disk.clone();
    crate::wal::begin(&mut disk, 0, &[crate::wal::record(0, &bundle)]).unwrap();
    let path = crate::wal::path(0);
    assert_eq!(
        faults(&check(&built, &disk)),
        [format!(
            "file {path} 1: its entry is not the one that the tile has"
        )]
    );
}

#[test]
fn strange_files_are_warnings() {
    let built = build(&[&entries(1, 3)]);
    for path in [
        "tile/notes.txt",
        "tile/0/000.p/7",
        "tile/0/001",
        "wal/x",
        "tile/0/000.p/03",
    ] {
        built.disk.set(path, Some(b"x"));
    }
    let report = check(&built, &built.disk);
    assert_eq!(
        (report.is_whole(), report.warnings_total),
        (true, 5),
        "{:?}",
        faults(&report)
    );
}

#[test]
fn a_folder_that_is_no_log_is_an_error() {
    let trust = Trust::new(crate::tests::signer().vkeys());
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(verify(folder.path(), &trust).unwrap_err().code(), "RC-LED-002");
    let built = build(&[&entries(1, 3)]);
    built.disk.set("checkpoint", None);
    assert_eq!(
        faults(&check(&built, &built.disk)),
        ["checkpoint checkpoint -: it is missing"]
    );
    assert!(
        !verify_files(&build(&[]).disk, Path::new("log"), &trust)
            .unwrap()
            .is_whole()
    );
}

#[test]
fn a_checkpoint_that_nobody_trusted_signed_is_not_followed() {
    let built = build(&[&entries(1, 3)]);
    let text = built.disk.read("checkpoint", usize::MAX).unwrap().unwrap();
    let text = String::from_utf8(text).unwrap();
    // The size of a log that no disk holds: following it would take years.
    let huge = text.replacen("\n3\n", &format!("\n{}\n", u64::MAX / 2), 1);
    assert_ne!(huge, text);
    built.disk.set("checkpoint", Some(huge.as_bytes()));
    let report = check(&built, &built.disk);
    assert_eq!((report.faults_total, report.size), (1, 0));
    assert_eq!(report.faults[0].kind, FaultKind::Checkpoint);
}

#[test]
fn a_log_without_its_last_files_is_followed_as_far_as_there_are_files() {
    let built = build(&[&entries(1, 2_000)]);
    for (path, _) in built.disk.all() {
        let late = |row: &str| path.strip_prefix(row).is_some_and(|name| *name > *"001");
        if late("tile/entries/") || late("tile/0/") {
            built.disk.set(&path, None);
        }
    }
    let report = check(&built, &built.disk);
    let told = faults(&report);
    assert!(
        told.contains(&"file - 768: there are no files of the entries from 768 on".to_owned()),
        "{told:?}"
    );
    assert!(report.faults_total < 10, "{told:?}");
}

/// What an append leaves when it stops between the write-ahead log and the checkpoint, which is also what a
/// check beside a writer may see.
#[test]
fn an_append_that_is_under_way_is_not_strange() {
    let built = build(&[&entries(1, 3)]);
    let later = build_with(&built.keys, &[&entries(1, 3), &entries(4, 300)]);
    for (path, bytes) in later.disk.all() {
        if path != "checkpoint" {
            built.disk.set(&path, Some(&bytes));
        }
    }
    let report = check(&built, &built.disk);
    assert_eq!(faults(&report), Vec::<String>::new());
    assert!(report.unfinished >= 5, "{}", report.unfinished);
    // The same files without the write-ahead log that would have come first.
    let wal = crate::wal::path(0);
    let first = build(&[&entries(1, 3)])
        .disk
        .read(&wal, usize::MAX)
        .unwrap()
        .unwrap();
    let strange = build(&[&entries(1, 3)]);
    for (path, bytes) in later.disk.all() {
        if path != "checkpoint" && path != wal {
            strange.disk.set(&path, Some(&bytes));
        }
    }
    strange.disk.set(&wal, Some(&first));
    assert!(check(&strange, &strange.disk).warnings_total >= 5);
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_a_fault_and_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let signer = crate::tests::signer();
    let keys = signer.vkeys().to_vec();
    let mut log = crate::Log::create(&dir, signer, None, crate::tests::clock()).unwrap();
    log.append(&entries(1, 3)).unwrap();
    log.close().unwrap();
    for file in ["checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"] {
        let path = dir.join(file);
        let kept = fs_err::read(&path).unwrap();
        fs_err::remove_file(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let report = verify(&dir, &Trust::new(&keys)).unwrap();
        assert!(
            faults(&report)[0].ends_with("it is not a regular file"),
            "{:?}",
            faults(&report)
        );
        fs_err::remove_file(&path).unwrap();
        fs_err::write(&path, kept).unwrap();
    }
    assert!(verify(&dir, &Trust::new(&keys)).unwrap().is_whole());
}
