use super::*;

#[test]
fn the_answer_for_a_full_gateway_is_whole() {
    let answer = String::from_utf8(full_answer()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {}\r\n", body.len())),
        "{head}"
    );
    assert!(head.contains("retry-after: 1\r\n"), "{head}");
    let problem: rc_model::Problem = serde_json::from_str(body).unwrap();
    assert_eq!((problem.status, problem.code.as_str()), (503, "RC-GW-018"));
}
