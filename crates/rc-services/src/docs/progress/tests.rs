use futures_util::FutureExt as _;
use rc_store::SqliteOptions;

use super::*;
use crate::docs::sqlite::SqliteDocs;

#[tokio::test]
async fn the_places_of_those_who_wait_are_bounded_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteDocs::open(&folder.path().join("docs.db"), SqliteOptions::default())
        .await
        .unwrap();
    let progress = Progress::new(CancellationToken::new());
    let tenant = TenantId::new("acme").unwrap();
    let wait = |limit| {
        let wanted = vec![("never".to_owned(), 1)];
        progress.wait(&store, &tenant, wanted, limit)
    };
    let mut waiting: Vec<_> = (0..WAITERS_MAX)
        .map(|_| Box::pin(wait(Duration::from_secs(60))))
        .collect();
    for waiter in &mut waiting {
        assert!(waiter.now_or_never().is_none());
    }
    let refused = wait(Duration::from_secs(60)).await;
    assert!(matches!(refused, Err(WaitFault::Full)), "{refused:?}");
    // Callers that hang up give their places back.
    waiting.truncate(WAITERS_MAX - 1);
    let again = async {
        loop {
            match wait(Duration::from_millis(1)).await {
                // The store's readers are not through with what the others asked.
                Err(WaitFault::Store(error)) if error.retry_after().is_some() => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                ended => break ended.unwrap(),
            }
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(20), again)
        .await
        .unwrap();
    assert!(!reached);
}
