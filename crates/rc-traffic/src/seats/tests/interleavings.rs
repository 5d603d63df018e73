//! The pool in every order in which two or three threads can get at it.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use super::super::{Bounds, Claim, Seat, SeatPool, Waiting};
use super::claim;
use super::schedule::{explore, park, step, waker};

/// A pool, and who is inside at this moment: in all, and of each tenant.
struct World {
    pool: SeatPool,
    seats: u32,
    inside: AtomicU32,
    of: [AtomicU32; 4],
}

fn world(seats: u32) -> World {
    super::set_now(1);
    World {
        pool: SeatPool::new(bounds(seats)),
        seats,
        inside: AtomicU32::new(0),
        of: Default::default(),
    }
}

fn bounds(seats: u32) -> Bounds {
    Bounds {
        floor: seats,
        ceiling: seats,
        initial: seats,
    }
}

fn at_most(slot: u32, max: u32) -> Claim {
    Claim {
        max,
        ..claim(slot, 1)
    }
}

impl World {
    /// Works with a seat, while others do what they do.
    fn work(&self, claim: &Claim, seat: Seat<'_>) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst);
        let of = self.of[claim.slot as usize].fetch_add(1, Ordering::SeqCst);
        assert!(inside < self.seats, "one seat was given twice");
        assert!(of < claim.max, "a tenant has more seats than it may have");
        step();
        self.of[claim.slot as usize].fetch_sub(1, Ordering::SeqCst);
        self.inside.fetch_sub(1, Ordering::SeqCst);
        drop(seat);
    }

    /// One request that stays until it is served.
    fn ask(&self, claim: &Claim) {
        let seat = match self.pool.try_take(claim, 1) {
            Some(seat) => seat,
            None => served(self.wait(claim)),
        };
        self.work(claim, seat);
    }

    /// One request whose client leaves: before it looks at its place a first time, or after that.
    fn leave(&self, claim: &Claim, looks: bool) {
        if let Some(seat) = self.pool.try_take(claim, 1) {
            return self.work(claim, seat);
        }
        let mut waiting = self.wait(claim);
        if looks {
            let _maybe_served = Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker()));
        }
    }

    fn wait(&self, claim: &Claim) -> Waiting<'_> {
        self.pool
            .wait(claim, false, 1, u64::MAX)
            .expect("there is room to wait")
    }

    /// Nothing is held and nobody waits: what was given came back.
    fn is_at_rest(&self) {
        assert_eq!((self.pool.level().in_use, self.pool.waiting()), (0, 0));
        let seats: Vec<_> = (0..self.seats)
            .map_while(|_| self.pool.try_take(&claim(3, 1), 1))
            .collect();
        assert_eq!(seats.len(), self.seats as usize, "a seat was lost");
    }
}

fn served(mut waiting: Waiting<'_>) -> Seat<'_> {
    let waker = waker();
    loop {
        match Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(ended) => return ended.expect("nobody is refused here"),
            Poll::Pending => park(),
        }
    }
}

/// Every order is tried; a handful would mean that the steps are not seen any more.
fn enough(orders: usize) {
    assert!(orders > 100, "{orders} orders");
}

#[test]
fn two_who_want_one_seat_both_get_it_in_every_order() {
    let ask = |world: &World| world.ask(&claim(1, 1));
    let other = |world: &World| world.ask(&claim(2, 1));
    enough(explore(4, || world(1), &[&ask, &other], World::is_at_rest));
}

#[test]
fn three_who_want_one_seat_all_get_it_in_every_order() {
    let (a, b, c) = (
        |world: &World| world.ask(&claim(0, 1)),
        |world: &World| world.ask(&claim(1, 1)),
        |world: &World| world.ask(&claim(2, 8)),
    );
    enough(explore(1, || world(1), &[&a, &b, &c], World::is_at_rest));
}

#[test]
fn who_leaves_takes_no_seat_and_no_wake_up_with_it() {
    for looks in [false, true] {
        let ask = |world: &World| world.ask(&claim(1, 1));
        let other = |world: &World| world.ask(&claim(2, 1));
        let leave = move |world: &World| world.leave(&claim(2, 1), looks);
        enough(explore(2, || world(1), &[&ask, &leave], World::is_at_rest));
        enough(explore(
            1,
            || world(1),
            &[&ask, &other, &leave],
            World::is_at_rest,
        ));
    }
}

#[test]
fn a_tenant_at_its_max_never_has_more_and_never_waits_for_ever() {
    let ask = |world: &World| world.ask(&at_most(1, 1));
    let other = |world: &World| world.ask(&claim(2, 1));
    enough(explore(3, || world(2), &[&ask, &ask], World::is_at_rest));
    enough(explore(1, || world(2), &[&ask, &ask, &other], World::is_at_rest));
}

#[test]
fn a_seat_more_is_given_to_who_waits_for_it() {
    let ask = |world: &World| world.ask(&claim(1, 1));
    let other = |world: &World| world.ask(&claim(2, 1));
    let more = |world: &World| world.pool.rebound(bounds(2), 1);
    let make = || {
        let mut world = world(1);
        world.seats = 2;
        world
    };
    enough(explore(1, make, &[&ask, &other, &more], World::is_at_rest));
}
