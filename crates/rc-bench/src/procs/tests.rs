use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::{Cores, CpuTime, Process, family, ticks, wait_until};

#[test]
fn a_process_ends_when_it_is_dropped_and_its_family_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let cores = Cores::all().unwrap();
    let script = "sleep 60 & echo started; wait";
    let process = Process::start(Path::new("/bin/sh"), &["-c", script], &cores, &log).unwrap();
    let pid = process.pid;
    wait_until(Duration::from_secs(10), "the child has a child", || {
        Ok(family(pid)?.len() == 2)
    })
    .unwrap();
    let all = family(pid).unwrap();
    drop(process);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let sleeper = all.into_iter().find(|other| *other != pid).unwrap();
    // The shell that was ended did not take its own child with it; the test does.
    let sleeper = rustix::process::Pid::from_raw(sleeper.cast_signed()).unwrap();
    rustix::process::kill_process(sleeper, rustix::process::Signal::KILL).unwrap();
}

/// Uses the CPU for so many milliseconds.
fn work(milliseconds: i64) {
    let used = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
    };
    let until = used() + milliseconds;
    while used() < until {
        std::hint::black_box(used());
    }
}

#[test]
fn cpu_time_counts_this_thread_and_those_that_have_ended() {
    let me = BTreeSet::from([std::process::id()]);
    let before = CpuTime::of(&me).unwrap();
    work(50);
    let own = CpuTime::of(&me).unwrap().seconds_since(&before);
    assert!((0.045..2.0).contains(&own), "{own}");
    std::thread::spawn(|| work(200)).join().unwrap();
    let with_ended = CpuTime::of(&me).unwrap().seconds_since(&before);
    assert!((0.2..3.0).contains(&with_ended), "{with_ended}");
}

#[test]
fn ticks_are_found_behind_any_name() {
    let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 41 59 0 0 20 0 1 0 100 1 2";
    assert_eq!(ticks(line).unwrap(), 100);
    assert!(ticks("7 (x) S 1").is_err());
}

#[test]
fn cores_are_written_as_they_are_read() {
    let all = Cores::all().unwrap();
    assert_eq!(Cores::parse(&all.list()).unwrap().list(), all.list());
    assert!(Cores::parse("x").is_err());
}
