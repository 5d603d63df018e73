use super::*;

#[test]
fn a_pair_of_pem_files_gives_settings_and_broken_ones_say_which() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs_err::write(&cert, made.cert.pem()).unwrap();
    fs_err::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = server_config(&cert, &key, &[b"h2", b"http/1.1"]).unwrap();
    assert_eq!(config.alpn_protocols.len(), 2);

    assert!(matches!(
        server_config(&key, &key, &[]),
        Err(TlsError::Certificate { .. })
    ));
    assert!(matches!(
        server_config(&cert, &cert, &[]),
        Err(TlsError::Key { .. })
    ));
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs_err::write(&key, other.signing_key.serialize_pem()).unwrap();
    assert!(matches!(
        server_config(&cert, &key, &[]),
        Err(TlsError::Mismatch(_))
    ));
}
