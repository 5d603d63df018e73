use super::{deviation, jain};

#[test]
fn shares_are_held_against_weights() {
    let weights = [8.0, 8.0, 4.0, 1.0];
    assert!(deviation(&[80.0, 80.0, 40.0, 10.0], &weights) < 1e-9);
    // The smallest one got twice its part, and the rest paid for it.
    let off = deviation(&[79.0, 79.0, 40.0, 20.0], &weights);
    assert!((90.0..100.0).contains(&off), "{off}");
}

#[test]
fn the_index_falls_from_one_to_one_nth() {
    assert_eq!(jain(&[3.0, 3.0]), 1.0);
    assert_eq!(jain(&[3.0, 0.0]), 0.5);
}
