use super::*;

#[test]
fn paths_are_those_of_tlog_tiles() {
    for (tile, path) in [
        (Tile::full(Row::Level(0), 0), "tile/0/000"),
        (Tile::full(Row::Level(2), 999), "tile/2/999"),
        (Tile::full(Row::Level(0), 1000), "tile/0/x001/000"),
        (Tile::full(Row::Level(1), 1_234_067), "tile/1/x001/x234/067"),
        (Tile::new(Row::Level(0), 273, 112), "tile/0/273.p/112"),
        (Tile::full(Row::Entries, 1_234_067), "tile/entries/x001/x234/067"),
        (Tile::new(Row::Entries, 7, 1), "tile/entries/007.p/1"),
    ] {
        assert_eq!(tile.path(), path);
        assert_eq!(Tile::parse(path), Some(tile));
    }
}

#[test]
fn a_path_has_one_form() {
    for path in [
        "",
        "tile",
        "tile/0",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/+1/000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/1/2",
        "tile/entries/000.p",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "checkpoint",
    ] {
        assert_eq!(Tile::parse(path), None, "{path}");
    }
}

#[test]
fn bundles_come_apart_as_they_were_put_together() {
    let entries: [&[u8]; 3] = [b"", b"one", &[7; 65_535]];
    let mut bundle = Vec::new();
    for entry in entries {
        push_entry(&mut bundle, entry);
    }
    let mut rest = bundle.as_slice();
    for entry in entries {
        assert_eq!(next_entry(&mut rest, "f").unwrap(), Some(entry));
    }
    assert_eq!(next_entry(&mut rest, "f").unwrap(), None);
    for len in [1, 3, 6, bundle.len() - 1] {
        let mut rest = &bundle[..len];
        let error = loop {
            if let Err(error) = next_entry(&mut rest, "f") {
                break error;
            }
            assert!(!rest.is_empty(), "{len}");
        };
        assert_eq!(error.code(), "RC-LED-006", "{len}");
    }
}
