use super::documents::{self, cut, without_marks};
use super::memory::pss_kib;
use super::{Args, Figure, Machine, Measured, Results, Subject, Unit};
use super::{kernel_series, machine, median, page, publishable, scratch, summary};
use crate::cx::Cx;

#[test]
fn the_median_is_the_middle() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    assert!(median(&[]).is_nan());
}

#[test]
fn this_machine_can_be_described() {
    let machine = machine().unwrap();
    assert!(machine.cores > 0 && machine.memory_gib > 0);
    assert_eq!(kernel_series("6.1.0-30-amd64\n"), "6.1");
}

#[test]
fn manual_pages_lose_their_marks_and_keep_their_words() {
    let page = ".\\\" a comment\n.TH OPEN 2\n.SH NAME\nopen \\- open a \\fIfile\\fP\n.PP\n.BR read (2)\n";
    assert_eq!(without_marks(page), "\nNAME\nopen - open a file\nread (2)\n");
}

#[test]
fn texts_are_cut_at_empty_lines_and_short_rests_stay() {
    let paragraph = format!("{}\n\n", "word ".repeat(80));
    let pieces = cut(&paragraph.repeat(26));
    assert!(pieces.len() >= 4, "{}", pieces.len());
    assert!(pieces.iter().all(|piece| (500..3_200).contains(&piece.len())));
    assert!(cut("too short").is_empty());
    assert!(cut("").is_empty());
}

#[test]
fn slow_the_packages_give_enough_documents_of_about_two_kilobytes() {
    let cx = Cx::from_environment().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("documents.ndjson");
    documents::write(&cx, &file).unwrap();
    let text = fs_err::read_to_string(file).unwrap();
    let lengths: Vec<usize> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|document| document["text"].as_str().unwrap().len())
        .collect();
    assert_eq!(lengths.len(), documents::COUNT);
    let mean = lengths.iter().sum::<usize>() / lengths.len();
    assert!((1_600..2_400).contains(&mean), "{mean}");
    assert_eq!(text.matches(documents::MARKER).count(), 1);
}

#[test]
fn memory_is_read_from_the_rollup() {
    assert_eq!(
        pss_kib("Rss:      100 kB\nPss:       42 kB\nPss_Anon: 7 kB\n").unwrap(),
        42.0
    );
    assert!(pss_kib("Rss: 1 kB\n").is_err());
}

/// A figure with a target in both directions.
fn figure(unit: Unit, at_most: Option<f64>, at_least: Option<f64>, values: Vec<f64>) -> Figure {
    Figure {
        group: "a group".to_owned(),
        at_least,
        ..Figure::new("what", unit, at_most, values)
    }
}

#[test]
fn the_page_shows_every_figure_with_its_target_and_survives_a_round_trip() {
    let mut behind = figure(Unit::Seconds, Some(1.0), None, vec![0.1, 0.2, 1.5]);
    behind.worst = true;
    let results = Results {
        subject: Subject::Platform,
        method: "By hand.".to_owned(),
        command: "make bench ARGS=platform".to_owned(),
        commit: "0123456789".to_owned(),
        machine: Machine {
            cores: 2,
            memory_gib: 24,
            processor: "a processor".to_owned(),
            kernel: "6.1".to_owned(),
        },
        figures: vec![
            Figure::new("start", Unit::Seconds, Some(3.0), vec![0.5, 0.25, 0.75]),
            Figure::new("memory", Unit::Mebibytes, Some(100.0), vec![150.0]),
            Figure::new("free", Unit::Seconds, None, vec![12.34]),
            figure(
                Unit::PerSecond,
                None,
                Some(10_000.0),
                vec![12_345.0, 9_000.0, 23_456.0],
            ),
            behind,
        ],
        summary: serde_json::Map::new(),
    };
    let text = serde_json::to_string(&results).unwrap();
    assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
    let page = page::render(&[results]);
    for expect in [
        "## Platform",
        "| start | 0.50 s | 0.25 s | 0.75 s | ≤ 3.00 s | met |",
        "| memory | 150 MiB | 150 MiB | 150 MiB | ≤ 100 MiB | **missed** |",
        "| free | 12.3 s | 12.3 s | 12.3 s |  |  |",
        "### A group",
        "| what | 12,345/s | 9,000/s | 23,456/s | ≥ 10,000/s | met |",
        "| what | 0.20 s | 0.10 s | 1.50 s | ≤ 1.00 s, every one | **missed** |",
        "| platform | memory | 150 MiB | ≤ 100 MiB | **missed** |",
        "| platform | what, a group | 1.50 s | ≤ 1.00 s, every one | **missed** |",
    ] {
        assert!(page.contains(expect), "{expect}\n{page}");
    }
}

#[test]
fn too_few_rounds_are_not_published() {
    let measured = |values: usize, rounds_min: usize| Measured {
        method: String::new(),
        rounds_min,
        figures: vec![
            Figure::new("with a target", Unit::Times, Some(1.0), vec![0.5; values]),
            Figure::new("without one", Unit::Times, None, vec![0.5]),
        ],
    };
    assert!(publishable(&measured(5, 1)).is_ok());
    assert!(publishable(&measured(4, 1)).is_err());
    assert!(publishable(&measured(7, 8)).is_err());
    assert!(publishable(&measured(8, 8)).is_ok());
}

#[test]
fn what_rc_bench_prints_is_read() {
    let text = r#"{"method": "m", "rounds_min": 8, "figures": [
        {"group": "g", "name": "n", "unit": "us", "at_most": 1.2, "values": [1.0, 3.0, 2.00049]},
        {"group": "g", "name": "c", "unit": "", "at_least": 1, "worst": true, "values": [1]}]}"#;
    let measured: Measured = serde_json::from_str(text).unwrap();
    let first = measured.figures[0].clone().rounded();
    assert_eq!((first.median, first.met()), (2.0, Some(false)));
    assert_eq!(measured.figures[1].met(), Some(true));
}

#[test]
fn what_a_build_cannot_do_is_said_and_has_no_number() {
    let text = r#"{"group": "C: a tenant", "name": "victims", "unit": "x", "at_most": 1.8, "values": []}"#;
    let unsupported = serde_json::from_str::<Figure>(text).unwrap().rounded();
    assert_eq!(unsupported.met(), None);
    let again: Figure = serde_json::from_str(&serde_json::to_string(&unsupported).unwrap()).unwrap();
    assert!(!again.is_supported());
    let measured = Measured {
        method: String::new(),
        rounds_min: 5,
        figures: vec![unsupported],
    };
    assert!(publishable(&measured).is_ok());
    assert!(summary(&measured.figures).is_empty());
}

#[test]
fn keys_become_nested_objects_with_medians() {
    let keyed = |key: &str, value: f64| Figure {
        key: Some(key.to_owned()),
        ..Figure::new("what", Unit::Times, None, vec![value])
    };
    let figures = [
        keyed("cpu_ratio_haproxy", 0.8),
        keyed("scenarios.A.victims_p99_ratio", 1.2),
        keyed("scenarios.C.victims_p99_ratio", 1.7),
        Figure::new("without one", Unit::Times, None, vec![3.0]),
    ];
    let expected = serde_json::json!({
        "cpu_ratio_haproxy": 0.8,
        "scenarios": {"A": {"victims_p99_ratio": 1.2}, "C": {"victims_p99_ratio": 1.7}},
    });
    assert_eq!(serde_json::Value::Object(summary(&figures)), expected);
}

#[test]
fn named_subjects_run_once_in_the_order_of_the_page() {
    let args = |subjects: &[Subject]| Args {
        subjects: subjects.to_vec(),
        quick: false,
        rc: None,
        page_only: false,
        debezium: None,
        against: None,
        kept: None,
    };
    let named = [Subject::Mixed, Subject::Gateway, Subject::Mixed];
    assert_eq!(args(&named).subjects(), [Subject::Gateway, Subject::Mixed]);
    assert_eq!(args(&[]).subjects(), Subject::USUAL);
}

#[test]
fn folders_of_runs_that_are_gone_are_swept() {
    let target = tempfile::tempdir().unwrap();
    let cx = Cx {
        target: target.path().to_owned(),
        ..Cx::from_environment().unwrap()
    };
    let mine = scratch::folder(&cx).unwrap();
    // Process ids end at 2^22.
    let gone = target.path().join("bench/4194305-x");
    let other = target.path().join("bench/other");
    for folder in [&gone, &other] {
        fs_err::create_dir(folder).unwrap();
    }
    scratch::sweep(&cx).unwrap();
    assert!(mine.path().is_dir() && other.is_dir() && !gone.exists());
}
