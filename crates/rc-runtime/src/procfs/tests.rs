use super::*;

#[test]
fn a_command_name_may_hold_anything() {
    let tail = "S 42 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3";
    for name in ["cat", "a b", ") S 1 (", "x)y", ""] {
        let process = parse_stat(7, &format!("7 ({name}) {tail}")).unwrap();
        assert_eq!(
            (process.parent, process.start_ticks, process.zombie),
            (42, 98765, false),
            "{name}"
        );
    }
    for bad in ["", "7", "7 (x", "7 (x)", "7 (x) S", "7 (x) S a 1"] {
        assert_eq!(parse_stat(7, bad), None, "{bad}");
    }
}

#[test]
fn this_process_is_seen_with_its_family() {
    let own = std::process::id();
    assert!(processes().iter().any(|process| process.pid == own));
    assert!(ancestry(own).contains(&process(own).unwrap().parent));
    assert!(memory(own) > 1 << 20);
    let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
    assert!(descendants(own).iter().any(|process| process.pid == child.id()));
    assert_eq!(command_line(child.id()).as_deref(), Some("sleep 30"));
    let seen = process(child.id()).unwrap();
    let other = Process {
        start_ticks: seen.start_ticks + 1,
        ..seen
    };
    signal(&other, Signal::KILL);
    assert!(
        child.try_wait().unwrap().is_none(),
        "a process of the same id is not the same process"
    );
    signal(&seen, Signal::KILL);
    assert!(!child.wait().unwrap().success());
}

#[test]
fn marks_are_found_by_name_and_prefix() {
    let mark = format!("/x/{}#", std::process::id());
    let start = |value: &str| {
        std::process::Command::new("sleep")
            .arg("30")
            .env("RC_TEST_MARK", value)
            .spawn()
            .unwrap()
    };
    let (mut ours, mut other) = (start(&format!("{mark}docs#1")), start("/y#docs#1"));
    // The environment is readable once the child has become `sleep`.
    let found = (0..200).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        Some(marked("RC_TEST_MARK", &mark)).filter(|found| !found.is_empty())
    });
    assert_eq!(
        found
            .unwrap()
            .iter()
            .map(|process| process.pid)
            .collect::<Vec<_>>(),
        [ours.id()]
    );
    for child in [&mut ours, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn the_holder_of_a_port_is_named() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    assert_eq!(listener(address).unwrap().pid, std::process::id());
    drop(socket);
    assert_eq!(listener(address), None);
}

#[test]
fn socket_tables_are_read_for_both_families() {
    let table = "  sl  local_address rem_address   st\n\
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 11 1\n\
        1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000 0 0 12 1\n\
        2: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 13 1\n\
        3: 0000000000000000FFFF00000100007F:1F92 0:0 0A 0:0 00:0 0 0 0 14 1\n\
        garbage\n";
    let inodes = |address: &str| listening_inodes(table, address.parse().unwrap());
    assert_eq!(inodes("127.0.0.1:8080"), [11]);
    assert_eq!(
        inodes("127.0.0.1:8081"),
        [13],
        "the unspecified address takes every address's port"
    );
    assert_eq!(inodes("127.0.0.1:8082"), [14]);
    assert!(inodes("127.0.0.2:8080").is_empty());
}
