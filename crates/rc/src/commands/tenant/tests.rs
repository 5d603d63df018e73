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

#[test]
fn the_nearest_name_is_meant_when_it_is_near() {
    let known = ["acme", "globex", "initech"];
    let meant = |typed| did_you_mean(typed, known.into_iter());
    assert_eq!(meant("acne"), Some("acme"));
    assert_eq!(meant("globx"), Some("globex"));
    assert_eq!(meant("zzz"), None);
    assert_eq!(distance("kitten", "sitting"), 3);
}
