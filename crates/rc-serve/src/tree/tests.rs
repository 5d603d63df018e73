use super::*;

#[tokio::test]
async fn drain_waits_for_tasks_that_end_and_names_those_that_do_not() {
    let tree = Tree::new();
    let stopping = tree.stopping();
    tree.spawn("polite", async move { stopping.cancelled().await });
    assert_eq!(tree.drain(Duration::from_secs(5)).await, Ok(()));

    let tree = Tree::new();
    tree.spawn("stuck", std::future::pending());
    assert_eq!(
        tree.drain(Duration::from_millis(20)).await,
        Err(vec!["stuck".to_owned()])
    );
}

#[tokio::test]
async fn a_task_that_panics_is_not_waited_for_and_stops_the_others() {
    let tree = Tree::new();
    let stopping = tree.stopping();
    tree.spawn("good", async move { stopping.cancelled().await });
    tree.spawn("bad", async { panic!("a bug") });
    tree.stopping().cancelled().await;
    assert!(tree.has_failed());
    assert_eq!(tree.drain(Duration::from_secs(5)).await, Ok(()));
}
