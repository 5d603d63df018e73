use proptest::prelude::*;

use super::world::tenant;
use crate::docs::cursor::{Scope, decode, encode};
use crate::docs::model::Place;

const PLACE: Place = Place { score: 1.25, row: 42 };

#[test]
fn a_cursor_is_for_its_own_search_and_tenant_alone() {
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let filters = [("lang".to_owned(), "en".to_owned())];
    let scope = Scope {
        tenant: &acme,
        query: "cat",
        filters: &filters,
        since: None,
        until: None,
    };
    let cursor = encode(scope, PLACE);
    assert_eq!(decode(scope, &cursor), Some(PLACE));
    assert_eq!(
        decode(
            Scope {
                tenant: &globex,
                ..scope
            },
            &cursor
        ),
        None
    );
    assert_eq!(
        decode(
            Scope {
                query: "dog",
                ..scope
            },
            &cursor
        ),
        None
    );
    assert_eq!(
        decode(
            Scope {
                filters: &[],
                ..scope
            },
            &cursor
        ),
        None
    );
    let time = Some(rc_model::Timestamp::from_unix_ms(0));
    assert_eq!(decode(Scope { since: time, ..scope }, &cursor), None);
    assert_eq!(decode(Scope { until: time, ..scope }, &cursor), None);
}

proptest! {
    #[test]
    fn a_changed_cursor_is_refused(at in 0_usize..44, with in "[A-Za-z0-9_=-]") {
        let acme = tenant("acme");
        let scope = Scope { tenant: &acme, query: "cat", filters: &[], since: None, until: None };
        let cursor = encode(scope, PLACE);
        let mut changed = cursor.clone();
        let at = at % cursor.len();
        changed.replace_range(at..=at, &with);
        prop_assume!(changed != cursor);
        prop_assert_eq!(decode(scope, &changed), None);
        prop_assert_eq!(decode(scope, &cursor[..at]), None);
    }

    #[test]
    fn any_text_is_read_without_a_fault(text in any::<String>()) {
        let acme = tenant("acme");
        let scope = Scope { tenant: &acme, query: "cat", filters: &[], since: None, until: None };
        prop_assert_eq!(decode(scope, &text), None);
    }
}
