use super::*;
use rc_store::{PostgresOptions, SqliteOptions};
use rc_traffic::key::{ApiKey, KeyTable as _, Presented};

const NOW: Timestamp = Timestamp::from_unix_ms(1_795_255_200_000);

fn record(tenant: &str, label: &str) -> (ApiKey, KeyRecord) {
    let key = ApiKey::generate().unwrap();
    let record = KeyRecord {
        key_id: key.id().clone(),
        tenant: TenantId::new(tenant).unwrap(),
        label: label.to_owned(),
        created_at: NOW,
        expires_at: None,
        revoked_at: None,
        hash: *key.hash().as_bytes(),
    };
    (key, record)
}

fn asked() -> Asked {
    Asked {
        actor: Actor::OsUser(1000),
        reason: Reason::of("asked"),
        trace_id: None,
    }
}

/// The contract of the keys' store, the same on both engines.
async fn contract(store: KeyStore) {
    store.migrate().await.unwrap();
    let (key, first) = record("acme", "ci");
    store.add(first.clone(), false, &asked()).await.unwrap();
    assert_eq!(store.list(NOW).await.unwrap(), std::slice::from_ref(&first));

    let records = store.list(NOW).await.unwrap();
    let set = key_set(&records, NOW, None);
    let presented = Presented::parse(key.reveal().as_bytes()).unwrap();
    assert_eq!(presented.verify(&set).unwrap().tenant.as_str(), "acme");

    // A replacement ends the keys of the same tenant and label, and no others.
    let (_, other_label) = record("acme", "laptop");
    let (_, other_tenant) = record("globex", "ci");
    let (_, second) = record("acme", "ci");
    for (record, replace) in [(&other_label, false), (&other_tenant, false), (&second, true)] {
        store.add(record.clone(), replace, &asked()).await.unwrap();
    }
    let valid: Vec<KeyId> = store
        .list(NOW)
        .await
        .unwrap()
        .into_iter()
        .filter(|record| record.is_valid(NOW))
        .map(|record| record.key_id)
        .collect();
    assert!(!valid.contains(&first.key_id));
    for record in [&other_label, &other_tenant, &second] {
        assert!(valid.contains(&record.key_id));
    }

    // Revoking is final, and the second time keeps the first time's moment.
    let revoked = store
        .revoke(&second.key_id, NOW, &asked())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(revoked.revoked_at, Some(NOW));
    let again = store
        .revoke(&second.key_id, NOW.plus(Duration::from_secs(60)), &asked())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.revoked_at, Some(NOW));
    assert_eq!(
        store
            .revoke(&KeyId::new("nobody").unwrap(), NOW, &asked())
            .await
            .unwrap(),
        None
    );

    // An expired key is listed and does not open the door.
    let (_, mut expiring) = record("acme", "short");
    expiring.expires_at = Some(NOW.plus(Duration::from_secs(60)));
    store.add(expiring.clone(), false, &asked()).await.unwrap();
    let records = store.list(NOW).await.unwrap();
    assert!(
        key_set(&records, NOW, None)
            .find(expiring.key_id.as_str())
            .is_some()
    );
    let later = NOW.plus(Duration::from_secs(60));
    assert!(
        key_set(&records, later, None)
            .find(expiring.key_id.as_str())
            .is_none()
    );

    // Long after their end, keys leave the list.
    let much_later = NOW.plus(KEEP_ENDED + Duration::from_secs(3600));
    let kept: Vec<KeyId> = store
        .list(much_later)
        .await
        .unwrap()
        .into_iter()
        .map(|record| record.key_id)
        .collect();
    assert!(!kept.contains(&second.key_id) && !kept.contains(&expiring.key_id));
    assert!(kept.contains(&other_tenant.key_id));
}

/// Each change of keys has its entries, in the same transaction; what did not happen has none.
async fn audited(store: KeyStore) {
    store.migrate().await.unwrap();
    let told = async || -> Vec<String> {
        let limit = audit::outbox::Limit {
            rows: usize::MAX,
            bytes: usize::MAX,
        };
        let batch = store.outbox().next(limit).await.unwrap();
        let last = batch.rows.last().map_or(0, |row| row.seq);
        store.outbox().delivered(last).await.unwrap();
        batch
            .rows
            .iter()
            .map(|row| {
                let entry = rc_ledger::Entry::decode(&row.entry).unwrap();
                format!("{} {} {}", entry.action, entry.resource.id, entry.reason.code)
            })
            .collect()
    };
    let (_, first) = record("acme", "ci");
    let (_, second) = record("acme", "ci");
    store.add(first.clone(), false, &asked()).await.unwrap();
    store.add(second.clone(), true, &asked()).await.unwrap();
    assert_eq!(
        told().await,
        [
            format!("key.create {} asked", first.key_id),
            format!("key.revoke {} replaced", first.key_id),
            format!("key.create {} asked", second.key_id),
        ]
    );
    store
        .revoke(&second.key_id, NOW, &asked())
        .await
        .unwrap()
        .unwrap();
    store
        .revoke(&second.key_id, NOW, &asked())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        store
            .revoke(&KeyId::new("nobody").unwrap(), NOW, &asked())
            .await
            .unwrap(),
        None
    );
    assert_eq!(told().await, [format!("key.revoke {} asked", second.key_id)]);

    // An act that cannot be recorded does not happen.
    let (_, kept) = record("acme", "kept");
    store.add(kept.clone(), false, &asked()).await.unwrap();
    let mut spoken = asked();
    spoken.reason.text = Some("x".repeat(audit::REASON_BYTES_MAX + 1));
    let (_, never) = record("acme", "kept");
    store.add(never.clone(), true, &spoken).await.unwrap_err();
    store.revoke(&kept.key_id, NOW, &spoken).await.unwrap_err();
    let act = asked().created(&kept).unwrap();
    let room = usize::try_from(audit::outbox::ACTS_WAIT_MAX).unwrap();
    store
        .outbox()
        .record(vec![act; room], audit::Room::Fact)
        .await
        .unwrap();
    let full = store.add(never.clone(), true, &asked()).await.unwrap_err();
    assert!(full.downcast_ref::<audit::Full>().is_some(), "{full:?}");
    let records = store.list(NOW).await.unwrap();
    assert!(records.iter().all(|found| found.key_id != never.key_id));
    let found = records.iter().find(|found| found.key_id == kept.key_id).unwrap();
    assert_eq!(found.revoked_at, None);

    // A leaked key does not live on because the ledger is away: its end has more room.
    let ended = store.revoke(&kept.key_id, NOW, &asked()).await.unwrap().unwrap();
    assert_eq!(ended.revoked_at, Some(NOW));
}

/// With the most keys that a tenant may have, a replacement ends none of them and tells of nothing.
async fn bounded(store: KeyStore) {
    store.migrate().await.unwrap();
    for number in 0..KEYS_PER_TENANT_MAX {
        let (_, key) = record("acme", &format!("{}", number % 2));
        store.add(key, false, &asked()).await.unwrap();
    }
    let before = store.outbox().waiting().await.unwrap();
    let (_, other) = record("acme", "other");
    let refused = store.add(other, true, &asked()).await.unwrap_err();
    assert_eq!(refused.downcast_ref::<TooMany>(), Some(&TooMany));
    assert_eq!(store.outbox().waiting().await.unwrap(), before);
}

#[tokio::test]
async fn changes_of_keys_are_told_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    for (name, many) in [("a.db", false), ("b.db", true)] {
        let store = KeyStore::sqlite(Sqlite::open(&dir.path().join(name), SqliteOptions::default()).unwrap());
        if many {
            bounded(store).await;
        } else {
            audited(store).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_keys_are_told_on_postgresql() {
    let server = rc_test::Postgres::start();
    for many in [false, true] {
        let database = server.fresh_database();
        let options = PostgresOptions::new("rc-gateway", "gateway");
        let store = KeyStore::postgres(rc_store::Postgres::connect(&database.url, &options).unwrap());
        if many {
            bounded(store).await;
        } else {
            audited(store).await;
        }
    }
}

#[tokio::test]
async fn keys_are_kept_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    let (key, kept) = record("acme", "survivor");
    let db = Sqlite::open(&path, SqliteOptions::default()).unwrap();
    contract(KeyStore::sqlite(db.clone())).await;
    KeyStore::sqlite(db.clone())
        .add(kept.clone(), false, &asked())
        .await
        .unwrap();
    db.close().await;
    drop(db);

    let file = fs_err::read(&path).unwrap();
    let secret = &key.reveal()[key.reveal().len() - 32..];
    let holds = |needle: &[u8]| file.windows(needle.len()).any(|window| window == needle);
    assert!(holds(kept.key_id.as_str().as_bytes()), "the id is there");
    assert!(!holds(secret.as_bytes()), "the secret is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_kept_on_postgresql() {
    let database = rc_test::Postgres::start().fresh_database();
    let db =
        rc_store::Postgres::connect(&database.url, &PostgresOptions::new("rc-gateway", "gateway")).unwrap();
    contract(KeyStore::postgres(db)).await;
}
