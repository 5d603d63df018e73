use super::*;

#[test]
fn the_same_seed_gives_the_same_plan_and_no_kind_is_left_out() {
    for combination in Combination::ALL {
        let plan = |seed| Plan::new(seed, combination).take(300).collect::<Vec<_>>();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        for (kind, _) in kinds(combination) {
            let there = plan(7).iter().any(|planned| planned.fault == kind);
            assert!(there, "{combination}: {kind}");
        }
    }
}
