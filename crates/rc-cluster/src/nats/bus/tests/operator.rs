//! A server whose users are named by tokens that an operator's keys vouch for, as hosted ones are.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use rc_model::clock::SystemClock;
use serde_json::Value;

use super::super::super::key::crc16;
use super::*;

/// Which kind of key: the first letter of its text.
#[derive(Clone, Copy)]
enum Kind {
    Operator = 14 << 3,
    Account = 0,
    User = 20 << 3,
}

/// A key of its own for each number.
struct Key {
    kind: Kind,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl Key {
    fn new(kind: Kind, number: u8) -> Self {
        let seed = [number; 32];
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        Self { kind, seed, pair }
    }

    fn public(&self) -> String {
        text(&[&[self.kind as u8], self.pair.public_key().as_ref()].concat())
    }

    fn seed(&self) -> String {
        let kind = self.kind as u8;
        text(&[&[18 << 3 | kind >> 5, (kind & 31) << 3], &self.seed[..]].concat())
    }

    /// A token in which this key says what `of` may do.
    fn vouches(&self, of: &Self, claims: &Value) -> String {
        let claims = json!({
            "iat": 1_700_000_000, "iss": self.public(), "sub": of.public(), "jti": "x", "name": "test", "nats": claims,
        });
        let head = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
        let body = format!("{head}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
        let signature = BASE64URL_NOPAD.encode(self.pair.sign(body.as_bytes()).as_ref());
        format!("{body}.{signature}")
    }
}

fn text(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(&[bytes, &crc16(bytes).to_le_bytes()].concat())
}

fn account(storage: i64) -> Value {
    json!({"type": "account", "version": 2, "limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1,
        "wildcards": true, "mem_storage": storage, "disk_storage": storage, "streams": storage, "consumer": storage,
    }})
}

#[tokio::test]
async fn live_users_log_in_by_a_credentials_file() {
    let operator = Key::new(Kind::Operator, 1);
    let (shop, system) = (Key::new(Kind::Account, 2), Key::new(Kind::Account, 3));
    let settings = format!(
        "operator: \"{}\"\nresolver: MEMORY\nsystem_account: {}\nresolver_preload {{ {}: \"{}\", {}: \"{}\" }}",
        operator.vouches(&operator, &json!({"type": "operator", "version": 2})),
        system.public(),
        shop.public(),
        operator.vouches(&shop, &account(-1)),
        system.public(),
        operator.vouches(&system, &account(0)),
    );
    let server = Nats::start_own(Sync::Always, &settings);
    let user = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
    let folder = tempfile::tempdir().unwrap();
    // One of the account, and one whom nobody vouches for.
    for (number, by, known) in [(4, &shop, true), (5, &Key::new(Kind::Account, 6), false)] {
        let key = Key::new(Kind::User, number);
        let file = folder.path().join(format!("{number}.creds"));
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            by.vouches(&key, &user),
            key.seed()
        );
        fs_err::write(&file, creds).unwrap();
        let url = format!(
            "nats://{}/orders?durability=always&max_bytes=1000000&creds={}",
            server.address(),
            file.display()
        );
        let bus = NatsBus::new(NatsOptions::parse(&url).unwrap(), SystemClock::shared());
        let refused = bus.tail().await.err().map(|error| error.code());
        assert_eq!(refused, (!known).then_some("RC-EVT-045"), "{number}");
        if known {
            publish(&bus, 0, 5).await.unwrap();
            assert_exact(&bus, 5).await;
        }
    }
}
