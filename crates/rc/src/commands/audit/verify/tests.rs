use super::*;

#[test]
fn every_kind_of_fault_has_a_meaning_of_its_own() {
    let kinds = [
        FaultKind::Checkpoint,
        FaultKind::Root,
        FaultKind::Older,
        FaultKind::File,
        FaultKind::Entry,
        FaultKind::Sequence,
        FaultKind::Clock,
        FaultKind::Unpublished,
    ];
    let meanings: std::collections::BTreeSet<&str> = kinds.into_iter().map(meaning).collect();
    assert_eq!(meanings.len(), kinds.len());
}

#[test]
fn keys_lie_beside_the_checkpoint() {
    assert_eq!(keys_beside(Path::new("/a/b.txt")), Path::new("/a/b.txt.keys"));
}

#[test]
fn a_tile_of_hashes_names_the_file_of_its_entries() {
    let fault = |file: &str, kind| rc_ledger::Fault {
        kind,
        file: Some(file.to_owned()),
        index: Some(1),
        text: String::new(),
    };
    let of = |file: &str| bundle(&fault(file, FaultKind::File));
    assert_eq!(
        of("tile/0/x001/234.p/5").as_deref(),
        Some("tile/entries/x001/234.p/5")
    );
    assert_eq!(of("tile/1/000"), None);
    assert_eq!(bundle(&fault("tile/0/000", FaultKind::Entry)), None);
}
