use super::*;
use crate::run::Outcome;
use crate::world::{BusKind, Combination, SourceKind};

fn kept(part: impl FnOnce(Combination) -> Part, found: Vec<(Fault, Channel, u64)>) -> Kept {
    let combination = Combination {
        source: SourceKind::Poll,
        bus: BusKind::Nats,
    };
    Kept {
        commit: "0123abc".to_owned(),
        events: 1_000,
        faults: 2,
        part: part(combination),
        outcome: Outcome {
            combination,
            seed: 7,
            events: 1_234_567,
            stream: 1_234_567,
            logged: 1_234_567,
            faults: BTreeMap::from([("kill -9 of the relay".to_owned(), 2)]),
            found,
            examples: Vec::new(),
            stuck: None,
            forgotten: 0,
            panics: 0,
            longest_stall_ms: 1_250,
            seconds: 60,
        },
    }
}

#[test]
fn a_result_is_right_when_the_promise_was_kept_or_the_disk_forgot() {
    let lost = || vec![(Fault::Lost, Channel::Log, 3)];
    assert!(is_right(&kept(Part::Faults, Vec::new())));
    assert!(!is_right(&kept(Part::Faults, lost())));
    assert!(!is_right(&kept(Part::Power, lost())));
    assert!(is_right(&kept(Part::Forgetful, lost())));
    assert!(!is_right(&kept(Part::Forgetful, Vec::new())));
}

#[test]
fn the_page_has_the_report_between_its_marks_and_nothing_else_changes() {
    let page = format!("# Head\n{BEGIN}old\n{END}tail\n");
    let text = text(&[kept(Part::Faults, Vec::new()), kept(Part::Power, Vec::new())]);
    let written = insert(&page, &text).unwrap();
    assert!(written.starts_with("# Head\n") && written.ends_with("tail\n"));
    assert!(!written.contains("old"));
    assert_eq!(insert(&written, &text).unwrap(), written);
    assert!(written.contains(
        "| PostgreSQL polling to JetStream | 1,234,567 | 2 | 0 | 0 | 0 | 0 | 0 | 0.00 % | 1.2 s | 7 |"
    ));
    assert!(insert("no marks", &text).is_err());
}
