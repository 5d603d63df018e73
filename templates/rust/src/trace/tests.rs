use super::*;

#[test]
fn a_valid_parent_is_followed() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(
        parse(parent),
        Some((0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 1))
    );
    assert!(
        parse(&parent.replacen("00", "01", 1)).is_some(),
        "a later version"
    );
}

#[test]
fn anything_else_begins_a_new_trace() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for bad in [
        "",
        "00",
        &parent.to_uppercase(),
        &parent.replacen("00", "ff", 1),
        &parent
            .replace('4', "0")
            .replace(|c: char| !matches!(c, '0' | '-'), "0"),
        &format!("{parent}-more"),
        &parent[..54],
    ] {
        assert_eq!(parse(bad), None, "{bad}");
    }
    let trace = Trace::of(&HeaderMap::new());
    assert_eq!((trace.id().len(), trace.header().len()), (32, 55));
}
