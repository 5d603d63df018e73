use super::*;
use crate::event::tests::event;

#[test]
fn states_have_words() {
    for state in LetterState::ALL {
        assert_eq!(LetterState::parse(state.as_str()), Some(state));
    }
    assert_eq!(LetterState::parse("lost"), None);
}

#[test]
fn equal_errors_are_equal_whatever_their_numbers() {
    let of = |why: &str| error_fingerprint("decode", "RC-EVT-011", why);
    assert_eq!(
        of("event 17: missing field `title` at column 9"),
        of("event 18: missing field `title` at column 10")
    );
    assert_ne!(of("missing field `title`"), of("missing field `text`"));
    assert_ne!(of("x"), error_fingerprint("schema", "RC-EVT-011", "x"));
}

#[test]
fn an_edit_replaces_the_payload_and_nothing_else() {
    let event = event("acme", "a", 3);
    let letter = Letter {
        number: 1,
        holder: "docs".to_owned(),
        event: event.clone(),
        pos: 9,
        edited: Some(Bytes::from_static(b"{}")),
        state: LetterState::Parked,
        class: Cow::Borrowed("decode"),
        code: "RC-EVT-011".to_owned(),
        why: "no".to_owned(),
        attempts: 1,
        replays: 0,
        same_error: 0,
        first: event.time,
        last: event.time,
    };
    let current = letter.current();
    assert_eq!(current.payload, "{}");
    assert_eq!(current.id, event.id);
    assert_eq!(letter.event, event);
}
