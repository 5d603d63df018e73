//! Whose certificates the client believes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::config::Trust;
use crate::error::Error;

/// Where systems keep their bundle: Debian, Fedora, openSUSE, Alpine and BSD.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Largest bundle that is read; Debian's is 0.2 MiB.
const BUNDLE_BYTES_MAX: u64 = 16 << 20;

/// A connector that believes what `trust` says. Certificates in a bundle that cannot be used (an odd old
/// one in the system's) are passed over as long as one can be.
pub(crate) fn connector(trust: &Trust) -> Result<TlsConnector, Error> {
    let path = match trust {
        Trust::File(path) => path.clone(),
        Trust::System => SYSTEM_BUNDLES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.is_file())
            .ok_or_else(|| Error::config("this system has no bundle of certificate authorities; name a PEM file with the ones to believe"))?,
    };
    let mut roots = RootCertStore::empty();
    let (usable, _odd) = roots.add_parsable_certificates(read_bundle(&path)?);
    if usable == 0 {
        return Err(Error::config(format!(
            "`{}` holds no certificate that can be used",
            path.display()
        )));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config("TLS cannot be set up").because(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn read_bundle(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed =
        |error: std::io::Error| Error::config("the certificate authorities cannot be read").because(error);
    let size = fs_err::metadata(path).map_err(failed)?.len();
    if size > BUNDLE_BYTES_MAX {
        return Err(Error::config(format!(
            "`{}` has {size} bytes, a bundle has at most {BUNDLE_BYTES_MAX}",
            path.display()
        )));
    }
    let pem = fs_err::read(path).map_err(failed)?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::config(format!("`{}` is not a PEM file", path.display())).because(error))
}
