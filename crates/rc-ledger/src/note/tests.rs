use super::*;
use crate::tests::{ORIGIN, signer};

/// The example of C2SP tlog-checkpoint's repository: made by somebody else's code.
const GO_VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

#[test]
fn vkeys_of_go_are_read_and_written_the_same() {
    let vkey = Vkey::parse(GO_VKEY).unwrap();
    assert_eq!((vkey.name(), vkey.algorithm()), ("PeterNeumann", "Ed25519"));
    assert_eq!(vkey.to_string(), GO_VKEY);
}

#[test]
fn a_signature_that_go_made_holds() {
    // golang.org/x/mod/sumdb/note signs the text as it is.
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let signature =
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
    let bytes = BASE64.decode(signature.as_bytes()).unwrap();
    let vkey = Vkey::parse(GO_VKEY).unwrap();
    assert_eq!(bytes[..4], vkey.id());
    let key = UnparsedPublicKey::new(&ED25519, &vkey.key);
    key.verify(text.as_bytes(), &bytes[4..]).unwrap();
}

#[test]
fn own_vkeys_come_back() {
    for vkey in signer().vkeys() {
        assert_eq!(&Vkey::parse(&vkey.to_string()).unwrap(), vkey);
        assert_eq!(vkey.name(), ORIGIN);
    }
}

#[test]
fn other_vkeys_are_refused() {
    let good = signer().vkeys()[0].to_string();
    let (name, rest) = good.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    let mut unknown = BASE64.decode(key.as_bytes()).unwrap();
    unknown[0] = 0x02;
    for bad in [
        String::new(),
        name.to_owned(),
        format!("{name}+{id}"),
        format!("{name}+00000000+{key}"),
        format!("{name}+{}+{key}", id.to_uppercase() + "0"),
        format!("other+{id}+{key}"),
        format!("+{id}+{key}"),
        format!("two words+{id}+{key}"),
        format!("{name}+{id}+{}", &key[..20]),
        format!("{name}+{id}+{}", BASE64.encode(&unknown)),
        format!("{good}\n"),
    ] {
        assert_eq!(Vkey::parse(&bad).unwrap_err().code(), "RC-LED-008", "{bad}");
    }
}

#[test]
fn notes_have_one_form() {
    let good = signer().sign(7, [9; 32], 5).text;
    Note::parse(&good).unwrap();
    let (_, signatures) = good.split_once("\n\n").unwrap();
    let root = BASE64.encode(&[9; 32]);
    for bad in [
        String::new(),
        good.trim_end().to_owned(),
        format!("{good}\n"),
        format!("{good}- x AAAA\n"),
        format!("{ORIGIN}\n7\n{root}\n\n"),
        format!("{ORIGIN}\n7\n{root}\nextension\n\n{signatures}"),
        format!("{ORIGIN}\n07\n{root}\n\n{signatures}"),
        format!("{ORIGIN}\n+7\n{root}\n\n{signatures}"),
        format!("{ORIGIN}\n-1\n{root}\n\n{signatures}"),
        format!("{ORIGIN}\n18446744073709551616\n{root}\n\n{signatures}"),
        format!("{ORIGIN}\n7\n{}\n\n{signatures}", BASE64.encode(&[9; 31])),
        format!("\n7\n{root}\n\n{signatures}"),
        format!("a b\n7\n{root}\n\n{signatures}"),
        good.replacen('\u{2014}', "-", 1),
        good.repeat(NOTE_BYTES_MAX / good.len() + 1),
    ] {
        assert!(Note::parse(&bad).is_err(), "{bad}");
    }
}
