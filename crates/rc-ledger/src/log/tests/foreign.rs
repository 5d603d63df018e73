//! The same log, read by other people's code: Go's sumdb (`tlog`, `note`), Tessera's fsck, another ML-DSA-44.

use std::process::Command;

use super::*;

/// The program of `fixtures/ledger`, which `cargo xtask setup` builds.
#[expect(
    clippy::disallowed_methods,
    reason = "a test finds the same cache as `cargo xtask setup`"
)]
fn checker() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    );
    let tool = cache.join("royalcrown/tools/bin/ledger-check");
    assert!(
        tool.is_file(),
        "{} is missing: run `cargo xtask setup`",
        tool.display()
    );
    tool
}

struct Foreign {
    checker: PathBuf,
    vkeys: PathBuf,
    older: PathBuf,
}

impl Foreign {
    /// What the checker prints, or what it complains about.
    fn check(&self, dir: &Path) -> Result<String, String> {
        let output = Command::new(&self.checker)
            .args([dir, &self.vkeys, &self.older])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }
}

#[test]
fn live_go_and_tessera_read_the_log_at_many_sizes() {
    let checker = checker();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("log");
    let keys = Keys::new();
    let mut log = Log::create(&dir, keys.signer(), None, clock()).unwrap();
    let foreign = Foreign {
        checker,
        vkeys: folder.path().join("vkeys"),
        older: folder.path().join("older"),
    };
    let vkeys: String = log
        .signer()
        .vkeys()
        .iter()
        .map(|key| format!("{key}\n"))
        .collect();
    fs_err::write(&foreign.vkeys, vkeys).unwrap();
    let mut older = String::new();
    let all = entries(1, 66_000);
    for size in [
        0, 1, 2, 3, 7, 8, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_793, 66_000,
    ] {
        while (log.size() as usize) < size {
            let at = log.size() as usize;
            log.append(&all[at..size.min(at + GROUP_ENTRIES_MAX)]).unwrap();
        }
        fs_err::write(&foreign.older, &older).unwrap();
        let found = foreign.check(&dir);
        let found = found.unwrap_or_else(|error| panic!("{size}: {error}"));
        let root = data_encoding::BASE64.encode(log.checkpoint().root());
        let start = format!("{{\"size\":{size},\"root\":\"{root}\",\"entries\":{size},");
        assert!(found.starts_with(&start), "{size}: {found}");
        let end = format!("\"mldsa44\":true,\"tessera\":{}}}\n", size > 0);
        assert!(found.ends_with(&end), "{size}: {found}");
        let proofs = older.lines().filter(|line| !line.starts_with("0 ")).count();
        assert!(
            found.contains(&format!("\"consistency\":{proofs},")),
            "{size}: {found}"
        );
        older.push_str(&format!("{size} {root}\n"));
    }
    // That it can say no: another root of an older size, another byte.
    let forged = format!("8 {}\n", data_encoding::BASE64.encode(&[7; 32]));
    fs_err::write(&foreign.older, forged).unwrap();
    let error = foreign.check(&dir).unwrap_err();
    assert!(error.contains("the tree of 8"), "{error}");
    fs_err::write(&foreign.older, "").unwrap();
    let tile = dir.join("tile/0/100");
    let mut bytes = fs_err::read(&tile).unwrap();
    bytes[99] ^= 1;
    fs_err::write(&tile, bytes).unwrap();
    assert!(foreign.check(&dir).is_err());
}
