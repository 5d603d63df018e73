use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rc_model::clock::ManualClock;
use rc_model::{Clock, Timestamp};

use super::writer::Splitter;
use super::*;

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_795_255_200_123)))
}

const STAMP: &str = "2026-11-21T10:00:00.123Z";

fn split(chunks: &[&[u8]]) -> Vec<String> {
    let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
    for chunk in chunks {
        splitter.push(chunk, |given| {
            lines.extend(given.map(|line| String::from_utf8_lossy(line).into_owned()))
        });
    }
    lines.extend(
        splitter
            .rest()
            .map(|line| String::from_utf8_lossy(line).into_owned()),
    );
    lines
}

#[test]
fn lines_survive_any_cut() {
    assert_eq!(split(&[b"a\nb\n"]), ["a", "b"]);
    assert_eq!(split(&[b"a", b"\nb", b"c\n", b"\n", b"d"]), ["a", "bc", "", "d"]);
    assert!(split(&[]).is_empty());
    let long = vec![b'x'; 200 << 10];
    let pieces = split(&[&long, b"\nnext\n"]);
    assert_eq!(pieces.last().map(String::as_str), Some("next"));
    assert_eq!(pieces.iter().map(String::len).sum::<usize>(), (200 << 10) + 4);
    assert!(pieces.iter().all(|piece| piece.len() <= 200 << 10));
}

/// Writes `text` through a pipe into a journal at `path` and waits until it is there.
async fn print(path: &Path, options: JournalOptions, text: &[u8]) -> Shared {
    let journal: Shared = Arc::new(Mutex::new(Journal::new(path, options)));
    let (reader, mut writer) = std::io::pipe().unwrap();
    let done = capture("test", reader, Arc::clone(&journal), clock()).unwrap();
    let text = text.to_owned();
    let thread = std::thread::spawn(move || writer.write_all(&text).unwrap());
    done.cancelled().await;
    thread.join().unwrap();
    journal
}

#[tokio::test]
async fn every_line_gets_a_time_unless_it_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    let own = r#"{"ts":"2026-11-21T09:00:00.000Z","level":"warn","msg":"hello"}"#;
    print(
        &path,
        JournalOptions::default(),
        format!("plain\r\n{own}\n{{\"a\":1}}\nlast").as_bytes(),
    )
    .await;
    let (lines, _) = last_lines(&path, 10).unwrap();
    assert_eq!(
        lines,
        [
            format!("{STAMP} plain"),
            own.to_owned(),
            format!("{STAMP} {{\"a\":1}}"),
            format!("{STAMP} last")
        ]
    );
    let parsed: Vec<Line<'_>> = lines.iter().map(|line| Line::parse(line)).collect();
    assert_eq!((parsed[0].text, parsed[0].json), ("plain", false));
    assert_eq!((parsed[1].text, parsed[1].json), (own, true));
    assert!(parsed[1].at < parsed[0].at);
    assert_eq!(level_of(own), Some("warn"));
    assert_eq!(Line::parse("no time here").at, None);
    assert_eq!(Line::parse("{\"ts\":\"nonsense").at, None);
}

#[tokio::test]
async fn a_flood_fills_neither_disk_nor_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    let options = JournalOptions {
        file_bytes_max: 100_000,
        tail_lines: 3,
    };
    let flood: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    let journal = print(&path, options, flood.as_bytes()).await;
    let size = |path: &Path| fs_err::metadata(path).unwrap().len();
    // A write is never cut, so a file may be longer by less than one write.
    assert!(size(&path) <= 200_000 + 65_536 * 5, "{}", size(&path));
    assert!(size(&rotated(&path)) <= 200_000 + 65_536 * 5);
    assert_eq!(
        with(&journal, |journal| journal.tail()),
        ["line 49997", "line 49998", "line 49999"]
    );
    let (lines, _) = last_lines(&path, 100).unwrap();
    assert_eq!(lines.len(), 100);
    assert_eq!(lines[99], format!("{STAMP} line 49999"));
    assert_eq!(lines[0], format!("{STAMP} line 49900"));
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing/x.log");
    let journal = print(&path, JournalOptions::default(), &vec![b'a'; 1 << 20]).await;
    assert!(with(&journal, |journal| journal.lost_bytes()) >= 1 << 20);
    fs_err::create_dir(dir.path().join("missing")).unwrap();
    with(&journal, |journal| journal.note("back"));
    assert_eq!(fs_err::read_to_string(&path).unwrap(), "back\n");
}

#[test]
fn the_tail_reaches_back_into_the_older_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    assert!(
        last_lines(&path, 5).unwrap().0.is_empty(),
        "no file is an empty journal"
    );
    fs_err::write(rotated(&path), "1\n2\n3\n").unwrap();
    fs_err::write(&path, "4\n5\npart").unwrap();
    let last = |count| last_lines(&path, count).unwrap().0;
    assert_eq!(last(1), ["5"]);
    assert_eq!(last(3), ["3", "4", "5"]);
    assert_eq!(last(99), ["1", "2", "3", "4", "5"]);
    assert!(last(0).is_empty());
}

#[test]
fn following_misses_nothing_through_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    fs_err::write(&path, "old\nhal").unwrap();
    let (_, mut follower) = last_lines(&path, 1).unwrap();
    let append = |text: &str| {
        let mut file = fs_err::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    assert!(follower.poll().unwrap().0.is_empty());
    append("f\nnext\n");
    assert_eq!(follower.poll().unwrap().0, ["half", "next"]);
    append("before\n");
    fs_err::rename(&path, rotated(&path)).unwrap();
    assert_eq!(
        follower.poll().unwrap().0,
        ["before"],
        "the path leads nowhere for a moment"
    );
    append("after\n");
    assert_eq!(follower.poll().unwrap().0, ["after"]);
    fs_err::write(&path, "").unwrap();
    assert!(follower.poll().unwrap().0.is_empty());
    append("emptied\n");
    assert_eq!(follower.poll().unwrap().0, ["emptied"]);
}

#[test]
fn a_file_that_comes_later_is_followed_from_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    let (_, mut follower) = last_lines(&path, 5).unwrap();
    fs_err::write(&path, "first\n").unwrap();
    assert_eq!(follower.poll().unwrap().0, ["first"]);
}
