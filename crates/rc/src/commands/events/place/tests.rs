use super::*;

#[test]
fn no_password_is_ever_printed() {
    for (url, shown) in [
        ("nats://u:secret@h:4222", "nats://***@h:4222"),
        ("nats://token@h", "nats://***@h"),
        ("nats://u:a@b@h,g:4223/rc", "nats://***@h,g:4223/rc"),
        ("nats://h:4222", "nats://h:4222"),
        ("secret", "***"),
    ] {
        assert_eq!(without_user(url), shown);
    }
    let typed = Typed("postgres://u:secret@h/d".to_owned());
    assert_eq!(format!("{typed:?}"), "***");
}
