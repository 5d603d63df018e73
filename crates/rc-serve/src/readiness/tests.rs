use super::*;

#[test]
fn a_process_is_ready_when_all_its_parts_are() {
    let readiness = Readiness::new();
    let (store, bus) = (readiness.component("store"), readiness.component("bus"));
    store.set_ready();
    assert!(!readiness.is_ready());
    bus.set_ready();
    assert!(readiness.is_ready());
    store.set_down("disk full");
    let report = readiness.report();
    assert_eq!(report.state, "unready");
    assert_eq!(report.components["store"], "down: disk full");
}
