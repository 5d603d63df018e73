//! The Merkle tree of RFC 6962 and 9162 over SHA-256: hashes, proofs, and checking them.
//!
//! It refuses to know where hashes are kept: whoever has them hands them in through [`Nodes`].

use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::tile::WIDTH;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The root of a tree without leaves: SHA-256 of nothing.
pub(crate) fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The leaf of an entry: `SHA-256(0x00 || entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0])
        .chain_update(entry)
        .finalize()
        .into()
}

/// An inner node: `SHA-256(0x01 || left || right)`.
pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// The root over a power of two of neighbours.
///
/// # Panics
/// When their number is not a power of two.
pub(crate) fn perfect_root(hashes: &[Hash]) -> Hash {
    assert!(hashes.len().is_power_of_two(), "a perfect tree has 2^n leaves");
    if let [one] = hashes {
        return *one;
    }
    let (left, right) = hashes.split_at(hashes.len() / 2);
    node_hash(&perfect_root(left), &perfect_root(right))
}

/// The right edge of a growing tree: of each level of tiles, the hashes of the tile that is not full yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// An edge whose open tiles hold `levels`, from the leaves up.
    pub(crate) fn new(size: u64, levels: Vec<Vec<Hash>>) -> Self {
        Self { size, levels }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The open tile of `level`; empty when there is none.
    pub(crate) fn open(&self, level: usize) -> &[Hash] {
        self.levels.get(level).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Adds a leaf; `full` is told every tile that this fills: its level, its index, its hashes.
    pub(crate) fn push<E>(
        &mut self,
        leaf: Hash,
        mut full: impl FnMut(u8, u64, &[Hash]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.size += 1;
        let mut carry = leaf;
        let mut count = self.size;
        for level in 0.. {
            if self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            let open = &mut self.levels[level];
            open.push(carry);
            if open.len() < WIDTH {
                break;
            }
            count /= WIDTH as u64;
            let number = u8::try_from(level).expect("a tree of 2^64 leaves has 8 levels of tiles");
            full(number, count - 1, open)?;
            carry = perfect_root(open);
            open.clear();
        }
        Ok(())
    }

    /// The root of the tree so far.
    pub(crate) fn root(&self) -> Hash {
        let mut root = None;
        for open in &self.levels {
            // The peaks of a level from the right: perfect trees of 1, 2, 4, ... of its hashes.
            let mut end = open.len();
            for bit in 0..usize::BITS {
                let len = 1 << bit;
                if open.len() & len == 0 {
                    continue;
                }
                let peak = perfect_root(&open[end - len..end]);
                end -= len;
                root = Some(root.map_or(peak, |right| node_hash(&peak, &right)));
            }
        }
        root.unwrap_or_else(empty_root)
    }
}

/// The root over leaves that are all at hand; for checking small logs and proofs of whole lists.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// Where hashes of perfect subtrees come from.
pub(crate) trait Nodes {
    /// The root over leaves `index << level .. (index + 1) << level`.
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Error>;
}

/// The largest power of two that is less than `n`; `n` is at least 2.
fn split(n: u64) -> u64 {
    1 << (u64::BITS - 1 - (n - 1).leading_zeros())
}

/// The root over leaves `lo..hi`, a range that RFC 6962 splits trees into.
pub(crate) fn range_root(nodes: &mut impl Nodes, lo: u64, hi: u64) -> Result<Hash, Error> {
    let len = hi - lo;
    if len.is_power_of_two() {
        return nodes.node(len.trailing_zeros(), lo / len);
    }
    let mid = lo + split(len);
    let left = range_root(nodes, lo, mid)?;
    Ok(node_hash(&left, &range_root(nodes, mid, hi)?))
}

/// The root of the first `size` leaves.
pub(crate) fn root_at(nodes: &mut impl Nodes, size: u64) -> Result<Hash, Error> {
    if size == 0 {
        return Ok(empty_root());
    }
    range_root(nodes, 0, size)
}

/// `PATH(index, D[0:size])` of RFC 6962 2.1.1, from the leaf's sibling up; `index` is less than `size`.
pub(crate) fn inclusion_proof(nodes: &mut impl Nodes, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
    let mut proof = Vec::new();
    let (mut lo, mut hi) = (0, size);
    while hi - lo > 1 {
        let mid = lo + split(hi - lo);
        if index < mid {
            proof.push(range_root(nodes, mid, hi)?);
            hi = mid;
        } else {
            proof.push(range_root(nodes, lo, mid)?);
            lo = mid;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// `PROOF(old, D[0:new])` of RFC 6962 2.1.2; empty when `old` is 0 or `new`. `old` is at most `new`.
pub(crate) fn consistency_proof(nodes: &mut impl Nodes, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(proof);
    }
    let (mut lo, mut hi) = (0, new);
    while hi != old {
        let mid = lo + split(hi - lo);
        if old <= mid {
            proof.push(range_root(nodes, mid, hi)?);
            hi = mid;
        } else {
            proof.push(range_root(nodes, lo, mid)?);
            lo = mid;
        }
    }
    // The old tree itself is known to who asks, unless it is only a part of the left.
    if lo > 0 {
        proof.push(range_root(nodes, lo, hi)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that `leaf` is at `index` of the tree of `size` leaves with this root (RFC 9162 2.1.3.2).
///
/// # Errors
/// [`Error::Proof`] when it is not shown to be.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), Error> {
    if index >= size {
        return Err(failed("the index lies outside of the tree"));
    }
    let (mut first, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for step in proof {
        if last == 0 {
            return Err(failed("it is too long"));
        }
        if first & 1 == 1 || first == last {
            hash = node_hash(step, &hash);
            skip_left(&mut first, &mut last);
        } else {
            hash = node_hash(&hash, step);
        }
        first >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(failed("it is too short"));
    }
    if hash != *root {
        return Err(failed("it leads to another root"));
    }
    Ok(())
}

/// Checks that the tree of `new` leaves begins with the tree of `old` leaves (RFC 9162 2.1.4.2).
///
/// # Errors
/// [`Error::Proof`] when it is not shown to.
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), Error> {
    if old > new {
        return Err(failed("the older tree is larger"));
    }
    if old == new || old == 0 {
        let roots_fit = if old == 0 {
            *old_root == empty_root() && (new > 0 || old_root == new_root)
        } else {
            old_root == new_root
        };
        return match (proof.is_empty(), roots_fit) {
            (true, true) => Ok(()),
            (false, _) => Err(failed("it is too long")),
            (true, false) => Err(failed("the roots differ")),
        };
    }
    // An older tree that is perfect is itself the first step, and is left out.
    let own = old.is_power_of_two().then_some(old_root);
    let mut steps = own.into_iter().chain(proof);
    let (mut first, mut last) = (old - 1, new - 1);
    let shift = first.trailing_ones();
    first >>= shift;
    last >>= shift;
    let start = steps.next().ok_or_else(|| failed("it is too short"))?;
    let (mut old_hash, mut new_hash) = (*start, *start);
    for step in steps {
        if last == 0 {
            return Err(failed("it is too long"));
        }
        if first & 1 == 1 || first == last {
            old_hash = node_hash(step, &old_hash);
            new_hash = node_hash(step, &new_hash);
            skip_left(&mut first, &mut last);
        } else {
            new_hash = node_hash(&new_hash, step);
        }
        first >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(failed("it is too short"));
    }
    if old_hash != *old_root || new_hash != *new_root {
        return Err(failed("it leads to other roots"));
    }
    Ok(())
}

/// A node without a right sibling stands for its parent: go up until it is a right child itself.
fn skip_left(first: &mut u64, last: &mut u64) {
    while *first & 1 == 0 && *first != 0 {
        *first >>= 1;
        *last >>= 1;
    }
}

fn failed(what: &str) -> Error {
    Error::Proof(what.to_owned())
}

#[cfg(test)]
mod tests;
