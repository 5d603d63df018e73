use super::*;
use rc_model::project::OtlpSection;

fn sent_to(env: &OtelEnv, section: Option<&str>) -> Option<String> {
    let mut project = ProjectFile::default();
    project.telemetry.otlp = section.map(|endpoint| OtlpSection {
        endpoint: endpoint.to_owned(),
        timeout: rc_model::units::Span::from_millis(0),
        ca: Some("tls/ca.pem".to_owned()),
    });
    let layout = Layout::new(std::path::Path::new("/p"));
    let config = otlp(&project, env, &layout).unwrap()?;
    assert!(config.timeout >= TIMEOUT_MIN);
    Some(config.endpoint.to_string())
}

#[test]
fn the_nearest_word_decides_where_spans_go() {
    let mut env = OtelEnv::default();
    assert_eq!(sent_to(&env, None), None, "nothing is sent by default");
    assert_eq!(
        sent_to(&env, Some("http://file:4318")).unwrap(),
        "http://file:4318/v1/traces"
    );
    env.endpoint = Some("http://base:4318/x".to_owned());
    assert_eq!(
        sent_to(&env, Some("http://file:4318")).unwrap(),
        "http://base:4318/x/v1/traces"
    );
    env.traces_endpoint = Some("http://exact:4318/x".to_owned());
    assert_eq!(sent_to(&env, None).unwrap(), "http://exact:4318/x");
}

#[test]
fn a_secret_in_the_environment_is_not_shown() {
    let env = OtelEnv {
        headers: Some("api-key=s3cret".to_owned()),
        endpoint: Some("http://user:s3cret@base:4318".to_owned()),
        ..OtelEnv::default()
    };
    assert!(!format!("{env:?}").contains("s3cret"));
    let layout = Layout::new(std::path::Path::new("/p"));
    let error = otlp(&ProjectFile::default(), &env, &layout).unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
}
