use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::commands::ingest::batch::BATCH_ITEMS_MAX;
use crate::commands::ingest::walk;

/// Everything below `root`, read to its end: batches and report.
fn read_all(root: &Path, attrs: &[(&str, &str)]) -> (Vec<Batch>, Reading) {
    let found = walk::walk(&[".".into()], root, false).unwrap();
    let attrs = attrs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let (out, mut batches) = mpsc::channel(1_000);
    let reading = read(&found.sources, &attrs, &out, Arc::new(Gauge::default()));
    drop(out);
    let mut taken = Vec::new();
    while let Ok(batch) = batches.try_recv() {
        taken.push(batch);
    }
    (taken, reading)
}

fn lines(batches: &[Batch]) -> Vec<Value> {
    batches
        .iter()
        .flat_map(|batch| batch.body.split(|byte| *byte == b'\n'))
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn ids(batches: &[Batch]) -> Vec<String> {
    lines(batches)
        .iter()
        .map(|document| document["id"].as_str().unwrap_or("-").to_owned())
        .collect()
}

fn write(root: &Path, name: &str, content: impl AsRef<[u8]>) {
    fs_err::write(root.join(name), content).unwrap();
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn all_kinds_of_files_become_documents() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "a.md", "# Title\n\ntext");
    write(root, "b.txt.gz", gzip(b"zipped text"));
    write(
        root,
        "c.ndjson",
        "{\"id\":\"c1\",\"text\":\"x\"}\n\n  {\"id\":\"c2\",\"text\":\"y\"}  ",
    );
    write(
        root,
        "d.json",
        "[\n {\"id\":\"d1\",\n  \"text\":\"a\\nb\"},\n {\"id\":\"d2\",\"text\":\"\"}\n]",
    );
    write(root, "e.json", "{\"id\":\"e1\",\"text\":\"one\"}");
    write(root, "f.json", "{\"name\":\"a manifest\"}");
    write(root, "g.bin", b"\x7fELF\0\0");
    write(root, "h.txt", b"caf\xe9");
    write(root, "i.txt", " \n\t");
    let (batches, reading) = read_all(root, &[]);
    assert_eq!(
        ids(&batches),
        [
            "a.md", "b.txt.gz", "c1", "c2", "d1", "d2", "e1", "f.json", "h.txt"
        ]
    );
    assert_eq!(lines(&batches)[4]["text"], "a\nb");
    assert_eq!((reading.files, reading.guessed, reading.rejects.count), (7, 1, 0));
    assert_eq!(reading.skips, Skips::from([(Skip::Binary, 1), (Skip::Empty, 1)]));
    let origins: Vec<&str> = batches[0].items.iter().map(|item| item.origin.as_str()).collect();
    assert_eq!(origins[2..5], ["c.ndjson:1", "c.ndjson:3", "d.json[0]"]);
}

#[test]
fn a_bad_line_is_refused_and_its_neighbours_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut content = b"{\"id\":\"1\",\"text\":\"\"}\nnot json\n[1]\n{\"id\":\n\xff\xfe\n".to_vec();
    content.extend(vec![b'x'; LINE_BYTES_MAX + 10]);
    content.extend(b"\n{\"id\":\"2\",\"text\":\"\"}\n");
    write(folder.path(), "x.jsonl", &content);
    let (batches, reading) = read_all(folder.path(), &[]);
    assert_eq!(ids(&batches), ["1", "2"]);
    let sources: Vec<&str> = reading
        .rejects
        .listed
        .iter()
        .map(|reject| reject.source.as_str())
        .collect();
    assert_eq!(
        sources,
        ["x.jsonl:2", "x.jsonl:3", "x.jsonl:4", "x.jsonl:5", "x.jsonl:6"]
    );
    assert!(
        reading.rejects.listed[2].detail.contains("jq -c"),
        "{:?}",
        reading.rejects.listed[2]
    );
    assert_eq!(reading.bytes, content.len() as u64);
}

#[test]
fn attributes_are_added_and_a_document_s_own_win() {
    let folder = tempfile::tempdir().unwrap();
    let content =
        "{\"text\":\"\"}\n{\"text\":\"\",\"attrs\":{\"lang\":\"de\"}}\n{\"text\":\"\",\"attrs\":7}\n";
    write(folder.path(), "x.jsonl", content);
    let (batches, _) = read_all(folder.path(), &[("lang", "en"), ("src", "wiki")]);
    let attrs: Vec<Value> = lines(&batches)
        .into_iter()
        .map(|mut document| document["attrs"].take())
        .collect();
    assert_eq!(attrs[0], serde_json::json!({ "lang": "en", "src": "wiki" }));
    assert_eq!(attrs[1], serde_json::json!({ "lang": "de", "src": "wiki" }));
    assert_eq!(attrs[2], 7, "left for the platform to refuse");
}

#[test]
fn batches_are_bounded_and_a_repeated_id_waits_for_the_batches_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut content = String::new();
    for n in 0..BATCH_ITEMS_MAX * 2 {
        content.push_str(&format!("{{\"id\":\"{n}\",\"text\":\"\"}}\n"));
    }
    content.push_str("{\"id\":\"7\",\"text\":\"again\"}\n{\"id\":\"7\",\"text\":\"and again\"}\n");
    write(folder.path(), "x.jsonl", &content);
    let (batches, _) = read_all(folder.path(), &[]);
    let shape: Vec<(usize, bool)> = batches
        .iter()
        .map(|batch| (batch.items.len(), batch.after_all))
        .collect();
    assert_eq!(
        shape,
        [(BATCH_ITEMS_MAX, false), (BATCH_ITEMS_MAX, false), (2, true)]
    );
}

#[test]
fn two_files_never_become_one_document() {
    let folder = tempfile::tempdir().unwrap();
    for side in ["left", "right"] {
        fs_err::create_dir(folder.path().join(side)).unwrap();
        write(&folder.path().join(side), "same.txt", side);
    }
    let found = walk::walk(&["left".into(), "right".into()], folder.path(), false).unwrap();
    let (out, _batches) = mpsc::channel(10);
    let reading = read(&found.sources, &BTreeMap::new(), &out, Arc::new(Gauge::default()));
    assert_eq!(reading.rejects.count, 1);
    assert!(reading.rejects.listed[0].detail.contains("same.txt"));
}

#[test]
fn a_bomb_and_a_broken_archive_stay_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = vec![b' '; 1 << 20];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..65 {
        encoder.write_all(&zeros).unwrap();
    }
    write(folder.path(), "bomb.gz", encoder.finish().unwrap());
    write(
        folder.path(),
        "cut.gz",
        &gzip(b"some longer text that is cut in its middle")[..30],
    );
    let (batches, reading) = read_all(folder.path(), &[]);
    assert!(batches.is_empty());
    assert_eq!(
        reading.skips,
        Skips::from([(Skip::TooLarge, 1), (Skip::Unreadable, 1)])
    );
    assert_eq!(reading.rejects.listed[0].source, "cut.gz");
}

#[test]
fn refusals_beyond_the_list_are_counted() {
    let mut all = Rejects::default();
    for _ in 0..3 {
        let mut some = Rejects::default();
        for n in 0..15 {
            some.push(Reject {
                source: format!("{n}"),
                pointer: None,
                code: None,
                detail: String::new(),
            });
        }
        all.append(some);
    }
    assert_eq!((all.listed.len(), all.count), (REJECTS_LISTED_MAX, 45));
}

#[test]
fn a_byte_order_mark_belongs_to_no_document() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        root,
        "a.ndjson",
        "\u{feff}{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"b\",\"text\":\"x\"}",
    );
    write(root, "b.json", "\u{feff}{\"id\":\"c\",\"text\":\"x\"}");
    write(root, "c.json", "\u{feff}\n[{\"id\":\"d\",\"text\":\"x\"}]");
    write(
        root,
        "d.jsonl.gz",
        gzip("\u{feff}{\"id\":\"e\",\"text\":\"x\"}".as_bytes()),
    );
    write(root, "e.txt", "\u{feff}plain");
    write(root, "f.jsonl", "{}");
    let (batches, reading) = read_all(root, &[]);
    assert_eq!(reading.rejects.count, 0, "{:?}", reading.rejects);
    assert_eq!(ids(&batches), ["a", "b", "c", "d", "e", "e.txt", "-"]);
    assert_eq!(lines(&batches)[5]["text"], "plain");
}

#[test]
fn only_one_byte_order_mark_is_taken_off_and_short_input_stays_whole() {
    for (input, rest) in [
        ("", ""),
        ("a", "a"),
        ("\u{feff}", ""),
        ("\u{feff}\u{feff}x", "\u{feff}x"),
        ("{}\n{}", "{}\n{}"),
    ] {
        let mut from = input.as_bytes();
        let mut left = String::new();
        without_mark(&mut from)
            .unwrap()
            .read_to_string(&mut left)
            .unwrap();
        assert_eq!(left, rest);
    }
}

#[test]
fn standard_input_may_begin_with_a_byte_order_mark() {
    for input in [
        "\u{feff}{\"id\":\"a\",\"text\":\"x\"}",
        "\u{feff} [{\"id\":\"a\",\"text\":\"x\"}]",
    ] {
        let (out, mut batches) = mpsc::channel(10);
        let attrs = BTreeMap::new();
        let mut reader = reader(&out, &attrs, Arc::new(Gauge::default()));
        reader.stdin(&mut input.as_bytes()).unwrap();
        reader.flush().unwrap();
        assert_eq!(reader.report.rejects.count, 0, "{input}");
        assert_eq!(ids(&[batches.try_recv().unwrap()]), ["a"]);
    }
}
