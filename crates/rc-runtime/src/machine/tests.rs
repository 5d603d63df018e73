use super::*;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

fn machine() -> Machine {
    Machine::new(Policy::default(), 7)
}

fn ready() -> Machine {
    let mut machine = machine();
    assert_eq!(machine.step(Input::NeedsReady, 0), Some(Effect::Start));
    assert_eq!(machine.step(Input::ProbeOk, MS), None);
    assert_eq!(machine.state(), State::Ready);
    machine
}

/// Lets the pause pass and checks that the service is started again; gives the time of the start.
fn restart(machine: &mut Machine) -> u64 {
    assert_eq!(machine.state(), State::BackingOff);
    let until = machine.deadline().unwrap();
    assert_eq!(machine.step(Input::Tick, until - 1), None, "not a moment early");
    assert_eq!(machine.step(Input::Tick, until), Some(Effect::Start));
    until
}

#[test]
fn a_service_starts_when_its_needs_are_ready_and_once_only() {
    let mut machine = machine();
    assert_eq!(machine.state(), State::Waiting);
    assert_eq!(machine.step(Input::Tick, 100 * S), None);
    assert_eq!(machine.step(Input::NeedsReady, 100 * S), Some(Effect::Start));
    assert_eq!(machine.step(Input::NeedsReady, 101 * S), None);
    assert_eq!(machine.state(), State::Starting);
}

#[test]
fn failed_probes_while_starting_are_no_failure() {
    let mut machine = machine();
    machine.step(Input::NeedsReady, 0);
    for at in 1..1000 {
        assert_eq!(machine.step(Input::ProbeFailed("refused".into()), at * MS), None);
    }
    assert_eq!(machine.state(), State::Starting);
    machine.step(Input::ProbeOk, 2 * S);
    assert_eq!((machine.state(), machine.last_probe()), (State::Ready, ""));
}

#[test]
fn three_failed_probes_in_a_row_make_unready_and_one_good_one_heals() {
    let mut machine = ready();
    let failed = || Input::ProbeFailed("store is down".into());
    for _ in 0..2 {
        machine.step(failed(), S);
    }
    machine.step(Input::ProbeOk, S);
    for _ in 0..2 {
        machine.step(failed(), S);
    }
    assert_eq!(machine.state(), State::Ready);
    machine.step(failed(), S);
    assert_eq!(
        (machine.state(), machine.last_probe()),
        (State::Unready, "store is down")
    );
    assert_eq!(machine.deadline(), None, "an unready service is not restarted");
    machine.step(Input::ProbeOk, S);
    assert_eq!(machine.state(), State::Ready);
}

#[test]
fn pauses_double_and_jitter_stays_within_a_quarter() {
    for seed in 0..200 {
        let mut machine = Machine::new(Policy::default(), seed);
        machine.step(Input::NeedsReady, 0);
        let mut now = 0;
        for expected in [100, 200, 400, 800] {
            machine.step(Input::Ended(Cause::Status(1)), now);
            let pause = machine.deadline().unwrap() - now;
            let range = expected * MS * 3 / 4..=expected * MS;
            assert!(range.contains(&pause), "seed {seed}: {pause} not in {range:?}");
            now = restart(&mut machine);
        }
    }
}

#[test]
fn five_ends_within_a_minute_are_a_crash_loop() {
    let mut machine = ready();
    let mut now = 0;
    for _ in 0..4 {
        machine.step(Input::Ended(Cause::Status(1)), now);
        now = restart(&mut machine);
    }
    assert_eq!(machine.restarts(), 4);
    machine.step(Input::Ended(Cause::Signal(11)), now);
    assert_eq!(machine.state(), State::CrashLooped);
    assert_eq!(machine.last_cause(), Some(&Cause::Signal(11)));
    assert_eq!(
        machine.step(Input::Tick, now + 3600 * S),
        None,
        "it is left alone"
    );
    assert_eq!(machine.step(Input::Stop, now), None);
    assert_eq!(machine.state(), State::Stopped);
}

#[test]
fn an_end_now_and_then_is_no_crash_loop() {
    let mut machine = ready();
    let mut now = 0;
    for _ in 0..100 {
        now += 61 * S;
        machine.step(Input::Ended(Cause::Status(1)), now);
        let pause = machine.deadline().unwrap() - now;
        assert!(pause <= 100 * MS, "the record is clean again after a minute");
        now = restart(&mut machine);
    }
    assert_eq!(machine.restarts(), 100);
}

#[test]
fn a_late_service_is_stopped_and_counts_as_failed_with_the_last_probe() {
    let mut machine = machine();
    machine.step(Input::NeedsReady, 0);
    machine.step(Input::ProbeFailed("connection refused".into()), S);
    assert_eq!(machine.step(Input::Tick, 60 * S), Some(Effect::Terminate));
    assert_eq!(machine.state(), State::Stopping);
    machine.step(Input::ProbeOk, 61 * S);
    assert_eq!(machine.state(), State::Stopping, "too late is too late");
    machine.step(Input::Ended(Cause::Signal(15)), 61 * S);
    assert_eq!(machine.state(), State::BackingOff);
    let cause = machine.last_cause().unwrap().to_string();
    assert_eq!(cause, "was not ready within 60 s: connection refused");
}

#[test]
fn a_service_that_cannot_be_started_is_tried_again_with_pauses() {
    let mut machine = machine();
    machine.step(Input::NeedsReady, 0);
    machine.step(Input::Ended(Cause::NotStarted("no such file".into())), 0);
    restart(&mut machine);
    assert_eq!(machine.state(), State::Starting);
}

#[test]
fn stop_terminates_then_kills_once() {
    let mut machine = ready();
    assert_eq!(machine.step(Input::Stop, S), Some(Effect::Terminate));
    assert_eq!(
        machine.step(Input::Stop, 2 * S),
        None,
        "a second stop changes nothing"
    );
    assert_eq!(machine.step(Input::Tick, 10 * S), None);
    assert_eq!(machine.step(Input::Tick, 11 * S), Some(Effect::Kill));
    assert_eq!(machine.deadline(), None);
    machine.step(Input::Ended(Cause::Signal(9)), 11 * S);
    assert_eq!(machine.state(), State::Stopped);
    for input in [
        Input::NeedsReady,
        Input::Replace,
        Input::Stop,
        Input::StopNow,
        Input::Tick,
        Input::ProbeOk,
    ] {
        assert_eq!(machine.step(input, 12 * S), None);
        assert_eq!(machine.state(), State::Stopped, "stopped is for good");
    }
}

#[test]
fn stop_wins_over_everything_that_waits() {
    let mut backing_off = ready();
    backing_off.step(Input::Ended(Cause::Status(1)), S);
    assert_eq!(backing_off.step(Input::Stop, S), None);
    assert_eq!(backing_off.state(), State::Stopped);

    let mut replacing = ready();
    assert_eq!(replacing.step(Input::Replace, S), Some(Effect::Terminate));
    replacing.step(Input::Stop, S);
    replacing.step(Input::Replace, S);
    replacing.step(Input::Ended(Cause::Status(0)), S);
    assert_eq!(replacing.state(), State::Stopped);
}

#[test]
fn stop_now_kills_in_every_running_state() {
    let mut machine = ready();
    machine.step(Input::Stop, S);
    assert_eq!(machine.step(Input::StopNow, S), Some(Effect::Kill));
    machine.step(Input::Ended(Cause::Signal(9)), S);
    assert_eq!(machine.state(), State::Stopped);
    assert_eq!(ready().step(Input::StopNow, S), Some(Effect::Kill));
}

#[test]
fn a_changed_service_starts_with_a_clean_record() {
    let mut looped = ready();
    let mut now = 0;
    for _ in 0..4 {
        looped.step(Input::Ended(Cause::Status(1)), now);
        now = restart(&mut looped);
    }
    looped.step(Input::Ended(Cause::Status(1)), now);
    assert_eq!(looped.state(), State::CrashLooped);
    assert_eq!(looped.step(Input::Replace, now), None);
    assert_eq!((looped.state(), looped.restarts()), (State::Waiting, 0));
    assert_eq!(looped.step(Input::NeedsReady, now), Some(Effect::Start));

    let mut running = ready();
    assert_eq!(running.step(Input::Replace, S), Some(Effect::Terminate));
    running.step(Input::Ended(Cause::Status(0)), 2 * S);
    assert_eq!(
        running.state(),
        State::Waiting,
        "an end that was asked for is no failure"
    );
}

/// Whatever comes in whatever order: an instance is started only when none runs, the record stays bounded,
/// and a stopped service stays stopped.
#[test]
fn no_order_of_inputs_starts_a_second_copy() {
    for seed in 0..2_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut machine = Machine::new(Policy::default(), seed);
        let (mut now, mut running, mut stopped) = (0, false, false);
        for _ in 0..200 {
            now += random.u64(0..20 * S);
            let input = match random.u32(0..9) {
                0 => Input::NeedsReady,
                1 | 2 => Input::ProbeOk,
                3 => Input::ProbeFailed("no".into()),
                4 if running => Input::Ended(Cause::Status(1)),
                5 => Input::Replace,
                6 if random.u32(0..20) == 0 => Input::Stop,
                7 if random.u32(0..40) == 0 => Input::StopNow,
                _ => Input::Tick,
            };
            if matches!(input, Input::Ended(_)) {
                running = false;
            }
            match machine.step(input.clone(), now) {
                Some(Effect::Start) => {
                    assert!(!running && !stopped, "seed {seed}: second start at {input:?}");
                    running = true;
                }
                Some(Effect::Terminate | Effect::Kill) => assert!(running, "seed {seed}: {input:?}"),
                None => {}
            }
            assert!(machine.exits.len() <= machine.policy.crash_exits);
            assert!(
                !stopped || machine.state() == State::Stopped,
                "seed {seed}: {input:?}"
            );
            stopped = machine.state() == State::Stopped;
        }
    }
}
