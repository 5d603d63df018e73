//! A controller over a world of pretence: releases that run, a gateway that keeps generations, and a store that has
//! what was written last. The controller dies at any step and is started anew from the store.

use std::collections::BTreeSet;

use super::*;

fn stage(percent: u8, seconds: u64) -> Stage {
    Stage {
        percent,
        watch: Some(Duration::from_secs(seconds)),
    }
}

fn rollout() -> Rollout {
    let stages = vec![stage(10, 12), stage(30, 30), stage(60, 60), stage(100, 0)];
    let service = ServiceId::new("orders").unwrap();
    Rollout {
        guard: Duration::from_secs(60),
        ..Rollout::new(service, Some(Digest::of(b"v1")), Digest::of(b"v2"), stages, 7)
    }
}

/// Whether an effect fails.
type Refuses = fn(&Effect) -> bool;

/// What an effect does, whoever orders it how often.
struct World {
    running: BTreeSet<Digest>,
    serves: Digest,
    percent: u8,
    generation: u64,
    /// Every weight that was in force, in order.
    weights: Vec<u8>,
    /// What fails, whenever it is tried.
    refuses: Refuses,
}

impl World {
    fn new() -> Self {
        Self {
            running: BTreeSet::from([Digest::of(b"v1")]),
            serves: Digest::of(b"v1"),
            percent: 0,
            generation: 7,
            weights: Vec::new(),
            refuses: |_| false,
        }
    }

    fn does(&mut self, effect: &Effect) -> Outcome {
        if (self.refuses)(effect) {
            return Outcome::Refused("it does not".to_owned());
        }
        match effect {
            Effect::CheckGates | Effect::Verify => {}
            Effect::Start { release } => {
                self.running.insert(*release);
            }
            Effect::Shift { generation, percent } => {
                if *generation < self.generation {
                    return Outcome::Refused(format!("{generation} comes after {}", self.generation));
                }
                // Nobody gets traffic who does not run.
                let gets = [
                    (*percent > 0).then(|| Digest::of(b"v2")),
                    (*percent < 100).then(|| Digest::of(b"v1")),
                ];
                for release in gets.into_iter().flatten() {
                    assert!(
                        self.running.contains(&release),
                        "{percent} per cent, and it does not run"
                    );
                }
                (self.generation, self.percent) = (*generation, *percent);
                if self.weights.last() != Some(percent) {
                    self.weights.push(*percent);
                }
            }
            Effect::Adopt { release } => self.serves = *release,
            Effect::Stop { release } => {
                let has_none = if *release == Digest::of(b"v2") { 0 } else { 100 };
                assert_eq!(self.percent, has_none, "stopped under traffic");
                self.running.remove(release);
            }
        }
        Outcome::Done
    }
}

/// What the judge says at a stage after so many seconds of watching it.
type Judge = fn(u8, u64) -> Verdict;

/// Runs a rollout to its end; the controller dies by `dies`, asked at each of its steps.
fn run(mut world: World, judge: Judge, mut dies: impl FnMut() -> bool) -> (Rollout, World) {
    let mut stored = serde_json::to_string(&rollout()).unwrap();
    let mut looks = 0_u64;
    loop {
        let mut rollout: Rollout = serde_json::from_str(&stored).unwrap();
        loop {
            looks += 1;
            assert!(looks < 100_000, "it never ends: {rollout:?}");
            match rollout.step() {
                Next::Nothing => return (rollout, world),
                Next::Do(doing) => {
                    if dies() {
                        break;
                    }
                    stored = serde_json::to_string(&rollout).unwrap();
                    if dies() {
                        break;
                    }
                    let outcome = world.does(&doing.effect);
                    if dies() {
                        break;
                    }
                    rollout.ended(doing.number, outcome, Duration::from_secs(1));
                }
                Next::Look => {
                    let verdict = match &rollout.phase {
                        Phase::Watching { stage, watched, .. } => {
                            judge(rollout.stages[*stage].percent, watched.as_secs())
                        }
                        Phase::Guarding { watched } => judge(101, watched.as_secs()),
                        _ => Verdict::Pass,
                    };
                    let facts = Facts {
                        verdict,
                        broken: None,
                        checks_hold: true,
                    };
                    rollout.look(Duration::from_secs(1), &facts);
                }
            }
            if dies() {
                break;
            }
            stored = serde_json::to_string(&rollout).unwrap();
        }
    }
}

fn never() -> bool {
    false
}

fn end(rollout: &Rollout) -> &End {
    match &rollout.phase {
        Phase::Ended { end } => end,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_release_takes_all_traffic_by_its_stages() {
    let (rollout, world) = run(World::new(), |_, _| Verdict::Pass, never);
    assert_eq!(end(&rollout), &End::Done);
    assert_eq!(world.weights, [10, 30, 60, 100]);
    assert_eq!(world.serves, Digest::of(b"v2"));
    assert_eq!(world.running, BTreeSet::from([Digest::of(b"v2")]));
    assert_eq!(rollout.unproved, [0_u8; 0]);
}

#[test]
fn a_bad_release_gives_everything_back_at_every_stage() {
    for (bad_at, weights) in [
        (10, vec![10, 0]),
        (30, vec![10, 30, 0]),
        (60, vec![10, 30, 60, 0]),
        (100, vec![10, 30, 60, 100, 0]),
        // In the hour after it took all traffic.
        (101, vec![10, 30, 60, 100, 0]),
    ] {
        let judges: [(u8, Judge); 5] = [
            (10, |at, _| bad(at == 10)),
            (30, |at, _| bad(at == 30)),
            (60, |at, _| bad(at == 60)),
            (100, |at, _| bad(at == 100)),
            (101, |at, seconds| bad(at == 101 && seconds > 30)),
        ];
        let judge = judges.iter().find(|(at, _)| *at == bad_at).unwrap().1;
        let (rollout, world) = run(World::new(), judge, never);
        let why = Why::Judged {
            what: "more errors".to_owned(),
        };
        assert_eq!(end(&rollout), &End::RolledBack { why });
        assert_eq!(world.weights, weights);
        assert_eq!(world.serves, Digest::of(b"v1"));
        assert_eq!(world.running, BTreeSet::from([Digest::of(b"v1")]));
    }
}

fn bad(is: bool) -> Verdict {
    if is {
        Verdict::Fail("more errors".to_owned())
    } else {
        Verdict::Pass
    }
}

/// Everything that the world has at the end is as if nobody had died.
#[test]
fn a_controller_that_dies_at_any_step_goes_on_as_if_it_had_not() {
    let judges: [Judge; 3] = [
        |_, _| Verdict::Pass,
        |at, seconds| bad(at == 60 && seconds > 10),
        |at, _| bad(at == 101),
    ];
    for judge in judges {
        let mut steps = 0;
        let (whole, there) = run(World::new(), judge, || {
            steps += 1;
            false
        });
        // Once at each step near an effect, and at random ones.
        for seed in 0..600_u64 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut step = 0;
            let (rollout, world) = run(World::new(), judge, || {
                step += 1;
                if seed < 100 {
                    step == seed + 1
                } else {
                    step < 2 * steps && random.u32(..40) == 0
                }
            });
            assert_eq!(end(&rollout), end(&whole), "seed {seed}");
            assert_eq!(world.weights, there.weights, "seed {seed}");
            assert_eq!(
                (world.serves, world.running),
                (there.serves, there.running.clone()),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn an_outage_of_both_holds_the_weight_and_blames_nobody() {
    let mut rollout = watching();
    let facts = |verdict| Facts {
        verdict,
        broken: None,
        checks_hold: true,
    };
    for _ in 0..600 {
        rollout.look(
            Duration::from_secs(1),
            &facts(Verdict::Hold("the database".to_owned())),
        );
    }
    assert_eq!(rollout.step(), Next::Look);
    let Phase::Watching { watched, held, .. } = rollout.phase else {
        panic!("{rollout:?}");
    };
    assert_eq!((watched.as_secs(), held.as_secs()), (0, 600));
    // It is over: what was watched counts from here.
    for _ in 0..11 {
        rollout.look(Duration::from_secs(1), &facts(Verdict::Pass));
    }
    assert_eq!(rollout.step(), Next::Look);
    rollout.look(Duration::from_secs(1), &facts(Verdict::Pass));
    assert!(matches!(rollout.step(), Next::Do(_)));

    // It does not end.
    let mut rollout = watching();
    for _ in 0..=HOLD_MAX.as_secs() {
        rollout.look(
            Duration::from_secs(1),
            &facts(Verdict::Hold("the database".to_owned())),
        );
    }
    assert!(matches!(
        rollout.phase,
        Phase::Restarting {
            why: Why::HeldTooLong,
            ..
        }
    ));
    // A release of which nothing is heard goes back sooner.
    let mut rollout = watching();
    for _ in 0..=BLIND_MAX.as_secs() {
        rollout.look(
            Duration::from_secs(1),
            &facts(Verdict::Blind("no counts".to_owned())),
        );
    }
    assert!(matches!(rollout.phase, Phase::Restarting { why: Why::Blind, .. }));
}

/// A rollout at its first weight.
fn watching() -> Rollout {
    let (mut rollout, mut world) = (rollout(), World::new());
    while let Next::Do(doing) = rollout.step() {
        let outcome = world.does(&doing.effect);
        rollout.ended(doing.number, outcome, Duration::ZERO);
    }
    rollout
}

#[test]
fn without_traffic_the_checks_decide_and_the_stage_is_noted() {
    for checks_hold in [true, false] {
        let mut rollout = watching();
        let facts = Facts {
            verdict: Verdict::NotYet { more: Some(322) },
            broken: None,
            checks_hold,
        };
        let mut seconds = 0_u64;
        while rollout.step() == Next::Look {
            rollout.look(Duration::from_secs(1), &facts);
            seconds += 1;
        }
        assert_eq!(seconds, 12 + PATIENCE_MIN.as_secs());
        if checks_hold {
            assert_eq!(rollout.unproved, [10]);
            assert!(matches!(rollout.phase, Phase::Shifting { stage: 1, .. }));
        } else {
            assert!(matches!(
                rollout.phase,
                Phase::Restarting {
                    why: Why::Unproved,
                    ..
                }
            ));
        }
    }
}

#[test]
fn a_clock_that_jumps_and_a_controller_that_slept_do_not_count_as_watching() {
    let mut rollout = watching();
    let facts = Facts {
        verdict: Verdict::Pass,
        broken: None,
        checks_hold: true,
    };
    rollout.look(Duration::from_secs(86_400), &facts);
    let Phase::Watching { watched, .. } = rollout.phase else {
        panic!("{rollout:?}");
    };
    assert_eq!(watched, LOOK_MAX);
}

#[test]
fn an_abort_wins_against_what_is_under_way() {
    let mut rollout = rollout();
    let mut world = World::new();
    loop {
        let Next::Do(doing) = rollout.step() else {
            panic!("{rollout:?}");
        };
        if matches!(doing.effect, Effect::Shift { .. }) {
            // The order is on its way when somebody aborts; it arrives after the weight was taken back.
            let abort = Order::Abort {
                by: "ada".to_owned(),
                reason: "wrong build".to_owned(),
            };
            assert!(rollout.order(abort.clone()));
            assert!(!rollout.order(abort));
            while let Next::Do(back) = rollout.step() {
                let outcome = world.does(&back.effect);
                rollout.ended(back.number, outcome, Duration::ZERO);
            }
            assert!(matches!(world.does(&doing.effect), Outcome::Refused(_)));
            let before = rollout.clone();
            rollout.ended(doing.number, Outcome::Done, Duration::ZERO);
            assert_eq!(rollout, before);
            assert_eq!((world.percent, world.serves), (0, Digest::of(b"v1")));
            assert_eq!(rollout.step(), Next::Nothing);
            return;
        }
        let outcome = world.does(&doing.effect);
        rollout.ended(doing.number, outcome, Duration::ZERO);
    }
}

#[test]
fn what_is_refused_leads_back_or_nowhere() {
    let cases: [(Refuses, &str, Vec<u8>); 4] = [
        (|effect| matches!(effect, Effect::CheckGates), "Refused", vec![]),
        (
            |effect| matches!(effect, Effect::Start { release } if *release == Digest::of(b"v2")),
            "NeverReady",
            vec![0],
        ),
        (
            |effect| matches!(effect, Effect::Shift { percent: 30, .. }),
            "Stalled",
            vec![10, 0],
        ),
        (
            |effect| matches!(effect, Effect::Verify),
            "Checks",
            vec![10, 30, 60, 100, 0],
        ),
    ];
    for (refuses, says, weights) in cases {
        let world = World {
            refuses,
            ..World::new()
        };
        let (rollout, world) = run(world, |_, _| Verdict::Pass, never);
        assert!(format!("{:?}", end(&rollout)).contains(says), "{rollout:?}");
        assert_eq!(world.weights, weights, "{says}");
        assert_eq!(world.serves, Digest::of(b"v1"));
        assert_eq!(world.running, BTreeSet::from([Digest::of(b"v1")]));
    }
}

/// Better the release that runs than none: the way back is tried until it works.
#[test]
fn a_way_back_whose_target_is_gone_keeps_the_traffic_where_it_is() {
    let mut rollout = watching();
    rollout.look(
        Duration::from_secs(1),
        &Facts {
            verdict: bad(true),
            broken: None,
            checks_hold: true,
        },
    );
    for _ in 0..1_000 {
        let Next::Do(doing) = rollout.step() else {
            panic!("{rollout:?}");
        };
        assert_eq!(
            doing.effect,
            Effect::Start {
                release: Digest::of(b"v1")
            }
        );
        rollout.ended(
            doing.number,
            Outcome::Refused("its blobs are gone".to_owned()),
            Duration::from_secs(60),
        );
    }
}

#[test]
fn a_first_release_has_nothing_to_go_back_to() {
    let service = ServiceId::new("orders").unwrap();
    for (verify, expect) in [(Outcome::Done, true), (Outcome::Refused("503".to_owned()), false)] {
        let to = Digest::of(b"v1");
        let mut rollout = Rollout::new(service.clone(), None, to, vec![stage(10, 60), stage(100, 0)], 0);
        rollout.guard = Duration::ZERO;
        let mut did = Vec::new();
        loop {
            match rollout.step() {
                Next::Nothing => break,
                Next::Look => rollout.look(
                    Duration::from_secs(1),
                    &Facts {
                        verdict: Verdict::NotYet { more: None },
                        broken: None,
                        checks_hold: true,
                    },
                ),
                Next::Do(doing) => {
                    let outcome = match doing.effect {
                        Effect::Verify => verify.clone(),
                        _ => Outcome::Done,
                    };
                    did.push(doing.effect);
                    rollout.ended(doing.number, outcome, Duration::ZERO);
                }
            }
        }
        assert_eq!(end(&rollout) == &End::Done, expect);
        let shifts: Vec<u8> = did
            .iter()
            .filter_map(|effect| match effect {
                Effect::Shift { percent, .. } => Some(*percent),
                _ => None,
            })
            .collect();
        assert_eq!(shifts, if expect { vec![100] } else { vec![100, 0] });
    }
}

#[test]
fn a_promotion_ends_the_pause_and_no_more() {
    let mut rollout = watching();
    assert!(rollout.order(Order::Promote));
    let facts = |verdict| Facts {
        verdict,
        broken: None,
        checks_hold: true,
    };
    rollout.look(
        Duration::from_secs(1),
        &facts(Verdict::Hold("the database".to_owned())),
    );
    assert_eq!(rollout.step(), Next::Look);
    rollout.look(Duration::from_secs(1), &facts(Verdict::Pass));
    assert!(matches!(rollout.phase, Phase::Shifting { stage: 1, .. }));
    assert!(!rollout.order(Order::Promote));
}
