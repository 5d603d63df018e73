use super::{HOMES, PROMISES, REGISTRY_HOSTS, file_faults};
use crate::tidy::Source;

fn faults(path: &str, text: &str) -> Vec<String> {
    let file = Source {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    file_faults(&file).iter().map(ToString::to_string).collect()
}

#[test]
fn lines_are_clean() {
    assert_eq!(faults("a.md", "a \n"), ["a.md:1: trailing space"]);
    assert_eq!(faults("a.yaml", "a:\n\tb: c\n"), ["a.yaml:2: a tab: use spaces"]);
    assert_eq!(faults("a.md", "a").len(), 1);
    assert_eq!(faults("a.md", "a\n\n").len(), 1);
    assert!(faults("Makefile", "up:\n\t@cargo\n").is_empty());
    assert!(faults("man/rc.1", "a \n").is_empty());
    assert!(faults("a.md", "").is_empty());
}

#[test]
fn nothing_is_left_for_later() {
    for word in PROMISES {
        assert_eq!(faults("a.rs", &format!("// {word}: more\n")).len(), 1, "{word}");
        assert!(
            faults("a.rs", &format!("let A{word}S = 1;\n")).is_empty(),
            "{word}"
        );
    }
}

#[test]
fn nothing_names_one_machine() {
    for host in REGISTRY_HOSTS {
        assert_eq!(
            faults("a.toml", &format!("index = \"https://{host}/\"\n")).len(),
            1,
            "{host}"
        );
    }
    for home in HOMES {
        assert_eq!(faults("a.md", &format!("see {home}x/y\n")).len(), 1, "{home}");
        assert!(faults("a.md", &format!("see {home}you/y\n")).is_empty(), "{home}");
        assert!(faults("a.md", &format!("see var{home}x\n")).is_empty(), "{home}");
    }
}
