use super::*;

#[test]
fn codes_are_sorted_unique_and_well_formed() {
    let codes: Vec<&str> = all().map(|entry| entry.code).collect();
    assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    for (area, name) in AREAS.iter().zip([
        "CFG", "CLI", "DOC", "EVT", "GW", "ING", "INI", "JDG", "LED", "SRV", "STO", "TEL", "UP",
    ]) {
        for entry in *area {
            let number = entry.code.strip_prefix(&format!("RC-{name}-"));
            let number = number.unwrap_or_else(|| panic!("{} is in area {name}", entry.code));
            assert!(
                number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit()),
                "{}",
                entry.code
            );
            assert!(
                !entry.title.is_empty() && !entry.title.ends_with('.'),
                "{}",
                entry.code
            );
        }
    }
}

#[test]
fn lookup_ignores_case() {
    assert_eq!(lookup("rc-cfg-003").map(|entry| entry.code), Some("RC-CFG-003"));
    assert_eq!(lookup("RC-CFG-999"), None);
}
