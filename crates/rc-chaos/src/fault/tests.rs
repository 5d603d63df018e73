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

#[test]
fn the_short_form_has_every_kind_of_every_combination_once() {
    let dealt: Vec<Fault> = Combination::ALL.into_iter().flat_map(dealt).collect();
    let once: BTreeSet<Fault> = dealt.iter().copied().collect();
    assert_eq!(dealt.len(), once.len());
    for combination in Combination::ALL {
        for (kind, _) in kinds(combination) {
            assert!(once.contains(&kind), "{kind}");
        }
    }
}
