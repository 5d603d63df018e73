use super::{REGISTRY, check_product, locked_faults};

fn lock(packages: &[(&str, &str, &str)]) -> String {
    packages
        .iter()
        .map(|(name, version, source)| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"{source}\"\n")
        })
        .collect()
}

fn faults(packages: &[(&str, &str, &str)]) -> Vec<String> {
    locked_faults(&lock(packages))
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn crates_whose_types_cross_ours_are_there_once() {
    assert!(
        faults(&[
            ("tokio", "1.48.0", REGISTRY),
            ("syn", "2.0.0", REGISTRY),
            ("syn", "3.0.0", REGISTRY)
        ])
        .is_empty()
    );
    assert_eq!(
        faults(&[("http", "0.2.0", REGISTRY), ("http", "1.4.0", REGISTRY)]),
        ["Cargo.lock: `http` is there more than once: 0.2.0, 1.4.0"]
    );
}

#[test]
fn other_sources_and_banned_crates_are_refused() {
    assert_eq!(faults(&[("a", "1.0.0", "git+https://example.com/a#1")]).len(), 1);
    assert_eq!(faults(&[("openssl-sys", "0.9.0", REGISTRY)]).len(), 1);
}

#[test]
fn the_product_has_one_cryptography_backend() {
    let product = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert!(check_product(&product(&["rc", "rustls", "aws-lc-sys", "string"])).is_empty());
    assert_eq!(check_product(&product(&["rc", "ring"])).len(), 1);
}
