use super::*;
use crate::tests::{entries, signer};
use crate::tree::root_of;

/// The receipt of the third of five entries, and the entries.
fn sample(signer: &crate::Signer) -> (Receipt, Vec<Vec<u8>>) {
    let entries = entries(1, 5);
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let left = root_of(&leaves[..2]);
    let proof = InclusionProof {
        index: 2,
        size: 5,
        hashes: vec![leaves[3], left, leaves[4]],
    };
    let checkpoint = signer.sign(5, root_of(&leaves), 1);
    (Receipt::new(proof, checkpoint), entries)
}

#[test]
fn a_receipt_stands_alone() {
    let signer = signer();
    let (receipt, entries) = sample(&signer);
    let text = receipt.text();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 2\n"));
    let opened = Receipt::open(&text, signer.vkeys()).unwrap();
    assert_eq!(opened, receipt);
    assert_eq!((opened.index(), opened.checkpoint().size()), (2, 5));
    opened.verify(&entries[2]).unwrap();
    for other in [0, 1, 3, 4] {
        assert_eq!(opened.verify(&entries[other]).unwrap_err().code(), "RC-LED-014");
    }
    let extra = text.replacen("\nindex", "\nextra AAAA\nindex", 1);
    Receipt::open(&extra, signer.vkeys())
        .unwrap()
        .verify(&entries[2])
        .unwrap();
}

#[test]
fn a_changed_byte_is_refused_or_proves_nothing() {
    let signer = signer();
    let (receipt, entries) = sample(&signer);
    let text = receipt.text();
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1 << (at % 7);
        let Ok(changed) = String::from_utf8(bytes) else {
            continue;
        };
        let holds = Receipt::open(&changed, signer.vkeys()).and_then(|receipt| receipt.verify(&entries[2]));
        assert!(holds.is_err(), "byte {at}: {changed}");
    }
}

#[test]
fn other_texts_are_no_receipts() {
    let signer = signer();
    let (receipt, _) = sample(&signer);
    let text = receipt.text();
    let (head, note) = text.split_once("\n\n").unwrap();
    let hash = head.lines().last().unwrap();
    for bad in [
        String::new(),
        text.replacen("@v1", "@v2", 1),
        text.replacen("index 2", "index 02", 1),
        text.replacen("index 2", "index -2", 1),
        text.replacen("index 2\n", "", 1),
        text.replacen(hash, &hash[4..], 1),
        head.to_owned(),
        format!("{head}\n{}\n\n{note}", [hash; HASHES_MAX].join("\n")),
    ] {
        assert_eq!(
            Receipt::open(&bad, signer.vkeys()).unwrap_err().code(),
            "RC-LED-014",
            "{bad}"
        );
    }
    let stranger = crate::tests::signer();
    assert_eq!(
        Receipt::open(&text, stranger.vkeys()).unwrap_err().code(),
        "RC-LED-008"
    );
}
