use super::*;

fn run(mut command: Command, args: &[&str]) -> (bool, String) {
    let output = command.args(args).stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn a_small_disk_is_full_soon_and_only_for_its_own_process() {
    if let Some(why) = refused() {
        panic!("this kernel lets nobody mount a disk of their own: {why}");
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    let script = format!("head -c 3000000 /dev/zero >{at}/a");
    let (fine, said) = run(
        command_on(Disk::Small { mib: 2 }, folder.path(), "sh"),
        &["-c", &script],
    );
    assert!(!fine && said.contains("No space left"), "{said}");
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_read_only_disk_can_be_read_and_not_written() {
    if let Some(why) = refused() {
        panic!("this kernel lets nobody mount a disk of their own: {why}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("a"), "as it was").unwrap();
    let at = folder.path().to_str().unwrap();
    let script = format!("cat {at}/a; echo more >{at}/a");
    let (fine, said) = run(command_on(Disk::ReadOnly, folder.path(), "sh"), &["-c", &script]);
    assert!(
        !fine && said.contains("as it was") && said.contains("Read-only"),
        "{said}"
    );
    fs_err::write(folder.path().join("a"), "changed outside").unwrap();
}

#[test]
fn writes_fail_from_one_moment_to_the_next_and_succeed_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("a");
    let script = "while read line; do if echo more >\"$0\"; then echo fine; else echo failed; fi; done";
    let mut child = command_that_can_fail("sh")
        .args(["-c", script])
        .arg(&at)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(from));
    let mut ask = || {
        std::io::Write::write_all(&mut to, b"\n").unwrap();
        lines.next().unwrap().unwrap()
    };
    assert_eq!(ask(), "fine");
    fail_writes(child.id(), true);
    assert_eq!(ask(), "failed");
    fail_writes(child.id(), false);
    assert_eq!(ask(), "fine");
    drop(to);
    child.wait().unwrap();
}
