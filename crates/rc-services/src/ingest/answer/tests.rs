use super::*;

#[test]
fn indexed_is_added_behind_the_stored_answer() {
    let answer = IngestAnswer::new(Uuid::nil(), Vec::new(), false);
    let bytes = with_indexed(&answer.to_bytes(), true);
    let read: IngestAnswer = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        read,
        IngestAnswer {
            indexed: Some(true),
            ..answer
        }
    );
}
