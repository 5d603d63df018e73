//! TLS settings from PEM files. One cryptography provider, aws-lc-rs, chosen explicitly.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why TLS settings cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("no certificate in {path}")]
    Certificate {
        path: PathBuf,
        #[source]
        source: Option<rustls::pki_types::pem::Error>,
    },
    #[error("no private key in {path}")]
    Key {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("the certificate and the key do not fit together")]
    Mismatch(#[source] Box<rustls::Error>),
    #[error("no certificate authority can be believed: {path} holds none that can be used")]
    Authorities { path: PathBuf },
    #[error("this system has no bundle of certificate authorities; name a PEM file with the ones to believe")]
    NoBundle,
}

/// Where systems keep their certificate authorities: Debian, Fedora, openSUSE, Alpine and BSD.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Client settings with TLS 1.2 and 1.3 that believe the authorities in the PEM file `ca`, or the system's
/// when there is none. Odd certificates in a bundle are passed over as long as one can be used.
///
/// # Errors
/// When there is no bundle, it cannot be read, or holds nothing that can be used.
pub fn client_config(ca: Option<&Path>, alpn: &[&[u8]]) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let system = || SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.is_file());
    let path = ca.or_else(system).ok_or(TlsError::NoBundle)?;
    let authorities = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| TlsError::Certificate {
            path: path.to_owned(),
            source: Some(source),
        })?;
    let mut roots = rustls::RootCertStore::empty();
    let (usable, _odd) = roots.add_parsable_certificates(authorities);
    if usable == 0 {
        return Err(TlsError::Authorities {
            path: path.to_owned(),
        });
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Mismatch(Box::new(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Server settings with TLS 1.2 and 1.3 for the certificate chain and key in the given PEM files.
/// `alpn` lists the protocols in the order of preference.
///
/// # Errors
/// When a file cannot be read, holds no such object, or the two do not fit together.
pub fn server_config(
    certificate: &Path,
    key: &Path,
    alpn: &[&[u8]],
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let no_certificate = |source| TlsError::Certificate {
        path: certificate.to_owned(),
        source,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|source| no_certificate(Some(source)))?;
    if chain.is_empty() {
        return Err(no_certificate(None));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Key {
        path: key.to_owned(),
        source,
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mismatch = |error| TlsError::Mismatch(Box::new(error));
    let builder = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(mismatch)?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(mismatch)?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
