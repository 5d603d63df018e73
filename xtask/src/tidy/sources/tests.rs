use super::{LINES_MAX, file_faults};
use crate::tidy::Source;

fn faults(path: &str, text: &str) -> Vec<String> {
    let file = Source {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    file_faults(&file).iter().map(ToString::to_string).collect()
}

const LIB: &str = "crates/rc-x/src/lib.rs";

#[test]
fn banned_code_is_named_with_its_line_and_the_replacement() {
    assert_eq!(
        faults(LIB, "//! Head.\n\nfn f() { g().unwrap() }\n"),
        ["crates/rc-x/src/lib.rs:3: `.unwrap()`: return the error, or `expect(\"why it cannot fail\")`"]
    );
    for code in [
        "todo!()",
        "unimplemented!()",
        "dbg!(x)",
        "#[allow(dead_code)] fn g() {}",
        "#[ignore] fn g() {}",
    ] {
        assert_eq!(
            faults(LIB, &format!("//! Head.\nfn f() {{ {code} }}\n")).len(),
            1,
            "{code}"
        );
    }
}

#[test]
fn comments_and_literals_may_speak_of_banned_code() {
    assert!(
        faults(
            LIB,
            "//! Never `.unwrap()`.\nconst HINT: &str = \"no todo!()\"; // nor dbg!(x)\n"
        )
        .is_empty()
    );
}

#[test]
fn tests_may_unwrap_and_need_no_head() {
    assert!(faults("crates/rc-x/src/lib/tests.rs", "fn f() { g().unwrap() }\n").is_empty());
    assert!(faults("crates/rc/tests/it/up.rs", "fn f() { g().unwrap() }\n").is_empty());
    assert!(faults("crates/rc-x/src/contract.rs", "fn f() { g().unwrap() }\n").is_empty());
    assert_eq!(
        faults("crates/rc/tests/it/up.rs", "#[ignore]\nfn f() {}\n").len(),
        1
    );
}

#[test]
fn modules_have_a_head_a_bound_and_their_tests_beside_them() {
    assert_eq!(faults(LIB, "mod x;\n").len(), 1);
    assert_eq!(faults("crates/rc-x/src/y/mod.rs", "//! Head.\n").len(), 1);
    assert_eq!(faults(LIB, "//! Head.\n#[cfg(test)]\nmod tests {\n}\n").len(), 1);
    assert!(faults(LIB, &format!("//! Head.\n{}", "\n".repeat(LINES_MAX - 1))).is_empty());
    assert_eq!(
        faults(LIB, &format!("//! Head.\n{}", "\n".repeat(LINES_MAX))).len(),
        1
    );
}
