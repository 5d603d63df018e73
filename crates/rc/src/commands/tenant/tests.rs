use super::*;

#[test]
fn tables_line_up() {
    let rows = vec![
        vec!["acme".into(), "gold".into()],
        vec!["globex-two".into(), String::new()],
    ];
    assert_eq!(
        table(&["TENANT", "TIER"], &rows),
        "TENANT      TIER\nacme        gold\nglobex-two"
    );
}
