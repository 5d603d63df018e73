use super::*;
use crate::tests::{ORIGIN, signer};

#[test]
fn both_keys_sign_and_unknown_lines_are_left_alone() {
    let (own, witness) = (signer(), signer());
    let signed = own.sign(42, [3; 32], 1_795_255_200);
    let foreign = witness.sign(42, [3; 32], 1).text;
    let text = format!("{}{}", signed.text, foreign.split_once("\n\n").unwrap().1);
    let opened = Checkpoint::open(&text, own.vkeys()).unwrap();
    assert_eq!((opened.origin(), opened.size()), (ORIGIN, 42));
    assert_eq!(opened.root(), &[3; 32]);
    assert_eq!(opened.signed_at_s(), Some(1_795_255_200));
    assert_eq!(opened.text(), text);
    // Who knows only the classic key needs only that.
    let classic = Checkpoint::open(&text, &own.vkeys()[..1]).unwrap();
    assert_eq!(classic.signed_at_s(), None);
}

#[test]
fn a_line_that_is_missing_is_a_refusal() {
    let signer = signer();
    let other = crate::tests::signer();
    let text = signer.sign(1, [1; 32], 1).text;
    for (at, _) in text.match_indices('\u{2014}') {
        let end = at + text[at..].find('\n').unwrap() + 1;
        let without = format!("{}{}", &text[..at], &text[end..]);
        assert!(Checkpoint::open(&without, signer.vkeys()).is_err());
    }
    assert!(Checkpoint::open(&text, &[]).is_err(), "no key is no trust");
    assert!(Checkpoint::open(&text, other.vkeys()).is_err());
}

#[test]
fn a_changed_byte_is_a_refusal() {
    let signer = signer();
    let text = signer.sign(300, [8; 32], 1_795_255_200).text;
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1 << (at % 7);
        let Ok(changed) = String::from_utf8(bytes) else {
            continue;
        };
        let opened = Checkpoint::open(&changed, signer.vkeys());
        assert!(opened.is_err(), "byte {at}: {changed}");
    }
}
