use super::*;
use rc_model::units::{Percent, Span};

const SECOND_NS: u64 = 1_000_000_000;

/// A service in virtual time.
struct World {
    health: ServiceHealth,
    tally: Tally,
    now_ns: u64,
}

impl World {
    fn new(endpoints: u16) -> Self {
        let endpoint = |port| {
            Arc::new(EndpointHealth::new(Endpoint::Tcp(
                ([127, 0, 0, 1], 1 + port).into(),
            )))
        };
        Self {
            health: ServiceHealth {
                service: "up".to_owned(),
                rule: Health::default(),
                circuits: Arc::default(),
                endpoints: (0..endpoints).map(endpoint).collect(),
            },
            tally: Tally::default(),
            now_ns: 1_000 * SECOND_NS,
        }
    }

    /// `count` tries of a tenant, of which each `failing`-th fails; 0: none.
    fn ask(&self, slot: u32, count: usize, failing: usize) {
        for n in 0..count {
            let failed = failing > 0 && n % failing == 0;
            let verdict = if failed { Verdict::Failed } else { Verdict::Fine };
            self.tally.count(n % self.health.endpoints.len(), slot, verdict);
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now_ns += seconds * SECOND_NS;
        self.health.absorb(&self.tally, self.now_ns, 0);
    }

    fn enter(&self, slot: u32) -> Result<Option<Pass>, Refused> {
        self.health.circuits.enter(slot, self.now_ns, 0)
    }

    fn probe(&self, slot: u32, verdict: Verdict) {
        let pass = self.enter(slot).unwrap().expect("half open");
        pass.tell(verdict, self.now_ns, 0);
    }
}

#[test]
fn a_tenant_whose_requests_fail_shuts_out_itself_and_nobody_else() {
    let mut world = World::new(1);
    world.ask(1, 1_000, 1);
    world.ask(2, 10, 0);
    world.pass(1);
    let refused = world.enter(1).unwrap_err();
    assert!(refused.own && refused.wait_ns > 0, "{refused:?}");
    assert!(world.enter(2).unwrap().is_none(), "its neighbour asks as before");
    assert_eq!(world.health.circuits.broken(), (false, 1));
}

#[test]
fn one_tenant_alone_has_its_own_circuit_only() {
    let mut world = World::new(1);
    world.ask(1, 100, 1);
    world.pass(1);
    assert!(world.enter(1).unwrap_err().own);
    assert!(world.enter(2).unwrap().is_none());
}

#[test]
fn most_tenants_together_open_the_services_circuit_and_three_passes_close_it() {
    let mut world = World::new(1);
    for slot in 1..=5 {
        world.ask(slot, 10, 1);
    }
    world.ask(6, 10, 0);
    world.pass(1);
    assert!(!world.enter(6).unwrap_err().own);
    world.pass(3);
    for _ in 0..3 {
        let pass = world.enter(1).unwrap().unwrap();
        assert!(world.enter(2).is_err(), "one at a time");
        pass.tell(Verdict::Fine, world.now_ns, 0);
    }
    assert!(world.enter(2).unwrap().is_none(), "closed");
    assert_eq!(world.health.circuits.broken(), (false, 0));
}

#[test]
fn few_tenants_with_many_failures_do_not_open_the_services_circuit() {
    let mut world = World::new(1);
    // Nine of ten requests fail, all of two tenants among six.
    for _ in 0..5 {
        for (slot, failing) in [(1, 1), (2, 1), (3, 0), (4, 0), (5, 0), (6, 0)] {
            world.ask(slot, if failing == 1 { 200 } else { 10 }, failing);
        }
        world.pass(1);
    }
    assert_eq!(world.health.circuits.broken(), (false, 2));
}

#[test]
fn too_few_requests_say_nothing_and_half_of_the_failures_is_the_bar() {
    let mut world = World::new(1);
    world.ask(1, 19, 1);
    world.pass(1);
    assert!(world.enter(1).unwrap().is_none());
    let mut world = World::new(1);
    world.ask(1, 100, 3);
    world.pass(1);
    assert!(world.enter(1).unwrap().is_none(), "a third");
}

#[test]
fn a_half_open_service_is_not_shut_again_by_one_tenant() {
    let mut world = World::new(1);
    for slot in 1..=3 {
        world.ask(slot, 20, 1);
    }
    world.pass(1);
    world.pass(3);
    world.probe(1, Verdict::Failed);
    assert!(world.enter(1).is_err(), "it has had its word");
    for _ in 0..3 {
        world.probe(2, Verdict::Fine);
    }
    assert!(world.enter(3).unwrap().is_none());
}

#[test]
fn two_failing_tenants_shut_it_again_for_twice_as_long() {
    let mut world = World::new(1);
    for slot in 1..=3 {
        world.ask(slot, 20, 1);
    }
    world.pass(1);
    let first_ns = world.enter(1).unwrap_err().wait_ns;
    world.pass(3);
    world.probe(1, Verdict::Failed);
    world.probe(2, Verdict::Failed);
    assert_eq!(world.enter(3).unwrap_err().wait_ns, 2 * first_ns);
}

#[test]
fn a_pass_that_nobody_tells_of_lets_the_next_one_try() {
    let mut world = World::new(1);
    world.ask(1, 100, 1);
    world.pass(1);
    world.pass(3);
    drop(world.enter(1).unwrap().unwrap());
    assert!(world.enter(1).unwrap().is_some());
}

#[test]
fn an_endpoint_that_fails_where_others_do_not_is_left_alone() {
    let mut world = World::new(3);
    for n in 0..90 {
        let verdict = if n % 3 == 1 {
            Verdict::Failed
        } else {
            Verdict::Fine
        };
        world.tally.count(n % 3, 1, verdict);
    }
    world.pass(1);
    let out: Vec<bool> = world
        .health
        .endpoints
        .iter()
        .map(|endpoint| endpoint.is_out())
        .collect();
    assert_eq!(out, [false, true, false]);
    // Its time is not over; then one asks, and only one.
    let sick = &world.health.endpoints[1];
    assert!(sick.probe(world.now_ns).is_none());
    let later_ns = world.now_ns + 6 * SECOND_NS;
    let probe = sick.probe(later_ns).unwrap();
    assert!(sick.probe(later_ns).is_none());
    probe.tell(Verdict::Failed, later_ns, 0);
    assert!(sick.probe(later_ns + 9 * SECOND_NS).is_none(), "twice as long");
    let probe = sick.probe(later_ns + 10 * SECOND_NS).unwrap();
    probe.tell(Verdict::Fine, later_ns + 10 * SECOND_NS, 0);
    assert!(!sick.is_out());
    assert_eq!(sick.ejections.load(Ordering::Relaxed), 2);
}

#[test]
fn what_fails_everywhere_is_no_endpoints_fault() {
    let mut world = World::new(3);
    world.ask(1, 300, 1);
    world.pass(1);
    assert_eq!(world.health.out(), 0);
}

#[test]
fn at_most_half_of_the_endpoints_and_never_the_last_one_is_left_alone() {
    for (endpoints, most) in [(1, 0), (2, 1), (3, 1), (5, 2)] {
        let world = World::new(endpoints);
        for _ in 0..10 {
            for at in 0..usize::from(endpoints) {
                world.health.not_connected(at, world.now_ns, 0);
            }
        }
        assert_eq!(world.health.out(), most, "{endpoints}");
    }
    let mut world = World::new(2);
    world.health.rule.ejection.max = Percent::new(100);
    for at in [0, 0, 0, 1, 1, 1] {
        world.health.not_connected(at, world.now_ns, 0);
    }
    assert_eq!(world.health.out(), 1, "not the last one");
}

#[test]
fn one_connection_that_is_taken_begins_the_row_anew() {
    let world = World::new(2);
    for _ in 0..10 {
        world.health.not_connected(0, world.now_ns, 0);
        world.health.not_connected(0, world.now_ns, 0);
        world.health.endpoints[0].connected();
    }
    assert_eq!(world.health.out(), 0);
}

#[test]
fn what_is_switched_off_does_nothing() {
    let mut world = World::new(3);
    world.health.rule = Health::OFF;
    for _ in 0..10 {
        world.health.not_connected(0, world.now_ns, 0);
    }
    for slot in 1..=5 {
        world.ask(slot, 1_000, 1);
    }
    world.pass(1);
    assert_eq!(
        (world.health.out(), world.health.circuits.broken()),
        (0, (false, 0))
    );
}

#[test]
fn times_grow_to_twelve_times_the_first_and_are_spread() {
    let first = Span::from_millis(2_000).duration();
    let seconds = |times, random| growing_ns(first, times, random) as f64 / 1e9;
    assert_eq!(
        [0, 1, 2, 3, 4, 100].map(|times| seconds(times, 0)),
        [2.0, 4.0, 8.0, 16.0, 24.0, 24.0]
    );
    assert!((0..100).all(|random| (2.0..2.5).contains(&seconds(0, random * 7_777_777))));
}
