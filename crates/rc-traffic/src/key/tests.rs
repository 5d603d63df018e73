use super::*;

fn table(keys: &[&ApiKey]) -> KeySet {
    keys.iter()
        .map(|key| KeyEntry {
            id: key.id().clone(),
            hash: key.hash(),
            tenant: TenantId::new("acme").unwrap(),
            user: None,
        })
        .collect()
}

#[test]
fn a_made_key_parses_and_proves_its_tenant() {
    let key = ApiKey::generate().unwrap();
    let other = ApiKey::generate().unwrap();
    assert_ne!(key.reveal(), other.reveal());
    assert_eq!(key.reveal().len(), KEY_BYTES);
    let again = ApiKey::parse(key.reveal()).unwrap();
    assert_eq!(again.id(), key.id());

    let keys = table(&[&key]);
    let shown = Presented::parse(key.reveal().as_bytes()).unwrap();
    assert_eq!(shown.verify(&keys).unwrap().tenant.as_str(), "acme");
    let shown = Presented::parse(other.reveal().as_bytes()).unwrap();
    assert!(shown.verify(&keys).is_none(), "an unknown id");
}

#[test]
fn a_right_id_with_a_wrong_secret_proves_nothing() {
    let key = ApiKey::generate().unwrap();
    let keys = table(&[&key]);
    for at in KEY_BYTES - KEY_SECRET_BYTES..KEY_BYTES {
        let mut wrong = key.reveal().as_bytes().to_vec();
        wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
        assert!(Presented::parse(&wrong).unwrap().verify(&keys).is_none());
    }
}

#[test]
fn an_empty_hash_in_the_table_opens_for_nobody() {
    let key = ApiKey::generate().unwrap();
    let entry = KeyEntry {
        id: key.id().clone(),
        hash: SecretHash::from_bytes([0; 32]),
        tenant: TenantId::new("acme").unwrap(),
        user: None,
    };
    let keys: KeySet = [entry].into_iter().collect();
    assert!(
        Presented::parse(key.reveal().as_bytes())
            .unwrap()
            .verify(&keys)
            .is_none()
    );
}

#[test]
fn malformed_keys_are_refused() {
    let good = format!("rck_{}_{}", "a".repeat(12), "B".repeat(32));
    assert!(Presented::parse(good.as_bytes()).is_some());
    for bad in [
        String::new(),
        good[1..].to_owned(),
        format!("{good}x"),
        good.replace("rck_", "rck-"),
        format!("rck_{}_{}", "A".repeat(12), "B".repeat(32)),
        format!("rck_{}-{}", "a".repeat(12), "B".repeat(32)),
        format!("rck_{}_{}", "a".repeat(12), "B".repeat(31) + "-"),
        format!("rck_{}_{}", "a".repeat(12), "B".repeat(30) + "é"),
        format!("rck_{}_{}", "a".repeat(10) + "é", "B".repeat(32)),
    ] {
        assert!(Presented::parse(bad.as_bytes()).is_none(), "{bad}");
        assert!(ApiKey::parse(&bad).is_none(), "{bad}");
    }
}

#[test]
fn debug_output_never_holds_the_secret() {
    let key = ApiKey::generate().unwrap();
    let secret = &key.reveal()[KEY_BYTES - KEY_SECRET_BYTES..];
    let shown = Presented::parse(key.reveal().as_bytes()).unwrap();
    let printed = format!("{key:?} {shown:?} {:?}", key.hash());
    assert!(!printed.contains(secret), "{printed}");
    assert!(printed.contains(key.id().as_str()), "{printed}");
}

#[test]
fn every_letter_of_the_alphabet_comes_up() {
    let mut text = String::new();
    push_random(&mut text, 20_000, SECRET_ALPHABET).unwrap();
    for letter in SECRET_ALPHABET {
        let count = text.bytes().filter(|b| b == letter).count();
        // 20,000 / 62 = 323 expected; five standard deviations are 89.
        assert!((234..=412).contains(&count), "{}: {count}", char::from(*letter));
    }
}
