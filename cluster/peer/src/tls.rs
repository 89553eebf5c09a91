//! TLS of both ends, from files that may change.
//!
//! TLS 1.3 only, with certificates of the cluster's authority on both ends. Names of hosts are not looked at: a
//! certificate says which nodes it speaks for (see [`crate::subject`]). Sessions are not resumed, so that every connection
//! is judged by the present files.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
};
use webpki::{EndEntityCert, KeyUsage};

use crate::{
    error::PeerError,
    identity::NodeId,
    quiet::Quiet,
    settings::TlsFiles,
    subject::{ANY_NODE, Subject},
};

/// What HTTP/2 is called in a TLS handshake.
const ALPN: &[u8] = b"h2";

/// The certificates in force.
pub(crate) struct Material {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verifier: Arc<WebPkiServerVerifier>,
    server: Arc<ServerConfig>,
}

impl Material {
    /// Settings for a connection that others opened.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// Settings for a connection to `node`, or to any node.
    pub(crate) fn client(&self, node: Option<NodeId>) -> Result<Arc<ClientConfig>, rustls::Error> {
        let verifier = Arc::new(NodeVerifier { verifier: self.verifier.clone(), node });
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Arc::new(config))
    }

    /// Reads and checks the files.
    fn read(files: &TlsFiles) -> Result<Self, PeerError> {
        let broken = |path: &Path, reason: String| PeerError::Material { path: path.to_path_buf(), reason };
        let roots_der = certificates(&files.ca)?;
        let chain = certificates(&files.certificate)?;
        let key = fs::read(&files.key).map_err(|error| PeerError::file("read", &files.key, error))?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| broken(&files.key, error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for root in roots_der {
            roots.add(root).map_err(|error| broken(&files.ca, error.to_string()))?;
        }
        check_chain(files, &roots, &chain)?;

        let roots = Arc::new(roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| broken(&files.ca, error.to_string()))?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| broken(&files.ca, error.to_string()))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| broken(&files.certificate, error.to_string()))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| broken(&files.key, error.to_string()))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        Ok(Self { chain, key, verifier, server: Arc::new(server) })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PeerError> {
    let broken = |reason: String| PeerError::Material { path: path.to_path_buf(), reason };
    let content = fs::read(path).map_err(|error| PeerError::file("read", path, error))?;
    let all = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| broken(error.to_string()))?;
    if all.is_empty() { Err(broken("it holds no certificate".to_owned())) } else { Ok(all) }
}

/// Judges the own certificate as the peers will.
pub(crate) fn check_chain(
    files: &TlsFiles,
    roots: &RootCertStore,
    chain: &[CertificateDer<'static>],
) -> Result<(), PeerError> {
    let path = files.certificate.clone();
    let (first, intermediates) = chain.split_first().expect("an empty file is refused");
    let certificate = EndEntityCert::try_from(first)
        .map_err(|error| PeerError::Material { path: path.clone(), reason: error.to_string() })?;
    let algorithms = provider().signature_verification_algorithms.all;
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        certificate
            .verify_for_usage(algorithms, &roots.roots, intermediates, UnixTime::now(), usage, None, None)
            .map_err(|error| match error {
                webpki::Error::CertExpired { .. } => PeerError::Expired { path: path.clone() },
                webpki::Error::CertNotValidYet { .. } => PeerError::NotYetValid { path: path.clone() },
                error => PeerError::Foreign { path: path.clone(), ca: files.ca.clone(), reason: error.to_string() },
            })?;
    }
    if Subject::of(first).is_none() {
        return Err(PeerError::NoNode { path });
    }
    Ok(())
}

/// Accepts a server's certificate if the authority signed it and it may speak for the node that is called.
#[derive(Debug)]
struct NodeVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    node: Option<NodeId>,
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = Subject::of(end_entity)
            .and_then(|subject| subject.name_for(self.node))
            .and_then(|name| ServerName::try_from(name).ok())
            .ok_or(rustls::Error::InvalidCertificate(CertificateError::NotValidForName))?;
        self.verifier.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// The name that TLS wants and nobody looks at.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(ANY_NODE).expect("it is a valid name")
}

/// When and how large the files were.
type Stamp = [(SystemTime, u64); 3];

/// The files, read again when they change.
pub(crate) struct TlsStore {
    files: TlsFiles,
    current: Mutex<(Option<Stamp>, Arc<Material>)>,
    complaints: Quiet<String>,
}

impl TlsStore {
    /// Reads the files for the first time.
    pub(crate) fn open(files: TlsFiles, node: Option<NodeId>) -> Result<Self, PeerError> {
        // The stamp is taken first: a change while the files are read makes them be read again.
        let stamp = stamp(&files).ok();
        let material = Material::read(&files)?;
        if let Some(node) = node
            && !Subject::of(&material.chain[0]).is_some_and(|subject| subject.allows(Some(node)))
        {
            return Err(PeerError::OtherNode { path: files.certificate, node });
        }
        Ok(Self { files, current: Mutex::new((stamp, Arc::new(material))), complaints: Quiet::new() })
    }

    /// What is in force for a new connection. Looks at the files, which is cheap beside a TLS handshake. Files that cannot
    /// be used (half written, expired) leave what was in force, and are tried again by the next connection.
    pub(crate) fn current(&self) -> Arc<Material> {
        let mut current = self.current.lock().expect("nothing panics while it holds the lock");
        let found = stamp(&self.files);
        match found {
            Ok(found) if current.0 == Some(found) => {}
            Ok(found) => match Material::read(&self.files) {
                Ok(material) => {
                    tracing::info!(certificate = %self.files.certificate.display(), "certificates of the node read again");
                    *current = (Some(found), Arc::new(material));
                    self.complaints.forget(|_| true);
                }
                Err(error) => self.complain(&error),
            },
            Err(error) => self.complain(&error),
        }
        current.1.clone()
    }

    fn complain(&self, error: &PeerError) {
        crate::metrics::tls_reload_failed();
        if self.complaints.first(error.to_string()) {
            tracing::error!(code = error.code(), %error, "changed certificates are not used; the earlier ones stay in force");
        }
    }
}

fn stamp(files: &TlsFiles) -> Result<Stamp, PeerError> {
    let stamp = |path: &Path| {
        let look = || fs::metadata(path).and_then(|metadata| Ok((metadata.modified()?, metadata.len())));
        look().map_err(|error| PeerError::file("look at", path, error))
    };
    Ok([stamp(&files.ca)?, stamp(&files.certificate)?, stamp(&files.key)?])
}
