use super::*;
use crate::disk::tests::memory::Memory;

#[test]
fn widths_are_those_of_tlog_tiles() {
    // The example of the specification: a tree of 70,000.
    for (row, index, width) in [(0, 272, 256), (0, 273, 112), (1, 0, 256), (1, 1, 17), (2, 0, 1)] {
        assert_eq!(width_at(70_000, row, index), width, "{row}/{index}");
    }
    assert_eq!((width_at(256, 0, 0), width_at(256, 1, 0)), (256, 1));
    assert_eq!((width_at(70_000, 0, 274), width_at(70_000, 3, 0)), (0, 0));
    assert_eq!(width_at(u64::MAX, 7, 0), 255);
}

#[test]
fn a_bundle_that_is_short_ends_the_entries_with_an_error() {
    let disk = Memory::default();
    let mut bundle = Vec::new();
    tile::push_entry(&mut bundle, b"one");
    disk.set("tile/entries/000.p/2", Some(&bundle));
    let mut entries = Entries::new(&disk, 2, 0..2);
    assert_eq!(entries.next().unwrap().unwrap_err().code(), "RC-LED-006");
    assert!(entries.next().is_none());
    let mut none = Entries::new(&disk, 3, 0..3);
    let error = none.next().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`tile/entries/000.p/3` is damaged: it is missing"
    );
    assert!(Entries::new(&disk, 2, 5..9).next().is_none());
    assert!(Entries::new(&disk, 2, 1..1).next().is_none());
}

#[test]
fn a_folder_without_a_log_has_no_reader() {
    let folder = tempfile::tempdir().unwrap();
    let keys = crate::tests::signer();
    let error = Reader::open(folder.path(), keys.vkeys()).unwrap_err();
    assert_eq!(error.code(), "RC-LED-002");
    fs_err::write(folder.path().join("checkpoint"), [0xff; 9]).unwrap();
    let error = Reader::open(folder.path(), keys.vkeys()).unwrap_err();
    assert_eq!(error.code(), "RC-LED-008");
}
