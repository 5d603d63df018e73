//! The pages of `docs/reference/errors`, built into the binary.

/// One line a code, sorted. A test compares the list with the codes and with the folder.
macro_rules! pages {
    ($($code:literal)*) => {
        &[$((
            $code,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/errors/", $code, ".md")),
        )),*]
    };
}

/// Code and Markdown text.
pub(super) const PAGES: &[(&str, &str)] = pages! {
    "RC-CFG-001"
    "RC-CFG-002"
    "RC-CFG-003"
    "RC-CFG-004"
    "RC-CFG-005"
    "RC-CFG-006"
    "RC-CFG-007"
    "RC-CFG-008"
    "RC-CFG-009"
    "RC-CFG-010"
    "RC-CFG-011"
    "RC-CFG-012"
    "RC-CFG-013"
    "RC-CFG-014"
    "RC-CFG-015"
    "RC-CFG-016"
    "RC-CFG-017"
    "RC-CFG-018"
    "RC-CLI-001"
    "RC-CLI-002"
    "RC-EVT-001"
    "RC-EVT-002"
    "RC-EVT-003"
    "RC-EVT-004"
    "RC-EVT-005"
    "RC-EVT-006"
    "RC-EVT-007"
    "RC-EVT-008"
    "RC-EVT-009"
    "RC-GW-001"
    "RC-GW-002"
    "RC-GW-003"
    "RC-GW-004"
    "RC-GW-005"
    "RC-GW-006"
    "RC-GW-007"
    "RC-GW-008"
    "RC-GW-009"
    "RC-GW-010"
    "RC-GW-011"
    "RC-GW-012"
    "RC-GW-013"
    "RC-GW-014"
    "RC-GW-015"
    "RC-GW-016"
    "RC-GW-017"
    "RC-GW-018"
    "RC-GW-019"
    "RC-GW-020"
    "RC-GW-021"
    "RC-GW-022"
    "RC-GW-023"
    "RC-GW-030"
    "RC-GW-031"
    "RC-GW-060"
    "RC-GW-061"
    "RC-GW-062"
    "RC-GW-063"
    "RC-GW-064"
    "RC-GW-065"
    "RC-GW-066"
    "RC-SRV-001"
    "RC-SRV-002"
    "RC-SRV-003"
    "RC-SRV-004"
    "RC-SRV-005"
    "RC-SRV-006"
    "RC-SRV-007"
    "RC-SRV-008"
    "RC-STO-001"
    "RC-STO-002"
    "RC-STO-003"
    "RC-STO-004"
    "RC-STO-005"
    "RC-STO-006"
    "RC-STO-007"
    "RC-STO-008"
    "RC-STO-009"
    "RC-STO-010"
    "RC-STO-011"
    "RC-STO-012"
    "RC-STO-013"
    "RC-STO-014"
};

/// The page of the code `code`, written as in the table.
pub(super) fn page(code: &str) -> Option<&'static str> {
    PAGES
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, page)| *page)
}
