use super::*;

#[test]
fn digests_print_and_read_in_the_oci_form() {
    let empty = Digest::of(b"");
    let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(empty.to_string(), text);
    assert_eq!(Digest::parse(text), Some(empty));
    assert_eq!(Digest::parse(&text.to_uppercase()), None);
    assert_eq!(Digest::parse("sha256:00"), None);
    assert_eq!(empty.short(), "e3b0c44298fc");
}
