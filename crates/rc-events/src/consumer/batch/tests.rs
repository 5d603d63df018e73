use super::*;

#[test]
fn a_place_never_changes_its_lane() {
    // Written down: a lane's stored position says that all of its places are applied up to there. Another
    // hash would move places to lanes that have passed them.
    assert_eq!(place_hash("acme", "docs", "a"), 0x031f_00a3_1b2d_eb3e);
    assert_ne!(place_hash("ab", "c", "d"), place_hash("a", "bc", "d"));
}

#[test]
fn places_spread_over_lanes() {
    let mut of = [0_u32; 4];
    for key in 0..4_000 {
        of[usize::from(Lane::of_names("acme", "docs", &format!("doc-{key}"), 4))] += 1;
    }
    assert!(of.iter().all(|keys| (800..1_200).contains(keys)), "{of:?}");
}
