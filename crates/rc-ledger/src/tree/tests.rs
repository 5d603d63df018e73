use super::*;

/// Sizes that are tried one by one: eight full tiles, and two leaves more.
const SIZES: u64 = 2_050;

fn leaf(index: u64) -> Hash {
    leaf_hash(&index.to_be_bytes())
}

/// Every perfect subtree of the first leaves, by level.
struct Perfect(Vec<Vec<Hash>>);

impl Perfect {
    fn new(size: u64) -> Self {
        let mut levels: Vec<Vec<Hash>> = vec![(0..size).map(leaf).collect()];
        while levels.last().is_some_and(|level| level.len() > 1) {
            let below = levels.last().unwrap();
            let (pairs, _) = below.as_chunks::<2>();
            levels.push(pairs.iter().map(|[left, right]| node_hash(left, right)).collect());
        }
        Self(levels)
    }
}

impl Nodes for Perfect {
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Error> {
        Ok(self.0[level as usize][index as usize])
    }
}

#[test]
fn hashes_are_those_of_rfc_6962() {
    let hex = |hash: Hash| data_encoding::HEXLOWER.encode(&hash);
    assert_eq!(
        hex(empty_root()),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(
        hex(leaf_hash(b"")),
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    );
    // The eight inputs of certificate-transparency's reference tests, and their roots.
    let inputs: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let leaves: Vec<Hash> = inputs.iter().map(|input| leaf_hash(input)).collect();
    for (size, root) in (1..).zip(roots) {
        assert_eq!(hex(root_of(&leaves[..size])), root, "{size}");
    }
}

#[test]
fn the_edge_has_the_root_of_every_size() {
    let mut nodes = Perfect::new(SIZES);
    let mut edge = Edge::default();
    assert_eq!(edge.root(), empty_root());
    let mut full = Vec::new();
    for size in 1..=SIZES {
        let told: Result<(), Error> = edge.push(leaf(size - 1), |level, index, hashes| {
            full.push((level, index, perfect_root(hashes)));
            Ok(())
        });
        told.unwrap();
        assert_eq!(edge.size(), size);
        assert_eq!(edge.root(), root_at(&mut nodes, size).unwrap(), "{size}");
    }
    let expect: Vec<(u8, u64, Hash)> = (0..8)
        .map(|index| (0, index, nodes.node(8, index).unwrap()))
        .collect();
    assert_eq!(full, expect);
}

#[test]
fn an_edge_fills_tiles_of_higher_levels() {
    let mut edge = Edge::default();
    let mut full = Vec::new();
    for index in 0..65_537_u64 {
        edge.push(leaf(index), |level, index, _| {
            full.push((level, index));
            Ok::<(), Error>(())
        })
        .unwrap();
    }
    assert_eq!(full.len(), 257);
    assert_eq!(full[255..], [(0, 255), (1, 0)]);
    assert_eq!(
        (edge.open(0).len(), edge.open(1).len(), edge.open(2).len()),
        (1, 0, 1)
    );
    assert_eq!(edge.root(), root_at(&mut Perfect::new(65_537), 65_537).unwrap());
}

#[test]
fn every_size_proves_every_boundary_leaf_and_every_older_size() {
    let mut nodes = Perfect::new(SIZES);
    let roots: Vec<Hash> = (0..=SIZES)
        .map(|size| root_at(&mut nodes, size).unwrap())
        .collect();
    for size in 1..=SIZES {
        let root = &roots[size as usize];
        // Every leaf of small trees; of larger ones those beside a power of two, a tile, and the end.
        let step = if size <= 130 { 1 } else { 61 };
        let beside = [0, 1, 127, 128, 255, 256, 257, 1023, 1024, size / 2, size - 1];
        let indices = (0..size)
            .step_by(step)
            .chain(beside.into_iter().filter(|i| *i < size));
        for index in indices {
            let proof = inclusion_proof(&mut nodes, index, size).unwrap();
            verify_inclusion(&leaf(index), index, size, &proof, root).unwrap();
            let other = leaf(index + 1);
            assert!(verify_inclusion(&other, index, size, &proof, root).is_err());
        }
        let step = if size <= 130 { 1 } else { 67 };
        let beside = [0, 1, 128, 255, 256, 512, 1024, 2048, size - 1, size];
        let olds = (0..=size)
            .step_by(step)
            .chain(beside.into_iter().filter(|i| *i <= size));
        for old in olds {
            let proof = consistency_proof(&mut nodes, old, size).unwrap();
            let old_root = &roots[old as usize];
            verify_consistency(old, old_root, size, root, &proof).unwrap();
            if old > 0 {
                let wrong = leaf(7);
                assert!(verify_consistency(old, &wrong, size, root, &proof).is_err());
                assert!(verify_consistency(old, old_root, size, &wrong, &proof).is_err());
            }
        }
    }
}

#[test]
fn proofs_that_were_changed_do_not_hold() {
    let mut nodes = Perfect::new(300);
    for (index, size) in [
        (0, 1),
        (0, 2),
        (5, 7),
        (255, 256),
        (256, 257),
        (17, 300),
        (299, 300),
    ] {
        let root = root_at(&mut nodes, size).unwrap();
        let proof = inclusion_proof(&mut nodes, index, size).unwrap();
        let check = |index, size, proof: &[Hash]| verify_inclusion(&leaf(index), index, size, proof, &root);
        check(index, size, &proof).unwrap();
        assert!(check(size, size, &proof).is_err(), "beyond the tree");
        for at in 0..proof.len() {
            let mut changed = proof.clone();
            changed[at][at % 32] ^= 1;
            assert!(check(index, size, &changed).is_err());
            changed.remove(at);
            assert!(check(index, size, &changed).is_err());
        }
        let mut longer = proof.clone();
        longer.push([0; 32]);
        assert!(check(index, size, &longer).is_err());
    }
    for (old, new) in [(1, 2), (3, 7), (4, 7), (256, 257), (255, 300), (256, 300)] {
        let roots = [old, new].map(|size| root_at(&mut nodes, size).unwrap());
        let proof = consistency_proof(&mut nodes, old, new).unwrap();
        let check = |old, new, proof: &[Hash]| verify_consistency(old, &roots[0], new, &roots[1], proof);
        check(old, new, &proof).unwrap();
        assert!(check(new, old, &proof).is_err(), "the wrong way round");
        assert!(check(old, old, &proof).is_err());
        for at in 0..proof.len() {
            let mut changed = proof.clone();
            changed[at][at % 32] ^= 1;
            assert!(check(old, new, &changed).is_err());
            changed.remove(at);
            assert!(check(old, new, &changed).is_err());
        }
        let mut longer = proof.clone();
        longer.push([0; 32]);
        assert!(check(old, new, &longer).is_err());
    }
}

#[test]
fn trees_without_leaves_or_of_one_size() {
    let root = root_of(&[leaf(0), leaf(1)]);
    verify_consistency(0, &empty_root(), 0, &empty_root(), &[]).unwrap();
    verify_consistency(0, &empty_root(), 2, &root, &[]).unwrap();
    verify_consistency(2, &root, 2, &root, &[]).unwrap();
    assert!(verify_consistency(0, &root, 2, &root, &[]).is_err());
    assert!(verify_consistency(2, &root, 2, &empty_root(), &[]).is_err());
    assert!(verify_consistency(0, &empty_root(), 0, &root, &[]).is_err());
    assert!(verify_consistency(2, &root, 2, &root, &[root]).is_err());
}
