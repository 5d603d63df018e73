//! The pool with real wakers, real threads, and who leaves in between.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rc_model::clock::monotonic_ns;

use super::super::{Bounds, Claim, Seat, SeatPool, Shed, Turned, Waiting};
use super::claim;

const FOREVER: u64 = u64::MAX;

fn pool(seats: u32) -> SeatPool {
    // Time stands still: nobody's requests are slow.
    super::set_now(1);
    SeatPool::new(Bounds {
        floor: seats,
        ceiling: seats,
        initial: seats,
    })
}

fn poll<'a>(waiting: &mut Waiting<'a>) -> Poll<Result<Seat<'a>, Turned>> {
    Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop()))
}

fn seat<'a>(waiting: &mut Waiting<'a>) -> Seat<'a> {
    match poll(waiting) {
        Poll::Ready(Ok(seat)) => seat,
        other => panic!("no seat: {other:?}"),
    }
}

fn wait<'a>(pool: &'a SeatPool, claim: &Claim) -> Waiting<'a> {
    pool.wait(claim, false, 0, FOREVER).unwrap()
}

fn is_empty(pool: &SeatPool) -> bool {
    (pool.level().in_use, pool.waiting()) == (0, 0)
}

#[test]
fn a_seat_that_comes_back_goes_to_who_waits() {
    let pool = pool(1);
    let held = pool.try_take(&claim(1, 1), 0).unwrap();
    assert!(pool.try_take(&claim(2, 1), 0).is_none());
    let mut waiting = wait(&pool, &claim(2, 1));
    assert!(poll(&mut waiting).is_pending());
    drop(held);
    assert!(pool.try_take(&claim(3, 1), 0).is_none(), "nobody overtakes");
    drop(seat(&mut waiting));
    assert!(is_empty(&pool));
}

#[test]
fn who_leaves_gives_up_place_and_seat() {
    let pool = pool(1);
    let held = pool.try_take(&claim(1, 1), 0).unwrap();
    let (gone, mut stays) = (wait(&pool, &claim(2, 1)), wait(&pool, &claim(2, 1)));
    drop(gone);
    let served = wait(&pool, &claim(0, 1));
    drop(held);
    // One of the two was served and does not look: when it leaves, the seat goes on.
    drop(served);
    drop(seat(&mut stays));
    assert!(is_empty(&pool));
}

#[test]
fn a_tenant_at_its_max_waits_while_seats_are_free_and_others_do_not() {
    let pool = pool(10);
    let capped = Claim {
        max: 2,
        ..claim(1, 1)
    };
    let first = pool.try_take(&capped, 0).unwrap();
    let _second = pool.try_take(&capped, 0).unwrap();
    assert!(pool.try_take(&capped, 0).is_none());
    let mut waiting = wait(&pool, &capped);
    assert!(poll(&mut waiting).is_pending());
    let mut other = wait(&pool, &claim(2, 1));
    let _other = seat(&mut other);
    assert!(poll(&mut waiting).is_pending());
    drop(first);
    let _third = seat(&mut waiting);
}

#[test]
fn a_share_is_served_before_all_turns() {
    let pool = pool(1);
    let held = pool.try_take(&claim(9, 100), 0).unwrap();
    let mut heavy = wait(&pool, &claim(1, 100));
    let mut promised = wait(
        &pool,
        &Claim {
            share: 1,
            ..claim(2, 1)
        },
    );
    drop(held);
    assert!(poll(&mut heavy).is_pending());
    drop(seat(&mut promised));
    drop(seat(&mut heavy));
}

#[test]
fn the_operators_own_goes_first_up_to_a_tenth() {
    let pool = pool(10);
    let held: Vec<_> = (0..10).map(|_| pool.try_take(&claim(1, 1), 0).unwrap()).collect();
    let mut tenant = wait(&pool, &claim(1, 1));
    let mut strict: Vec<_> = (0..2)
        .map(|_| pool.wait(&claim(2, 1), true, 0, FOREVER).unwrap())
        .collect();
    let mut held = held.into_iter();
    drop(held.next());
    let first = seat(&mut strict[0]);
    drop(held.next());
    assert!(poll(&mut strict[1]).is_pending(), "one in ten is enough");
    let _tenant = seat(&mut tenant);
    drop(first);
    let _second = seat(&mut strict[1]);
}

#[test]
fn whose_fault_it_is_follows_from_the_seats_that_it_holds() {
    let pool = pool(4);
    let bounded = |slot| Claim {
        waiting_max: 1,
        ..claim(slot, 1)
    };
    let _noisy: Vec<_> = (0..4).map(|_| pool.try_take(&bounded(1), 0).unwrap()).collect();
    let (_one, _other) = (wait(&pool, &bounded(1)), wait(&pool, &bounded(2)));
    let own = pool.wait(&bounded(1), false, 0, FOREVER).unwrap_err();
    assert_eq!((own.shed, own.own_excess), (Shed::QueueFull, true));
    let ours = pool.wait(&bounded(2), false, 0, FOREVER).unwrap_err();
    assert_eq!((ours.shed, ours.own_excess), (Shed::QueueFull, false));
    assert!(own.drain_ns > 0);
}

#[test]
fn a_request_that_cannot_be_in_time_is_refused_at_once() {
    let pool = pool(1);
    let _held = pool.try_take(&claim(1, 1), 0).unwrap();
    let _ahead: Vec<_> = (0..100).map(|_| wait(&pool, &claim(1, 1))).collect();
    let turned = pool.wait(&claim(1, 1), false, 0, 50_000_000).unwrap_err();
    assert_eq!(turned.shed, Shed::Late);
    assert!(
        pool.wait(&claim(2, 1), false, 0, 50_000_000).is_ok(),
        "another's queue"
    );
}

#[test]
fn when_all_wait_the_longest_for_its_weight_loses_its_youngest() {
    let pool = pool(1);
    let _held = pool.try_take(&claim(1, 1), 0).unwrap();
    let many = |slot, weight| Claim {
        waiting_max: 4_096,
        ..claim(slot, weight)
    };
    // The light one waits with more for its weight than the heavy one.
    let mut light: Vec<_> = (0..1_000).map(|_| wait(&pool, &many(1, 1))).collect();
    let heavy: Vec<_> = (0..3_096).map(|_| wait(&pool, &many(2, 8))).collect();
    let _more = wait(&pool, &many(2, 8));
    let Poll::Ready(Err(turned)) = poll(light.last_mut().unwrap()) else {
        panic!("the youngest stays")
    };
    assert_eq!(turned.shed, Shed::PoolFull);
    assert!(poll(&mut light[0]).is_pending());
    assert_eq!(pool.waiting(), 4_096);
    let own = pool.wait(&many(1, 1), false, 0, FOREVER).unwrap_err();
    assert_eq!(
        own.shed,
        Shed::PoolFull,
        "the newcomer is the youngest of the longest"
    );
    drop((light, heavy));
}

#[test]
fn who_is_only_watched_passes_and_is_counted() {
    let pool = pool(1);
    let held = pool.try_take(&claim(1, 1), 0).unwrap();
    let watched = pool.take_anyway(&claim(2, 1), 0);
    assert_eq!(pool.level().in_use, 2);
    let mut waiting = wait(&pool, &claim(3, 1));
    drop(watched);
    assert!(poll(&mut waiting).is_pending(), "the pool is full without it");
    drop(held);
    drop(seat(&mut waiting));
}

#[test]
fn more_seats_are_given_out_at_once() {
    let pool = pool(1);
    let _held = pool.try_take(&claim(1, 1), 0).unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| wait(&pool, &claim(2, 1))).collect();
    let bounds = Bounds {
        floor: 3,
        ceiling: 3,
        initial: 3,
    };
    pool.rebound(bounds, 0);
    let _seats = (seat(&mut waiting[0]), seat(&mut waiting[1]));
    assert!(poll(&mut waiting[2]).is_pending());
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for the seat as a worker would. `None`: it did not come.
fn block_on<'a>(mut waiting: Waiting<'a>) -> Option<Result<Seat<'a>, Turned>> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let until_ns = monotonic_ns() + 20_000_000_000;
    loop {
        if let Poll::Ready(ready) = Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker)) {
            return Some(ready);
        }
        let left_ns = until_ns.checked_sub(monotonic_ns())?;
        std::thread::park_timeout(Duration::from_nanos(left_ns));
    }
}

/// Threads take, wait, leave and come back in an order of their own, with few seats and tenants at their `max`. A lost
/// wake-up is a thread that waits for ever; a seat too many shows at once.
#[test]
fn threads_lose_no_seat_and_no_wake_up() {
    const THREADS: u32 = 8;
    const ROUNDS: u32 = 3_000;
    for seats in [1, 3] {
        let pool = pool(seats);
        let (inside, served) = (AtomicU32::new(0), AtomicUsize::new(0));
        let held: Vec<AtomicU32> = (0..3).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (pool, inside, served, held) = (&pool, &inside, &served, &held);
                scope.spawn(move || {
                    let mut random = super::simulation::Random(u64::from(thread) + 1);
                    for _ in 0..ROUNDS {
                        let slot = thread % 3;
                        let claim = Claim {
                            max: if slot == 0 { 1 } else { u32::MAX },
                            target_ns: FOREVER / 100,
                            ..claim(slot, slot + 1)
                        };
                        let now_ns = super::now_ns();
                        let seat = match pool.try_take(&claim, now_ns) {
                            Some(seat) => seat,
                            None => {
                                let mut waiting = pool.wait(&claim, false, now_ns, FOREVER).unwrap();
                                if random.unit() < 0.3 {
                                    let _maybe_served = poll(&mut waiting);
                                    continue; // It leaves, served or not.
                                }
                                block_on(waiting).expect("a wake-up was lost").unwrap()
                            }
                        };
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < seats);
                        assert!(held[slot as usize].fetch_add(1, Ordering::SeqCst) < claim.max);
                        if random.unit() < 0.2 {
                            std::thread::yield_now();
                        }
                        held[slot as usize].fetch_sub(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(seat);
                        served.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(is_empty(&pool), "{:?}", pool.level());
        assert!(served.load(Ordering::SeqCst) > (THREADS * ROUNDS / 2) as usize);
    }
}
