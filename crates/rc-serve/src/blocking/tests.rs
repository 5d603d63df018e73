use super::*;

#[tokio::test]
async fn work_runs_on_another_thread_and_its_panic_comes_back() {
    let here = std::thread::current().id();
    assert_ne!(off_thread(|| std::thread::current().id()).await, here);
    let panicking = std::panic::AssertUnwindSafe(off_thread(|| -> u8 { panic!("as planned") }));
    assert!(futures_util::FutureExt::catch_unwind(panicking).await.is_err());
}
