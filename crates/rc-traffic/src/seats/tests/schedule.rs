//! Runs a few threads in every order of their steps, one order after the other.
//!
//! A step is an access to what threads share ([`AtomicU32`], [`AtomicU64`], [`Mutex`]) or a wake-up. Only one thread runs
//! at a time; before each step it asks whether another one goes on instead. The answers of one run are a list of
//! numbers, and the next run changes the last of them that can be changed, until none can. A thread is taken off only
//! so many times in one run while it could have gone on: most bugs need one or two such moments (Musuvathi and Qadeer,
//! CHESS), and the number of orders stays finite in practice. Accesses are in one order for all threads: what weaker
//! memory orders would allow on top is not tried.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, LockResult, PoisonError};
use std::task::{Wake, Waker};

thread_local! {
    static HERE: RefCell<Option<Thread>> = const { RefCell::new(None) };
}

/// How one run goes.
#[derive(Debug, Default)]
struct Schedule {
    state: std::sync::Mutex<State>,
    turn: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    threads: Vec<Standing>,
    /// Who was woken since it last parked.
    woken: Vec<bool>,
    /// What was chosen, of how many.
    choices: Vec<(usize, usize)>,
    made: usize,
    preemptions_left: usize,
    /// Why the run cannot go on: every thread is to end.
    over: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Ready,
    /// Until a lock is given back.
    Locked,
    /// Until it is woken.
    Parked,
    Done,
}

/// A thread of a schedule.
#[derive(Debug, Clone)]
struct Thread {
    schedule: Arc<Schedule>,
    at: usize,
}

impl Thread {
    /// Lets another thread go on, or this one. `standing` says whether this one could.
    fn pass(&self, standing: Standing) {
        if std::thread::panicking() {
            return;
        }
        let mut state = self.state();
        state.threads[self.at] = standing;
        if state.over.is_some() {
            return leave(state, standing);
        }
        let mut able: Vec<usize> = (0..state.threads.len())
            .filter(|at| state.threads[*at] == Standing::Ready)
            .collect();
        let goes_on = able.iter().position(|at| *at == self.at);
        if let Some(place) = goes_on {
            // First the order without a preemption.
            able.swap(0, place);
            if state.preemptions_left == 0 {
                able.truncate(1);
            }
        }
        if able.is_empty() {
            let all_done = state.threads.iter().all(|standing| *standing == Standing::Done);
            if !all_done {
                state.over.get_or_insert("every thread waits: a wake-up was lost");
            }
            self.schedule.turn.notify_all();
        } else {
            let chosen = state.choose(able.len());
            state.preemptions_left -= usize::from(goes_on.is_some() && chosen > 0);
            state.running = able[chosen];
            if state.running != self.at {
                self.schedule.turn.notify_all();
            }
        }
        while standing != Standing::Done && state.running != self.at && state.over.is_none() {
            state = self
                .schedule
                .turn
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        leave(state, standing);
    }

    /// A lock was given back.
    fn unlocked(&self) {
        for standing in &mut self.state().threads {
            if *standing == Standing::Locked {
                *standing = Standing::Ready;
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.schedule.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes on with the thread's work, or ends it because the run is over.
fn leave(state: std::sync::MutexGuard<'_, State>, standing: Standing) {
    let over = state.over;
    drop(state);
    if let Some(why) = over
        && standing != Standing::Done
    {
        panic!("{why}");
    }
}

impl State {
    fn choose(&mut self, among: usize) -> usize {
        if self.made == self.choices.len() {
            self.choices.push((0, among));
        }
        let (chosen, of) = self.choices[self.made];
        assert_eq!(of, among, "a run is the same when it is repeated");
        self.made += 1;
        chosen
    }
}

fn here() -> Option<Thread> {
    HERE.with_borrow(Option::clone)
}

/// A moment at which another thread may go on.
pub(super) fn step() {
    if let Some(thread) = here() {
        thread.pass(Standing::Ready);
    }
}

/// Waits until the waker of [`waker`] was used since the last time.
pub(super) fn park() {
    let thread = here().expect("only threads of a schedule park");
    if !thread.state().woken[thread.at] {
        thread.pass(Standing::Parked);
    }
    thread.state().woken[thread.at] = false;
}

/// Wakes this thread.
pub(super) fn waker() -> Waker {
    Waker::from(Arc::new(here().expect("only threads of a schedule are woken")))
}

impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        step();
        let mut state = self.state();
        state.woken[self.at] = true;
        let standing = &mut state.threads[self.at];
        if *standing == Standing::Parked {
            *standing = Standing::Ready;
        }
    }
}

/// Runs `threads` on what `make` makes, in every order with at most `preemptions`, and `check` after each. Returns how
/// many orders there were.
pub(super) fn explore<W: Sync>(
    preemptions: usize,
    make: impl Fn() -> W,
    threads: &[&(dyn Fn(&W) + Sync)],
    check: impl Fn(&W),
) -> usize {
    let (mut choices, mut run) = (Vec::new(), 0);
    loop {
        run += 1;
        let world = make();
        let schedule = Arc::new(Schedule::default());
        {
            let mut state = schedule.state.lock().unwrap();
            state.threads = vec![Standing::Ready; threads.len()];
            state.woken = vec![false; threads.len()];
            state.choices = choices;
            state.preemptions_left = preemptions;
            state.running = usize::MAX;
        }
        let failures = std::thread::scope(|scope| {
            let running: Vec<_> = threads
                .iter()
                .enumerate()
                .map(|(at, work)| {
                    let (world, thread) = (
                        &world,
                        Thread {
                            schedule: Arc::clone(&schedule),
                            at,
                        },
                    );
                    scope.spawn(move || run_one(&thread, || work(world)))
                })
                .collect();
            {
                let mut state = schedule.state.lock().unwrap();
                state.running = state.choose(threads.len());
                schedule.turn.notify_all();
            }
            let ended = running.into_iter().map(|thread| thread.join().unwrap());
            ended.filter_map(Result::err).collect::<Vec<_>>()
        });
        let mut state = schedule.state.lock().unwrap();
        choices = std::mem::take(&mut state.choices);
        if let Some(failure) = failures.into_iter().next() {
            let order: Vec<usize> = choices.iter().map(|(chosen, _)| *chosen).collect();
            println!("in run {run}, with the choices {order:?}: {:?}", state.over);
            resume_unwind(failure);
        }
        check(&world);
        while choices.last().is_some_and(|(chosen, of)| chosen + 1 == *of) {
            choices.pop();
        }
        match choices.last_mut() {
            Some((chosen, _)) => *chosen += 1,
            None => return run,
        }
    }
}

/// One thread of a run, from its first turn to its end.
fn run_one(thread: &Thread, work: impl FnOnce()) -> std::thread::Result<()> {
    HERE.set(Some(thread.clone()));
    super::set_now(1);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut state = thread.state();
        while state.running != thread.at && state.over.is_none() {
            state = thread
                .schedule
                .turn
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        work();
    }));
    HERE.set(None);
    if ended.is_err() {
        thread.state().over.get_or_insert("another thread failed");
    }
    thread.pass(Standing::Done);
    ended
}

macro_rules! atomic {
    ($name:ident, $of:ty, $number:ty) => {
        /// The standard library's, with a step before every access.
        #[derive(Debug, Default)]
        pub(in crate::seats) struct $name($of);

        impl $name {
            pub(in crate::seats) const fn new(value: $number) -> Self {
                Self(<$of>::new(value))
            }

            pub(in crate::seats) fn load(&self, order: Ordering) -> $number {
                step();
                self.0.load(order)
            }

            pub(in crate::seats) fn fetch_add(&self, value: $number, order: Ordering) -> $number {
                step();
                self.0.fetch_add(value, order)
            }

            pub(in crate::seats) fn fetch_sub(&self, value: $number, order: Ordering) -> $number {
                step();
                self.0.fetch_sub(value, order)
            }
        }
    };
}

atomic!(AtomicU32, std::sync::atomic::AtomicU32, u32);
atomic!(AtomicU64, std::sync::atomic::AtomicU64, u64);

impl AtomicU32 {
    pub(in crate::seats) fn store(&self, value: u32, order: Ordering) {
        step();
        self.0.store(value, order);
    }
}

impl AtomicU64 {
    /// Another thread can come between the reading and the writing, as it can in the library's.
    pub(in crate::seats) fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        mut change: impl FnMut(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        let mut before = self.load(fetch);
        while let Some(next) = change(before) {
            step();
            match self.0.compare_exchange(before, next, set, fetch) {
                Ok(before) => return Ok(before),
                Err(changed) => before = changed,
            }
        }
        Err(before)
    }
}

/// The standard library's, with a step before it is locked.
#[derive(Debug, Default)]
pub(in crate::seats) struct Mutex<T>(std::sync::Mutex<T>);

#[derive(Debug)]
pub(in crate::seats) struct MutexGuard<'a, T>(Option<std::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(in crate::seats) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(in crate::seats) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        step();
        if let Some(thread) = here()
            && !std::thread::panicking()
        {
            loop {
                if let Ok(guard) = self.0.try_lock() {
                    return Ok(MutexGuard(Some(guard)));
                }
                thread.pass(Standing::Locked);
            }
        }
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard(Some(guard)))
    }

    /// As [`std::sync::Mutex::try_lock`]; whoever asks does not look at the error.
    pub(in crate::seats) fn try_lock(&self) -> Result<MutexGuard<'_, T>, ()> {
        step();
        self.0
            .try_lock()
            .map(|guard| MutexGuard(Some(guard)))
            .map_err(|_held| ())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is held until it is dropped")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is held until it is dropped")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.0 = None;
        if let Some(thread) = here() {
            thread.unlocked();
        }
    }
}
