use super::*;

/// Made by the NATS project's own library, with what it says the public key and a signature are.
const SEED: &str = "SUABZ4W7XQANX452P6J5C7JN3ZUZZAP7CORBZ7CUP2PSLHKLYDRJA4RH4Q";
const PUBLIC: &str = "UBU4DASIQEWKJD3UR2CQK3H7ZI4B64QBQJWIGTNZUXG5PUMBMEA2LAJK";
const SIGNATURE: &str = "057027db82e2b4c42a30445db937100df067e670f826744b806a465a508ee4ba\
                         8042bb48becf05c91a7375a38d89d9691515ed5b27d223614b9ce809c1d69000";

#[test]
fn a_seed_is_read_and_anything_else_is_not() {
    let key = UserKey::from_seed(SEED).unwrap();
    assert_eq!(key.public(), PUBLIC);
    let signature = BASE64URL_NOPAD.decode(key.sign("nonce").as_bytes()).unwrap();
    assert_eq!(data_encoding::HEXLOWER.encode(&signature), SIGNATURE);
    assert_eq!(format!("{key:?}"), "UserKey");
    let mut broken = SEED.to_owned();
    broken.replace_range(9..10, "A");
    for odd in ["", "SU", &broken, &SEED[1..], &key.public()] {
        assert!(UserKey::from_seed(odd).is_none(), "{odd}");
    }
}

#[test]
fn credentials_are_a_token_and_a_seed() {
    let file = format!(
        "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.c2ln\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\n\
         -----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
    );
    let (token, key) = credentials(&file).unwrap();
    assert_eq!(token, "eyJ0.eyJq.c2ln");
    assert_eq!(key.public(), UserKey::from_seed(SEED).unwrap().public());
    assert!(credentials("nothing").is_none());
}
