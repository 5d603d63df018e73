use super::*;
use crate::cache::answer::Whole;
use crate::cache::control::Life;
use proptest::prelude::*;
use rc_model::catalog::CachePolicy;
use rc_model::units::{ByteSize, Span};

const SECOND: u64 = 1_000_000_000;

fn cache(max: u64) -> Arc<RouteCache> {
    let policy = Policy::new(&CachePolicy {
        ttl: Span::from_millis(10_000),
        stale_while_revalidate: None,
        stale_if_error: None,
        vary: Vec::new(),
        max: ByteSize::new(max),
    });
    Arc::new(RouteCache::new(policy, Arc::default()))
}

fn head(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\n")
}

/// One tenant at a cache.
struct Tenant {
    owner: Owner,
    epoch: Arc<Epoch>,
}

impl Tenant {
    fn new(name: &str) -> Self {
        Self {
            owner: Owner::test(Some(name)),
            epoch: Arc::default(),
        }
    }

    fn look(&self, cache: &Arc<RouteCache>, target: &str, now_ns: u64) -> Found {
        let head = head(target);
        let asked = Asked::read(head.as_bytes()).unwrap();
        let key = Key::new(self.owner.clone(), &asked, &[]);
        cache.look(&key, &asked, &self.epoch, now_ns)
    }

    /// Asks, and lands `body` if the answer is not there. Whether it was.
    fn ask(&self, cache: &Arc<RouteCache>, target: &str, body: &str, now_ns: u64) -> bool {
        match self.look(cache, target, now_ns) {
            Found::Fresh(answer) => {
                assert_eq!(answer.body, body.as_bytes());
                true
            }
            Found::Lead(flight, ..) => {
                flight.land(kept(&flight, body, now_ns), now_ns);
                false
            }
            found => panic!("{found:?}"),
        }
    }

    fn write(&self) {
        drop(crate::cache::Write::of(&self.epoch));
    }
}

fn kept(flight: &Flight, body: &str, now_ns: u64) -> Landing {
    let life = Life {
        fresh_ns: 10 * SECOND,
        while_revalidate_ns: 5 * SECOND,
        if_error_ns: 20 * SECOND,
        ..Life::default()
    };
    let head = head("/");
    let whole = Whole {
        status: 200,
        fields: b"etag: \"a\"\r\n".to_vec(),
        body: body.as_bytes().to_vec(),
        life,
        varies: Vec::new(),
    };
    let asked = Asked::read(head.as_bytes()).unwrap();
    let answer = Answer::new(whole, &asked, now_ns, flight.epoch);
    Landing::Answer {
        answer: answer.into(),
        kept: true,
    }
}

fn lead(found: Found) -> Flight {
    match found {
        Found::Lead(flight, ..) => flight,
        found => panic!("{found:?}"),
    }
}

fn wait(found: Found) -> Receiver<Option<Landing>> {
    match found {
        Found::Wait(landing, _) => landing,
        found => panic!("{found:?}"),
    }
}

#[test]
fn one_asks_and_all_others_hear_of_it() {
    let (cache, acme) = (cache(1 << 20), Tenant::new("acme"));
    let flight = lead(acme.look(&cache, "/a", 0));
    let waiting: Vec<_> = (0..100).map(|_| wait(acme.look(&cache, "/a", 0))).collect();
    flight.land(kept(&flight, "answer", 1), 1);
    for landing in waiting {
        let landed = landing.borrow().clone();
        assert!(matches!(landed, Some(Landing::Answer { answer, .. }) if &answer.body[..] == b"answer"));
    }
    assert!(acme.ask(&cache, "/a", "answer", 2));
}

#[test]
fn a_fetch_that_is_dropped_lets_the_next_one_ask() {
    let (cache, acme) = (cache(1 << 20), Tenant::new("acme"));
    let flight = lead(acme.look(&cache, "/a", 0));
    let landing = wait(acme.look(&cache, "/a", 0));
    drop(flight);
    assert!(matches!(*landing.borrow(), Some(Landing::Broken)));
    let flight = lead(acme.look(&cache, "/a", 0));
    wait(acme.look(&cache, "/a", 0));
    drop(flight);
    assert_eq!(cache.bytes(), 0);
    assert!(
        cache.lock().shares.is_empty(),
        "nothing is left of those who asked"
    );
}

#[test]
fn a_write_ends_what_was_asked_before_it_whenever_it_comes() {
    let (cache, acme, globex) = (cache(1 << 20), Tenant::new("acme"), Tenant::new("globex"));
    acme.ask(&cache, "/a", "old", 0);
    globex.ask(&cache, "/a", "theirs", 0);
    let before = lead(acme.look(&cache, "/b", 0));
    acme.write();
    // What is kept is not given, and what is under way is neither joined nor kept.
    assert!(!acme.ask(&cache, "/a", "new", 1));
    let after = lead(acme.look(&cache, "/b", 1));
    before.land(kept(&before, "old", 2), 2);
    wait(acme.look(&cache, "/b", 2));
    after.land(kept(&after, "new", 3), 3);
    assert!(acme.ask(&cache, "/b", "new", 4) && acme.ask(&cache, "/a", "new", 4));
    assert!(
        globex.ask(&cache, "/a", "theirs", 4),
        "another tenant's write is not theirs"
    );
    // A flight that lands after the write, with nobody after it.
    let before = lead(acme.look(&cache, "/c", 5));
    acme.write();
    before.land(kept(&before, "old", 6), 6);
    assert!(!acme.ask(&cache, "/c", "new", 7));
}

#[test]
fn an_owner_that_comes_back_has_another_epoch() {
    assert_ne!(Epoch::default().now(), Epoch::default().now());
}

#[test]
fn old_answers_go_on_while_one_asks_and_when_the_service_fails() {
    let (cache, acme) = (cache(1 << 20), Tenant::new("acme"));
    acme.ask(&cache, "/a", "old", 0);
    assert!(acme.ask(&cache, "/a", "old", 10 * SECOND - 1));
    let Found::Stale(_, Some(flight)) = acme.look(&cache, "/a", 10 * SECOND) else {
        panic!("somebody is to ask");
    };
    assert!(matches!(
        acme.look(&cache, "/a", 11 * SECOND),
        Found::Stale(_, None)
    ));
    // It failed: nobody asks for a second, then somebody does.
    flight.land(
        Landing::Refused(Refusal::new(&crate::answer::UPSTREAM_DOWN)),
        12 * SECOND,
    );
    assert!(matches!(
        acme.look(&cache, "/a", 12 * SECOND),
        Found::Stale(_, None)
    ));
    assert!(matches!(
        acme.look(&cache, "/a", 13 * SECOND),
        Found::Stale(_, Some(_))
    ));
    // Too old for that, and still there for when the service fails: who asks has it to spare.
    let Found::Lead(flight, _, Some(spare)) = acme.look(&cache, "/a", 16 * SECOND) else {
        panic!("nothing to spare");
    };
    assert_eq!(&spare.body[..], b"old");
    assert!(matches!(
        acme.look(&cache, "/a", 16 * SECOND),
        Found::Wait(_, Some(_))
    ));
    drop(flight);
    assert!(matches!(
        acme.look(&cache, "/a", 30 * SECOND),
        Found::Lead(_, _, None)
    ));
}

#[test]
fn what_cannot_be_shared_is_not_waited_for_again_for_a_while() {
    let (cache, acme) = (cache(1 << 20), Tenant::new("acme"));
    let flight = lead(acme.look(&cache, "/a", 0));
    flight.land(Landing::Alone { failed: false }, 0);
    assert!(matches!(acme.look(&cache, "/a", 10 * SECOND - 1), Found::Pass));
    lead(acme.look(&cache, "/a", 10 * SECOND));
    // An error says nothing about the answers to come.
    let flight = lead(acme.look(&cache, "/b", 0));
    flight.land(Landing::Alone { failed: true }, 0);
    lead(acme.look(&cache, "/b", 0));
}

#[test]
fn a_flood_of_questions_throws_out_the_flooders_own_answers() {
    let (cache, noisy, quiet) = (cache(64 << 10), Tenant::new("noisy"), Tenant::new("quiet"));
    for at in 0..10 {
        quiet.ask(&cache, &format!("/{at}"), "quiet", 0);
    }
    let quiet_bytes = cache.bytes_of(&quiet.owner);
    for at in 0..10_000 {
        noisy.ask(&cache, &format!("/{at}"), "noisy", 0);
        assert!(cache.bytes() <= 64 << 10);
    }
    assert_eq!(cache.bytes_of(&quiet.owner), quiet_bytes);
    for at in 0..10 {
        assert!(quiet.ask(&cache, &format!("/{at}"), "quiet", 1), "{at}");
    }
    assert!(cache.counts.all_evicted() > 9_000);
    // The latest ones of the flood are there.
    assert!(noisy.ask(&cache, "/9999", "noisy", 1) && !noisy.ask(&cache, "/0", "noisy", 1));
}

#[test]
fn what_is_asked_for_outlives_what_is_not() {
    let (cache, acme) = (cache(64 << 10), Tenant::new("acme"));
    acme.ask(&cache, "/popular", "a", 0);
    for at in 0..10_000 {
        acme.ask(&cache, &format!("/{at}"), "b", 0);
        assert!(acme.ask(&cache, "/popular", "a", 0), "{at}");
    }
}

#[test]
fn a_tenant_that_is_gone_leaves_nothing() {
    let (cache, acme, globex) = (cache(1 << 20), Tenant::new("acme"), Tenant::new("globex"));
    acme.ask(&cache, "/a", "a", 0);
    globex.ask(&cache, "/a", "b", 0);
    let flight = lead(acme.look(&cache, "/b", 0));
    cache.retain(|tenant| tenant.as_str() != "acme");
    flight.land(kept(&flight, "late", 0), 0);
    assert_eq!(cache.bytes_of(&acme.owner), 0);
    assert_eq!(cache.bytes(), cache.bytes_of(&globex.owner));
    assert!(globex.ask(&cache, "/a", "b", 1) && !acme.ask(&cache, "/a", "new", 1));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask { tenant: usize, target: u8, size: usize },
    Write { tenant: usize },
    Sleep { seconds: u64 },
    Forget { tenant: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tenant = 0..3_usize;
    let step = prop_oneof![
        8 => (tenant.clone(), 0..6_u8, 0..3_000_usize)
            .prop_map(|(tenant, target, size)| Step::Ask { tenant, target, size }),
        1 => tenant.clone().prop_map(|tenant| Step::Write { tenant }),
        1 => (0..12_u64).prop_map(|seconds| Step::Sleep { seconds }),
        1 => tenant.prop_map(|tenant| Step::Forget { tenant }),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// Every answer that is given was given to the same tenant for the same target, in the present epoch and not too
    /// long ago; and the books are right at every step.
    #[test]
    fn no_answer_ever_comes_from_elsewhere(steps in steps()) {
        let cache = cache(16 << 10);
        let names = ["acme", "globex", "initech"];
        let tenants = names.map(Tenant::new);
        let mut now_ns = 0;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Ask { tenant, target, size } => {
                    let target = format!("/{target}");
                    let epoch = tenants[tenant].epoch.now();
                    let says = |at: u64| format!("{} {target} {epoch} {at} ", names[tenant]);
                    match tenants[tenant].look(&cache, &target, now_ns) {
                        Found::Fresh(answer) | Found::Stale(answer, _) => {
                            let body = String::from_utf8(answer.body.to_vec()).unwrap();
                            let at = body.split(' ').nth(3).unwrap().parse::<u64>().unwrap();
                            prop_assert!(body.starts_with(&says(at)), "{}", body);
                            prop_assert!(now_ns - at < 15 * SECOND);
                        }
                        Found::Lead(flight, ..) => {
                            let body = format!("{}{}", says(now_ns), "x".repeat(size));
                            flight.land(kept(&flight, &body, now_ns), now_ns);
                        }
                        found => prop_assert!(false, "{number} {found:?}"),
                    }
                }
                Step::Write { tenant } => tenants[tenant].write(),
                Step::Sleep { seconds } => now_ns += seconds * SECOND,
                Step::Forget { tenant } => cache.retain(|known| known.as_str() != names[tenant]),
            }
            let kept = cache.lock();
            prop_assert!(kept.bytes <= 16 << 10);
            prop_assert_eq!(kept.bytes, kept.shares.values().map(|share| share.bytes).sum::<usize>());
            prop_assert_eq!(kept.ranking.len(), kept.shares.len());
            for (owner, share) in &kept.shares {
                prop_assert_eq!(kept.ranking.get(&(share.bytes, share.number)), Some(owner));
                let slots = share.slots.values();
                prop_assert_eq!(share.bytes, slots.map(|slot| slot.bytes).sum::<usize>());
                let queued = share.slots.values().filter(|slot| slot.queued).count();
                prop_assert_eq!(share.queue.len(), queued);
            }
        }
    }
}
