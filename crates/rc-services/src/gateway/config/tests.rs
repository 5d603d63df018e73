use super::*;

#[test]
fn only_who_saw_what_is_in_force_may_replace_it() {
    let (now, before) = (Digest::of(b"now"), Digest::of(b"before"));
    let answer = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        }
        check_seen(&headers, now).map_err(|problem| problem.status)
    };
    assert_eq!(answer(&[]), Err(428));
    assert_eq!(answer(&[&etag(before)]), Err(412));
    assert_eq!(
        answer(&[&format!("W/{}", etag(now))]),
        Err(412),
        "a weak tag proves nothing"
    );
    assert_eq!(answer(&[""]), Err(412));
    assert_eq!(answer(&[&etag(now)]), Ok(()));
    assert_eq!(answer(&["*"]), Ok(()));
    assert_eq!(answer(&[&format!("{}, {}", etag(before), etag(now))]), Ok(()));
    assert_eq!(answer(&[&etag(before), &etag(now)]), Ok(()));
}
