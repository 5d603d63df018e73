use std::time::Duration;

use super::*;
use proptest::prelude::*;

fn encoded(frame: Frame) -> Vec<u8> {
    let mut bytes = frame.length.to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[frame.kind, frame.flags]);
    bytes.extend_from_slice(&frame.stream.to_be_bytes());
    bytes.resize(bytes.len() + frame.length as usize, 0xff);
    bytes
}

fn frame(kind: u8, flags: u8, length: u32) -> Frame {
    Frame {
        length,
        kind,
        flags,
        stream: 1,
    }
}

#[test]
fn only_frames_that_carry_nothing_cost() {
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    for (costs, frame) in [
        (0, frame(HEADERS, 0, 40)),
        (0, frame(DATA, 0, 1)),
        (0, frame(DATA, END_STREAM, 0)),
        (1, frame(DATA, 0, 0)),
        (1, frame(PING, 0, 8)),
        (1, frame(WINDOW_UPDATE, 0, 4)),
        (1, frame(0xfe, 0, 0)),
        (SETTINGS_COST, frame(SETTINGS, 0, 0)),
        (RESET_COST, frame(RST_STREAM, 0, 4)),
    ] {
        assert_eq!(cost(frame), costs, "{frame:?}");
    }
}

#[test]
fn a_budget_comes_back_with_time_and_with_what_was_sent() {
    let start = Instant::now();
    let mut budget = Budget::new(start);
    for _ in 0..BUDGET_MAX {
        budget.spend(1, || start);
    }
    assert!(!budget.used_up);
    // What is earned is never more than a rested budget holds.
    budget.spend(1, || start + Duration::from_secs(3_600));
    assert_eq!(budget.left, BUDGET_MAX - 1);
    for _ in 0..BUDGET_MAX - 1 {
        budget.spend(1, || start);
    }
    // Bytes count however they are cut into frames; the client that dribbles earns no frame for each byte.
    for _ in 0..BYTES_PER_EARNED - 1 {
        budget.sent(1);
    }
    assert_eq!(budget.left, 0);
    budget.sent(1);
    assert_eq!(budget.left, 1);
    budget.spend(2, || start + Duration::from_secs(3_600));
    assert!(budget.used_up);
}

proptest! {
    /// Frames are found however the bytes are cut.
    #[test]
    fn cutting_changes_nothing(
        frames in proptest::collection::vec((0_u32..40, any::<u8>(), any::<u8>(), 0_u32..1 << 31), 0..20),
        piece in 1_usize..30,
    ) {
        let frames: Vec<Frame> = frames
            .into_iter()
            .map(|(length, kind, flags, stream)| Frame { length, kind, flags, stream })
            .collect();
        let bytes: Vec<u8> = frames.iter().copied().flat_map(encoded).collect();
        let (mut follower, mut found) = (Frames::default(), Vec::new());
        for cut in bytes.chunks(piece) {
            follower.follow(cut, |frame| found.push(frame));
        }
        prop_assert_eq!(found, frames);
        prop_assert!(follower.is_between_frames());
    }
}
