use super::*;
use crate::audit::{Actor, Reason};
use rc_store::{Postgres, PostgresOptions, Sqlite, SqliteOptions};

use super::super::keys::POSTGRES_SCHEMA;

const NOW: Timestamp = Timestamp::from_unix_ms(1_795_255_200_000);

fn share(percent: f64) -> Share {
    Share::from_percent(percent).unwrap()
}

fn rollout(percent: f64) -> Rollout {
    serde_json::from_value(serde_json::json!({"service": "docs", "to": "v2", "percent": percent})).unwrap()
}

fn set(percent: f64, generation: Option<u64>) -> Wish {
    Wish {
        to: Target::Percent(share(percent)),
        generation,
        owner: Owner::Ramp,
        overrides: false,
    }
}

fn back() -> Wish {
    Wish {
        to: Target::Back,
        ..set(0.0, None)
    }
}

fn by_rollout(wish: Wish) -> Wish {
    Wish {
        owner: Owner::Rollout("docs-v2-7".to_owned()),
        ..wish
    }
}

fn change(wish: Wish) -> Change {
    Change {
        name: RolloutId::new("docs-v2").unwrap(),
        rollout: rollout(10.0),
        wish,
        asked: Asked {
            actor: Actor::OsUser(1000),
            reason: Reason {
                code: "asked",
                text: Some("looks well".to_owned()),
            },
            trace_id: None,
        },
        at: NOW,
        traffic: Traffic::new(),
    }
}

fn decided(current: Option<&Ramp>, wish: Wish) -> Result<Changed, Refused> {
    change(wish).decide(current)
}

fn ramp(current: Option<&Ramp>, wish: Wish) -> Ramp {
    decided(current, wish).unwrap().into_ramp()
}

#[test]
fn a_weight_goes_up_and_back_to_what_it_was() {
    let first = ramp(None, set(30.0, None));
    assert_eq!((first.weight.generation, first.weight.percent), (1, share(30.0)));
    assert_eq!(first.before.percent, share(10.0), "the start value");
    let second = ramp(Some(&first), set(60.0, Some(1)));
    let undone = ramp(Some(&second), back());
    assert_eq!(
        (undone.weight.generation, undone.weight.percent),
        (3, share(30.0))
    );
    // Once more is the other way.
    assert_eq!(ramp(Some(&undone), back()).weight.percent, share(60.0));
    assert_eq!(decided(None, back()), Err(Refused::NothingBefore));
}

#[test]
fn whoever_saw_an_older_generation_loses() {
    let first = ramp(None, set(30.0, Some(0)));
    let late = decided(Some(&first), set(50.0, Some(0)));
    assert_eq!(
        late,
        Err(Refused::Generation {
            wanted: 0,
            found: 1,
            percent: share(30.0)
        })
    );
    assert!(decided(None, set(50.0, Some(4))).is_err());
    assert!(
        decided(
            Some(&first),
            Wish {
                generation: Some(0),
                ..back()
            }
        )
        .is_err()
    );
}

#[test]
fn the_same_wish_under_the_same_generation_is_granted_once() {
    let first = ramp(None, by_rollout(set(30.0, Some(0))));
    let again = decided(Some(&first), by_rollout(set(30.0, Some(0)))).unwrap();
    assert_eq!(again, Changed::Already(first.clone()));
    assert_eq!(
        decided(Some(&first), by_rollout(set(30.0, None))).unwrap(),
        Changed::Already(first.clone())
    );
    // Another's is not the same.
    assert!(decided(Some(&first), set(30.0, Some(0))).is_err());
}

#[test]
fn what_a_rollout_owns_is_moved_by_itself_or_with_an_override() {
    let owned = ramp(None, by_rollout(set(30.0, None)));
    for wish in [set(50.0, None), back()] {
        assert_eq!(
            decided(Some(&owned), wish.clone()),
            Err(Refused::Owned(Owner::Rollout("docs-v2-7".to_owned())))
        );
        let taken = Wish {
            overrides: true,
            ..wish
        };
        assert_eq!(ramp(Some(&owned), taken).weight.owner, Owner::Ramp);
    }
    let on = ramp(Some(&owned), by_rollout(set(60.0, Some(1))));
    assert_eq!(on.weight.percent, share(60.0));
}

/// The contract of the store, the same on both engines.
async fn contract(store: KeyStore) {
    store.migrate().await.unwrap();
    assert_eq!(store.ramps().await.unwrap(), Ramps::new());
    let first = store
        .change_ramp(change(set(30.0, None)))
        .await
        .unwrap()
        .into_ramp();
    let name = RolloutId::new("docs-v2").unwrap();
    assert_eq!(
        store.ramps().await.unwrap(),
        Ramps::from([(name.clone(), first.clone())])
    );

    // Two at once under one generation: one wins, and the other hears of it.
    let (one, other) = tokio::join!(
        store.change_ramp(change(set(40.0, Some(1)))),
        store.change_ramp(change(set(50.0, Some(1)))),
    );
    let lost = match (one, other) {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
        both => panic!("{both:?}"),
    };
    assert!(
        matches!(
            lost.downcast_ref::<Refused>(),
            Some(Refused::Generation { found: 2, .. })
        ),
        "{lost:?}"
    );
    let kept = store.ramps().await.unwrap();
    assert_eq!(kept[&name].weight.generation, 2);

    // Every change has its entry, and what was refused or granted before has none.
    let percent = kept[&name].weight.percent.percent();
    let again = store.change_ramp(change(set(percent, Some(1)))).await.unwrap();
    assert!(matches!(again, Changed::Already(_)));
    store.change_ramp(change(back())).await.unwrap();
    let limit = crate::audit::outbox::Limit {
        rows: usize::MAX,
        bytes: usize::MAX,
    };
    let batch = store.outbox().next(limit).await.unwrap();
    let actions: Vec<String> = batch
        .rows
        .iter()
        .map(|row| {
            let entry = rc_ledger::Entry::decode(&row.entry).unwrap();
            format!("{} {}", entry.action, entry.resource.id)
        })
        .collect();
    assert_eq!(
        actions,
        ["ramp.set docs-v2", "ramp.set docs-v2", "ramp.undo docs-v2"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_kept_on_postgresql() {
    let database = rc_test::Postgres::start().fresh_database();
    let options = PostgresOptions::new("rc-gateway", POSTGRES_SCHEMA);
    contract(KeyStore::postgres(
        Postgres::connect(&database.url, &options).unwrap(),
    ))
    .await;
}

#[tokio::test]
async fn weights_are_kept_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("gateway.db"), SqliteOptions::default()).unwrap();
    contract(KeyStore::sqlite(db)).await;
}
