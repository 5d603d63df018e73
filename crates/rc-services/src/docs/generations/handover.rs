//! What a rebuilt generation takes over from the one that serves: what history no longer has, and what people decided.

use std::collections::HashMap;

use rc_events::letters::{LetterFilter, LetterState};
use rc_events::{Error, Letter, Place};

use crate::docs::store::Generation;

/// Keys that are looked at together.
const KEYS_AT_ONCE: i64 = 500;

/// Takes over the keys that are further along in `serving`: those whose events the bus has forgotten. `serving` may go
/// on meanwhile; `rebuilt` must stand. How many it were.
///
/// # Errors
/// As the stores say; it can be repeated.
pub(super) async fn fill(serving: &dyn Generation, rebuilt: &dyn Generation) -> Result<u64, Error> {
    let (mut after, mut taken) = (None, 0);
    loop {
        let keys = serving.keys_after(after.take(), KEYS_AT_ONCE).await?;
        let Some(last) = keys.last() else {
            return Ok(taken);
        };
        after = Some(last.place.clone());
        let behind = rebuilt.behind(keys).await?;
        if !behind.is_empty() {
            let given = serving.give(behind).await?;
            taken += given.len() as u64;
            rebuilt.take(given).await?;
        }
    }
}

/// Makes the letters of `rebuilt` what people made of them in `serving`; both stand still. An event that only the rebuilt
/// generation has set aside was decided about by a person: its key is taken over as it serves. One that both have set
/// aside keeps its edit, and stays given up. One that only `serving` holds has taken effect in the rebuilt one. How many
/// keys were taken over.
///
/// # Errors
/// As the stores say; it can be repeated.
pub(super) async fn settle(
    serving: &dyn Generation,
    rebuilt: &dyn Generation,
    now: rc_model::Timestamp,
) -> Result<u64, Error> {
    let (old, new) = (serving.books(), rebuilt.books());
    let mut places: Vec<Place> = letters(&*new)
        .await?
        .iter()
        .map(|letter| letter.event.place())
        .collect();
    places.sort();
    places.dedup();
    let mut taken = 0;
    for places in places.chunks(usize::try_from(KEYS_AT_ONCE).unwrap_or(1)) {
        let behind = rebuilt.behind(keys_of(serving, places).await?).await?;
        let given = serving.give(behind).await?;
        taken += given.len() as u64;
        rebuilt.take(given).await?;
    }
    let known: HashMap<_, _> = letters(&*old)
        .await?
        .into_iter()
        .map(|letter| (letter.event.id, letter))
        .collect();
    for letter in letters(&*new).await? {
        let Some(former) = known.get(&letter.event.id) else {
            continue;
        };
        if former.edited.is_some()
            && let Some(former) = old.get(former.number).await?
            && former.edited != letter.edited
        {
            new.set_edited(letter.number, letter.last, former.edited, now)
                .await?;
        }
        if former.state == LetterState::Dropped && letter.state != LetterState::Dropped {
            let one = LetterFilter {
                numbers: vec![letter.number],
                ..LetterFilter::default()
            };
            new.give_up(&one, now).await?;
        }
    }
    Ok(taken)
}

async fn keys_of(
    serving: &dyn Generation,
    places: &[Place],
) -> Result<Vec<rc_events::consumer::KeyAt>, Error> {
    let given = serving.give(places.to_vec()).await?;
    Ok(given.into_iter().map(|given| given.key).collect())
}

/// All letters, without payloads.
async fn letters(books: &dyn rc_events::Books) -> Result<Vec<Letter>, Error> {
    let mut all = Vec::new();
    let mut page = LetterFilter::default();
    loop {
        let found = books.list(&page).await?;
        let Some(last) = found.last() else {
            return Ok(all);
        };
        page.after = last.number;
        all.extend(found);
    }
}
