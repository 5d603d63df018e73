use std::path::Path;

use super::{Change, collect, differences, first_difference};

fn write(root: &Path, files: &[(&str, &str)]) {
    for (file, text) in files {
        let path = root.join(file);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
}

const OUTPUT: &[(&str, &str)] = &[
    ("cli.md", "# rc\n"),
    ("completions/rc.bash", "complete\n"),
    ("man/rc.1", ".TH\n"),
    ("apis/ingest.yaml", "openapi: 3.1.0\n"),
];

#[test]
fn changed_missing_and_left_over_files_are_told_apart() {
    let (out, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(out.path(), OUTPUT);
    write(
        root.path(),
        &[
            ("docs/reference/cli.md", "# rc\n"),
            ("completions/rc.bash", "old\n"),
            ("man/rc.1", ".TH\n"),
            ("man/rc-gone.1", ".TH\n"),
        ],
    );
    let changes = differences(root.path(), &collect(out.path()).unwrap()).unwrap();
    assert_eq!(
        changes,
        [
            Change::Write("apis/ingest.yaml".into()),
            Change::Write("completions/rc.bash".into()),
            Change::Remove("man/rc-gone.1".into()),
        ]
    );
}

#[test]
fn output_that_lacks_a_part_is_refused() {
    let out = tempfile::tempdir().unwrap();
    write(out.path(), &OUTPUT[..3]);
    assert!(collect(out.path()).unwrap_err().message.contains("wrote no apis"));
    fs_err::create_dir(out.path().join("apis")).unwrap();
    assert!(collect(out.path()).unwrap_err().message.contains("wrote no apis"));
}

#[test]
fn the_first_differing_line_is_shown_both_ways() {
    assert_eq!(first_difference(b"a\nb\n", b"a\nc\n"), "  line 2\n  - b\n  + c");
    assert_eq!(
        first_difference(b"a\n", b"a\nc\n"),
        "  line 2\n  - (end of file)\n  + c"
    );
    assert_eq!(first_difference(b"a", b"a\n"), "  only the line ends differ");
}
