//! Names of tiles and entry bundles (C2SP tlog-tiles), and what is in them.

use crate::{Error, Hash};

/// Hashes in a full tile, entries in a full bundle.
pub(crate) const WIDTH: usize = 256;

/// Highest level of tiles that a name can have.
const LEVEL_MAX: u8 = 63;

/// Bytes of a hash.
const HASH_BYTES: usize = 32;

/// Which row of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    /// `tile/entries/`: the entries themselves.
    Entries,
    /// `tile/<L>/`: hashes.
    Level(u8),
}

/// One file below `tile/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tile {
    pub(crate) row: Row,
    pub(crate) index: u64,
    /// 1 to 256; 256 is a full one.
    pub(crate) width: usize,
}

impl Row {
    /// `tile/0`, `tile/entries`
    pub(crate) fn folder(self) -> String {
        match self {
            Self::Entries => "tile/entries".to_owned(),
            Self::Level(level) => format!("tile/{level}"),
        }
    }
}

impl Tile {
    pub(crate) fn new(row: Row, index: u64, width: usize) -> Self {
        debug_assert!((1..=WIDTH).contains(&width), "{width}");
        Self { row, index, width }
    }

    pub(crate) fn full(row: Row, index: u64) -> Self {
        Self::new(row, index, WIDTH)
    }

    pub(crate) fn is_full(self) -> bool {
        self.width == WIDTH
    }

    /// `tile/0/x001/x234/067` or `tile/0/x001/x234/067.p/8`, below the log's folder.
    pub(crate) fn path(self) -> String {
        let mut path = self.row.folder();
        path.push_str(&number(self.index));
        if !self.is_full() {
            path.push_str(&format!(".p/{}", self.width));
        }
        path
    }

    /// The folder of this index's partial files.
    pub(crate) fn partials(self) -> String {
        format!("{}{}.p", self.row.folder(), number(self.index))
    }

    /// Reads a path; only the one that [`Tile::path`] writes.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let (row, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let row = match row {
            "entries" => Row::Entries,
            level => Row::Level(level.parse().ok().filter(|level| *level <= LEVEL_MAX)?),
        };
        let (digits, width) = match rest.split_once(".p/") {
            None => (rest, WIDTH),
            Some((digits, width)) => (digits, width.parse().ok().filter(|w| (1..WIDTH).contains(w))?),
        };
        let mut index = 0_u64;
        for part in digits.split('/') {
            let three = part.strip_prefix('x').unwrap_or(part);
            let value: u64 = three.parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(value)?;
        }
        let tile = Self { row, index, width };
        (tile.path() == path).then_some(tile)
    }
}

/// `/x001/x234/067`
fn number(index: u64) -> String {
    let mut text = format!("/{:03}", index % 1000);
    let mut left = index / 1000;
    while left > 0 {
        text.insert_str(0, &format!("/x{:03}", left % 1000));
        left /= 1000;
    }
    text
}

/// The bytes of a tile.
pub(crate) fn join(hashes: &[Hash]) -> Vec<u8> {
    hashes.as_flattened().to_vec()
}

/// The hashes of a tile of `width`, of which `bytes` may hold more.
pub(crate) fn hashes(bytes: &[u8], width: usize) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    (rest.is_empty() && hashes.len() >= width).then(|| hashes[..width].to_vec())
}

/// Appends an entry to a bundle.
///
/// # Panics
/// When it is longer than an entry may be; the log refuses those before.
pub(crate) fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    let len = u16::try_from(entry.len()).expect("the log takes no entry of more than 65,535 bytes");
    bundle.extend_from_slice(&len.to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// Takes the next entry off the front of a bundle; `None` at its end.
pub(crate) fn next_entry<'a>(bundle: &mut &'a [u8], file: &str) -> Result<Option<&'a [u8]>, Error> {
    if bundle.is_empty() {
        return Ok(None);
    }
    let entry = bundle.split_first_chunk().and_then(|(len, rest)| {
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into())?;
        *bundle = rest;
        Some(entry)
    });
    entry
        .map(Some)
        .ok_or_else(|| Error::damaged(file, "an entry is longer than what is left of the file"))
}

#[cfg(test)]
mod tests;
