use super::*;

#[test]
fn sqlstates_fall_into_the_kind_that_says_what_to_do() {
    let unavailable = ErrorKind::Unavailable {
        retry_after: UNAVAILABLE_RETRY,
    };
    for (state, expect) in [
        ("08006", unavailable),
        ("57P01", unavailable),
        ("57P03", unavailable),
        ("53300", unavailable),
        ("40001", ErrorKind::Conflict),
        ("40P01", ErrorKind::Conflict),
        ("23505", ErrorKind::Constraint),
        ("22021", ErrorKind::Constraint),
        ("53100", ErrorKind::DiskFull),
        ("25006", ErrorKind::ReadOnly),
        ("57014", ErrorKind::Timeout),
        ("XX001", ErrorKind::Corrupt),
        ("42601", ErrorKind::Bug),
        ("", ErrorKind::Bug),
    ] {
        assert_eq!(postgres::of_sqlstate(state).0, expect, "{state}");
    }
}

#[test]
fn a_jobs_own_error_comes_back_whole() {
    #[derive(Debug, thiserror::Error)]
    #[error("other body under the same key")]
    struct Reused(u32);

    let error = Error::abort(Reused(7));
    assert_eq!(error.kind(), ErrorKind::Aborted);
    assert_eq!(error.downcast_ref::<Reused>().map(|own| own.0), Some(7));
}

#[test]
fn debug_names_code_and_causes() {
    let io = std::io::Error::other("cable cut");
    let error = Error::caused(ErrorKind::Bug, "inner", io).context("outer");
    assert_eq!(format!("{error:?}"), "RC-STO-014 Bug: outer: inner: cable cut");
}

#[test]
fn every_kind_has_a_registered_code() {
    let wait = Duration::ZERO;
    for kind in [
        ErrorKind::Busy { retry_after: wait },
        ErrorKind::Unavailable { retry_after: wait },
        ErrorKind::Conflict,
        ErrorKind::Constraint,
        ErrorKind::Timeout,
        ErrorKind::Corrupt,
        ErrorKind::ReadOnly,
        ErrorKind::DiskFull,
        ErrorKind::WriterTaken,
        ErrorKind::Foreign,
        ErrorKind::Migration,
        ErrorKind::Url,
        ErrorKind::Aborted,
        ErrorKind::Bug,
    ] {
        assert!(rc_model::code::lookup(kind.code()).is_some(), "{}", kind.code());
    }
}
