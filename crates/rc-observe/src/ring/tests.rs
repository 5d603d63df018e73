use super::*;

fn block(body: &[u8]) -> Vec<u8> {
    let mut block = vec![0; BLOCK_HEAD_BYTES];
    block.extend_from_slice(body);
    block
}

fn ring(folder: &Path, keep_bytes: u64) -> Ring {
    Ring::new(RingConfig {
        folder: folder.to_owned(),
        keep_bytes,
    })
}

/// Every block in the folder, oldest first.
fn all(folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (_, path) in segments(folder).unwrap() {
        let segment = fs_err::read(path).unwrap();
        found.extend(Blocks::of(&segment).map(<[u8]>::to_vec));
    }
    found
}

#[test]
fn blocks_come_back_in_order_and_only_their_owner_can_read_them() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("traces/ingest");
    let mut first = ring(&folder, 0);
    first.append(&mut block(b"one")).unwrap();
    first.append(&mut block(b"two")).unwrap();
    // Another process of the same service, after this one was killed.
    ring(&folder, 0).append(&mut block(b"three")).unwrap();
    assert_eq!(
        all(&folder),
        [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]
    );
    let found = segments(&folder).unwrap();
    assert_eq!(found.len(), 2);
    for (_, path) in &found {
        let mode = fs_err::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let mode = fs_err::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_segment_cut_at_any_byte_gives_the_whole_blocks_before_the_cut() {
    let scratch = tempfile::tempdir().unwrap();
    let mut ring = ring(scratch.path(), 0);
    let bodies: [&[u8]; 3] = [b"the first", b"", b"the third, with a MARK \xf5RCb inside"];
    let mut ends = Vec::new();
    for body in bodies {
        ring.append(&mut block(body)).unwrap();
        ends.push(ring.open.as_ref().unwrap().segment.bytes);
    }
    let whole = fs_err::read(&segments(scratch.path()).unwrap()[0].1).unwrap();
    for cut in 0..=whole.len() {
        let got: Vec<&[u8]> = Blocks::of(&whole[..cut]).collect();
        let complete = ends.iter().filter(|end| **end <= cut as u64).count();
        assert_eq!(got, bodies[..complete], "cut at {cut}");
    }
}

#[test]
fn damage_costs_only_the_block_that_it_is_in() {
    let scratch = tempfile::tempdir().unwrap();
    let mut ring = ring(scratch.path(), 0);
    for body in [b"aaaa", b"bbbb", b"cccc"] {
        ring.append(&mut block(body)).unwrap();
    }
    let whole = fs_err::read(&segments(scratch.path()).unwrap()[0].1).unwrap();
    let second = MAGIC.len() + BLOCK_HEAD_BYTES + 4;
    for at in second..second + BLOCK_HEAD_BYTES + 4 {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        let got: Vec<&[u8]> = Blocks::of(&damaged).collect();
        assert_eq!(got, [b"aaaa", b"cccc"], "byte {at}");
    }
    assert_eq!(Blocks::of(b"something else entirely").count(), 0);
    assert_eq!(Blocks::of(b"").count(), 0);
}

#[test]
fn the_oldest_goes_when_there_is_too_much() {
    let scratch = tempfile::tempdir().unwrap();
    let mut ring = ring(scratch.path(), 0);
    let body = vec![7_u8; 300 << 10];
    let size = || -> u64 {
        let found = segments(scratch.path()).unwrap();
        found
            .iter()
            .map(|(_, path)| fs_err::metadata(path).unwrap().len())
            .sum()
    };
    let rounds = 3 * KEEP_BYTES_MIN / body.len() as u64;
    for round in 0..rounds {
        let mut block = block(&body);
        block[BLOCK_HEAD_BYTES..][..8].copy_from_slice(&round.to_le_bytes());
        ring.append(&mut block).unwrap();
        assert!(size() <= KEEP_BYTES_MIN, "{} bytes after round {round}", size());
    }
    assert!(size() > KEEP_BYTES_MIN * 3 / 4, "{}", size());
    let newest = all(scratch.path()).pop().unwrap();
    assert_eq!(newest[..8], (rounds - 1).to_le_bytes());
}

#[test]
fn many_restarts_do_not_make_many_files() {
    let scratch = tempfile::tempdir().unwrap();
    for round in 0..(SEGMENTS_MAX + 10) {
        ring(scratch.path(), 0)
            .append(&mut block(&round.to_le_bytes()))
            .unwrap();
    }
    assert_eq!(segments(scratch.path()).unwrap().len(), SEGMENTS_MAX);
}

#[test]
fn a_removed_folder_is_made_again() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("gateway");
    let mut ring = ring(&folder, 0);
    ring.append(&mut block(b"one")).unwrap();
    fs_err::remove_dir_all(&folder).unwrap();
    ring.append(&mut block(b"two")).unwrap();
    assert_eq!(all(&folder), [b"two".to_vec()]);
}

#[test]
fn a_disk_without_room_costs_blocks_and_nothing_else() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("gateway");
    let mut ring = ring(&folder, 0);
    ring.append(&mut block(b"one")).unwrap();
    // Linux's own full disk, in place of the segment.
    let full = fs_err::OpenOptions::new().append(true).open("/dev/full").unwrap();
    let segment = ring.open.replace(Open {
        file: full,
        segment: Segment { number: 9, bytes: 8 },
    });
    let error = ring.append(&mut block(b"lost")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    ring.open = segment;
    ring.append(&mut block(b"two")).unwrap();
    assert_eq!(all(&folder), [b"one".to_vec(), b"two".to_vec()]);
}
