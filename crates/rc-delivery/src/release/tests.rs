use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct Here {
    folder: tempfile::TempDir,
    releases: Releases,
}

impl Here {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let releases = Releases::new(folder.path().join("state").join("releases"));
        let here = Self { folder, releases };
        here.write("src/bin/serve", "#!/bin/sh\necho v1\n");
        here.write("src/conf/a.txt", "a");
        let program = here.path("src/bin/serve");
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("../conf/a.txt", here.path("src/bin/linked")).unwrap();
        here
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    fn build(&self) -> Result<Digest, ReleaseError> {
        self.build_as(&config("v1"))
    }

    fn build_as(&self, config: &ReleaseConfig) -> Result<Digest, ReleaseError> {
        let files = BTreeMap::from([("app".to_owned(), self.path("src"))]);
        self.releases.build(&Bundle {
            config,
            files: &files,
        })
    }

    /// All files of a release, largest first.
    fn blobs(&self, release: &Digest) -> Vec<PathBuf> {
        let mut blobs: Vec<PathBuf> = fs_err::read_dir(layout::blobs(&self.releases.folder(release)))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        blobs.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
        blobs
    }
}

fn config(version: &str) -> ReleaseConfig {
    ReleaseConfig {
        service: ServiceId::new("orders").unwrap(),
        command: vec!["app/bin/serve".to_owned()],
        env: BTreeMap::from([("VERSION".to_owned(), version.to_owned())]),
        ready: Some("/ready".to_owned()),
        catalog: "sha256:00".to_owned(),
        commit: None,
    }
}

#[test]
fn the_same_files_are_the_same_release_whenever_and_wherever() {
    let (here, there) = (Here::new(), Here::new());
    let release = here.build().unwrap();
    // Later, elsewhere, by another umask.
    let program = there.path("src/bin/serve");
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(there.build().unwrap(), release);
    assert_eq!(here.build().unwrap(), release);
    assert_eq!(here.releases.list().unwrap(), [release]);
    assert_eq!(here.releases.config(&release).unwrap(), config("v1"));

    let other = here.build_as(&config("v2")).unwrap();
    here.write("src/conf/a.txt", "b");
    let third = here.build().unwrap();
    assert!(release != other && other != third && release != third);
    assert_eq!(here.releases.list().unwrap().len(), 3);
    here.releases.remove(&other).unwrap();
    here.releases.remove(&other).unwrap();
    assert_eq!(here.releases.list().unwrap().len(), 2);
    assert!(matches!(
        here.releases.config(&other),
        Err(ReleaseError::Absent(_))
    ));
}

#[test]
fn a_release_runs_without_the_files_that_it_was_built_from() {
    let here = Here::new();
    let release = here.build().unwrap();
    fs_err::remove_dir_all(here.path("src")).unwrap();
    let into = here.path("run/orders");
    here.releases.unpack(&release, &into).unwrap();
    let said = std::process::Command::new(into.join("app/bin/serve"))
        .output()
        .unwrap();
    assert_eq!(said.stdout, b"v1\n");
    assert_eq!(fs_err::read_to_string(into.join("app/bin/linked")).unwrap(), "a");
    // Only its owner reads what may be secret.
    let mode = here
        .path("state/releases")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0);
}

#[test]
fn every_flipped_bit_of_a_release_is_noticed() {
    let here = Here::new();
    let release = here.build().unwrap();
    for (at, path) in here.blobs(&release).into_iter().enumerate() {
        let whole = fs_err::read(&path).unwrap();
        for place in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            fs_err::write(&path, &bytes).unwrap();
            let into = here.path(&format!("run/{at}-{place}"));
            let config = here.releases.config(&release).map(drop);
            let unpacked = here.releases.unpack(&release, &into);
            let noticed = [config, unpacked]
                .into_iter()
                .any(|result| matches!(result, Err(ReleaseError::Damaged { .. })));
            assert!(noticed, "{} at {place}", path.display());
        }
        // Cut off, and gone.
        fs_err::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(
            here.releases.unpack(&release, &here.path("run/cut")).is_err()
                || here.releases.config(&release).is_err()
        );
        fs_err::remove_file(&path).unwrap();
        let gone = here.path("run/gone");
        assert!(here.releases.unpack(&release, &gone).is_err() || here.releases.config(&release).is_err());
        fs_err::write(&path, &whole).unwrap();
        let _unpacked = fs_err::remove_dir_all(here.path("run"));
    }
    here.releases.unpack(&release, &here.path("run/whole")).unwrap();
}

#[test]
fn what_would_lead_out_of_a_release_is_refused() {
    let here = Here::new();
    for to in ["/etc/passwd", "../../../secret", "../../.."] {
        let link = here.path("src/bin/out");
        std::os::unix::fs::symlink(to, &link).unwrap();
        let refused = here.build().unwrap_err();
        assert!(
            matches!(&refused, ReleaseError::Unfit { path, .. } if path == "app/bin/out"),
            "{to}: {refused}"
        );
        fs_err::remove_file(link).unwrap();
    }
    for name in ["", "/app", "../app", "app/../x", "./app"] {
        let files = BTreeMap::from([(name.to_owned(), here.path("src"))]);
        let refused = here.releases.build(&Bundle {
            config: &config("v1"),
            files: &files,
        });
        assert!(matches!(refused, Err(ReleaseError::Unfit { .. })), "{name}");
    }
    let socket = std::os::unix::net::UnixListener::bind(here.path("src/socket")).unwrap();
    assert!(matches!(here.build(), Err(ReleaseError::Unfit { .. })));
    drop(socket);
    // Nothing of all that is left.
    let left = fs_err::read_dir(here.path("state/releases")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".lock"]);
}

#[test]
fn what_is_attached_refers_to_the_release_and_does_not_change_it() {
    let here = Here::new();
    let release = here.build().unwrap();
    let kind = "application/vnd.cyclonedx+json";
    assert_eq!(
        here.releases.attached(&release, kind).unwrap(),
        Vec::<Vec<u8>>::new()
    );
    for content in [&b"{\"bom\":1}"[..], b"{\"bom\":2}", b"{\"bom\":1}"] {
        here.releases.attach(&release, kind, kind, content).unwrap();
    }
    here.releases
        .attach(&release, "application/vnd.in-toto+json", kind, b"{}")
        .unwrap();
    let attached = here.releases.attached(&release, kind).unwrap();
    assert_eq!(attached, [b"{\"bom\":1}", b"{\"bom\":2}"]);
    assert_eq!(here.releases.config(&release).unwrap(), config("v1"));
    assert_eq!(here.build().unwrap(), release);
    // Building it again keeps what is known about it.
    assert_eq!(here.releases.attached(&release, kind).unwrap().len(), 2);
}

#[test]
fn what_somebody_left_who_died_is_removed_by_the_next() {
    let here = Here::new();
    let left = here.path("state/releases/.new-abc");
    fs_err::create_dir_all(left.join("blobs")).unwrap();
    assert_eq!(here.releases.list().unwrap(), []);
    here.build().unwrap();
    assert!(!left.exists());
}

#[test]
fn two_at_once_make_one_release() {
    let here = Here::new();
    std::thread::scope(|scope| {
        let made: Vec<_> = (0..4).map(|_| scope.spawn(|| here.build().unwrap())).collect();
        let made: std::collections::BTreeSet<Digest> =
            made.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(made.len(), 1);
    });
    assert_eq!(here.releases.list().unwrap().len(), 1);
}
