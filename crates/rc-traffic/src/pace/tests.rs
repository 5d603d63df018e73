use super::*;

#[test]
fn the_first_refusal_comes_at_once_and_the_others_later_and_later() {
    let delays: Vec<_> = (0..9)
        .map(|refused| delay(refused).map(|delay| delay.as_millis()))
        .collect();
    let held = [25, 50, 100, 200, 250, 250, 250].map(Some);
    assert_eq!(delays, [&[None, None][..], &held].concat());
    assert_eq!(delay(u32::MAX), Some(DELAY_MAX));
}

#[test]
fn past_the_bound_a_connection_ends_with_its_refusal() {
    let (one, other, worker) = (Arc::default(), Arc::default(), Rc::default());
    let take = |tenant, count| {
        let places = (0..count).map_while(|_| Place::take(tenant, &worker));
        places.collect::<Vec<_>>()
    };
    let places = take(&one, PARKED_PER_TENANT_MAX);
    assert_eq!(places.len(), PARKED_PER_TENANT_MAX as usize);
    assert!(take(&one, 1).is_empty() && take(&other, 1).len() == 1);
    drop(places);
    assert_eq!((one.load(Ordering::Relaxed), worker.get()), (0, 0));
    worker.set(PARKED_PER_WORKER_MAX);
    assert!(take(&other, 1).is_empty());
}
