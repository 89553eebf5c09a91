//! Makes a cluster's authority and the certificates of its nodes, for clusters without a public key infrastructure.
//!
//! ```text
//! <ca>/ca.pem          the authority; every node has a copy
//! <ca>/ca-key.pem      its key; belongs on no node
//! <node>/ca.pem        copy of the authority
//! <node>/node.pem      the node's certificate
//! <node>/node-key.pem  its key
//! ```
//!
//! Keys are readable by their owner only. Keys are of P-256.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use time::OffsetDateTime;

use crate::{
    error::PeerError,
    identity::NodeId,
    settings::TlsFiles,
    subject::{ANY_NODE, name_of},
    tls::check_chain,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an authority is valid if nothing else is said.
pub const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());
/// How long a certificate of a node is valid if nothing else is said.
pub const NODE_VALIDITY: Duration = Duration::from_secs(365 * DAY.as_secs());

/// Clocks of nodes may be apart by this much: certificates are valid from as long before they are made.
const CLOCKS_APART: Duration = Duration::from_secs(60 * 60);
/// Name of every authority made here; [`create_node`] relies on it.
const CA_NAME: &str = "abide cluster authority";

/// How files are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long the certificate is valid, from now.
    pub validity: Duration,
    /// Whether existing files are replaced.
    pub force: bool,
}

impl Options {
    /// Valid for ten years, nothing is replaced.
    #[must_use]
    pub fn for_ca() -> Self {
        Self { validity: CA_VALIDITY, force: false }
    }

    /// Valid for a year, nothing is replaced.
    #[must_use]
    pub fn for_node() -> Self {
        Self { validity: NODE_VALIDITY, force: false }
    }
}

/// Makes an authority: `ca.pem` and `ca-key.pem` in `dir`, which is made if it is missing.
///
/// # Errors
/// [`PeerError::Exists`] if a file exists and is not to be replaced, [`PeerError::File`], [`PeerError::Generate`].
pub fn create_ca(dir: &Path, options: Options) -> Result<(), PeerError> {
    let paths = [dir.join("ca-key.pem"), dir.join("ca.pem")];
    refuse_existing(&paths, options)?;
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = ca_params();
    validity(&mut params, options)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    make_dir(dir)?;
    write(&paths[0], &key.serialize_pem(), 0o600, options)?;
    write(&paths[1], &certificate.pem(), 0o644, options)
}

/// Makes the certificate of a node with the authority in `ca`: `ca.pem`, `node.pem` and `node-key.pem` in `dir`, which is
/// made if it is missing.
///
/// With a node number the certificate is good for that node only; without, for any node. `hosts` are names and addresses
/// that are added for other programs; nodes do not look at them.
///
/// # Errors
/// [`PeerError::Exists`] if a file exists and is not to be replaced, [`PeerError::Foreign`] if the authority was not made
/// by [`create_ca`] or its key is of another one, [`PeerError::File`], [`PeerError::Material`], [`PeerError::Generate`].
pub fn create_node(
    dir: &Path,
    ca: &Path,
    node: Option<NodeId>,
    hosts: &[String],
    options: Options,
) -> Result<TlsFiles, PeerError> {
    let files = TlsFiles::in_dir(dir);
    let copies_ca = dir.canonicalize().ok() != ca.canonicalize().ok();
    refuse_existing(&[files.key.clone(), files.certificate.clone()], options)?;
    if copies_ca {
        refuse_existing(std::slice::from_ref(&files.ca), options)?;
    }

    let (ca_path, ca_key_path) = (ca.join("ca.pem"), ca.join("ca-key.pem"));
    let broken = |path: &Path, reason: String| PeerError::Material { path: path.to_path_buf(), reason };
    let ca_pem = read(&ca_path)?;
    let ca_key = KeyPair::from_pem(&read(&ca_key_path)?).map_err(|error| broken(&ca_key_path, error.to_string()))?;

    let key = KeyPair::generate().map_err(failed)?;
    let mut params = node_params(node, hosts)?;
    validity(&mut params, options)?;
    let issuer = Issuer::new(ca_params(), &ca_key);
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;

    // The issuer was put together from the key alone, so the result is compared with the authority.
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let root = root.map_err(|error| broken(&ca_path, error.to_string()))?;
        roots.add(root).map_err(|error| broken(&ca_path, error.to_string()))?;
    }
    let asked = TlsFiles { ca: ca_path, ..files.clone() };
    match check_chain(&asked, &roots, &[certificate.der().clone()]) {
        // A validity that is over is what the caller asked for.
        Ok(()) | Err(PeerError::Expired { .. } | PeerError::NotYetValid { .. }) => {}
        Err(error) => return Err(error),
    }

    make_dir(dir)?;
    if copies_ca {
        write(&files.ca, &ca_pem, 0o644, options)?;
    }
    write(&files.key, &key.serialize_pem(), 0o600, options)?;
    write(&files.certificate, &certificate.pem(), 0o644, options)?;
    Ok(files)
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn node_params(node: Option<NodeId>, hosts: &[String]) -> Result<CertificateParams, PeerError> {
    let node = node.map_or_else(|| ANY_NODE.to_owned(), name_of);
    let mut params = CertificateParams::default();
    params.distinguished_name = name(&node);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    for host in std::iter::once(&node).chain(hosts) {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into().map_err(failed)?),
        });
    }
    Ok(params)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn validity(params: &mut CertificateParams, options: Options) -> Result<(), PeerError> {
    let now = OffsetDateTime::now_utc();
    let out_of_range = || PeerError::Generate { reason: "the validity is too long".to_owned() };
    let validity = options.validity.try_into().map_err(|_| out_of_range())?;
    params.not_before = now - CLOCKS_APART;
    params.not_after = now.checked_add(validity).ok_or_else(out_of_range)?;
    Ok(())
}

fn failed(error: rcgen::Error) -> PeerError {
    PeerError::Generate { reason: error.to_string() }
}

fn refuse_existing(paths: &[PathBuf], options: Options) -> Result<(), PeerError> {
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) if !options.force => Err(PeerError::Exists { path: path.clone() }),
        _ => Ok(()),
    }
}

fn make_dir(dir: &Path) -> Result<(), PeerError> {
    fs::create_dir_all(dir).map_err(|error| PeerError::file("create", dir, error))
}

fn read(path: &Path) -> Result<String, PeerError> {
    fs::read_to_string(path).map_err(|error| PeerError::file("read", path, error))
}

/// Writes beside the file and renames, so that a node that reads its certificates again finds whole files.
fn write(path: &Path, content: &str, mode: u32, options: Options) -> Result<(), PeerError> {
    let new = path.with_extension("pem.tmp");
    let write = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        if options.force {
            fs::rename(&new, path)
        } else {
            // Unlike a rename, a link does not replace what came there meanwhile.
            fs::hard_link(&new, path)?;
            fs::remove_file(&new)
        }
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => PeerError::Exists { path: path.to_path_buf() },
        _ => PeerError::file("write", path, error),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::TlsStore;

    #[test]
    fn certificates_are_good_for_their_node() {
        let dir = tempfile::tempdir().unwrap();
        create_ca(dir.path(), Options::for_ca()).unwrap();
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let node = dir.path().join("1");
        let files = create_node(&node, dir.path(), Some(1), &hosts, Options::for_node()).unwrap();
        assert_eq!(files, TlsFiles::in_dir(&node));
        TlsStore::open(files.clone(), None).unwrap();
        TlsStore::open(files.clone(), Some(1)).unwrap();
        assert_eq!(TlsStore::open(files.clone(), Some(2)).err().unwrap().code(), "PE009");
        for key in [files.key, dir.path().join("ca-key.pem")] {
            assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let any = create_node(&dir.path().join("any"), dir.path(), None, &[], Options::for_node()).unwrap();
        TlsStore::open(any, Some(7)).unwrap();
        // One folder for all serves a single machine.
        let same = create_node(dir.path(), dir.path(), None, &[], Options::for_node()).unwrap();
        TlsStore::open(same, Some(7)).unwrap();
    }

    #[test]
    fn nothing_is_replaced_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        create_ca(dir.path(), Options::for_ca()).unwrap();
        let first = read(&dir.path().join("ca.pem")).unwrap();
        assert_eq!(create_ca(dir.path(), Options::for_ca()).unwrap_err().code(), "PE011");
        assert_eq!(read(&dir.path().join("ca.pem")).unwrap(), first);
        create_ca(dir.path(), Options { force: true, ..Options::for_ca() }).unwrap();
        assert_ne!(read(&dir.path().join("ca.pem")).unwrap(), first);

        let node = dir.path().join("node");
        create_node(&node, dir.path(), None, &[], Options::for_node()).unwrap();
        assert_eq!(create_node(&node, dir.path(), None, &[], Options::for_node()).unwrap_err().code(), "PE011");
        create_node(&node, dir.path(), None, &[], Options { force: true, ..Options::for_node() }).unwrap();
        assert!(!node.join("node.pem.tmp").exists());
    }

    #[test]
    fn expired_and_foreign_certificates_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        create_ca(dir.path(), Options::for_ca()).unwrap();
        let expired = Options { validity: Duration::ZERO, force: false };
        let files = create_node(&dir.path().join("expired"), dir.path(), None, &[], expired).unwrap();
        std::thread::sleep(Duration::from_millis(1_100));
        assert_eq!(TlsStore::open(files, None).err().unwrap().code(), "PE006");

        let other = dir.path().join("other");
        create_ca(&other, Options::for_ca()).unwrap();
        let mut files = create_node(&dir.path().join("node"), dir.path(), None, &[], Options::for_node()).unwrap();
        files.ca = other.join("ca.pem");
        assert_eq!(TlsStore::open(files.clone(), None).err().unwrap().code(), "PE008");
        fs::copy(dir.path().join("ca-key.pem"), other.join("ca-key.pem")).unwrap();
        assert_eq!(
            create_node(&dir.path().join("bad"), &other, None, &[], Options::for_node()).unwrap_err().code(),
            "PE008"
        );

        fs::write(&files.certificate, "nonsense").unwrap();
        assert_eq!(TlsStore::open(files.clone(), None).err().unwrap().code(), "PE005");
        fs::remove_file(&files.certificate).unwrap();
        assert_eq!(TlsStore::open(files, None).err().unwrap().code(), "PE004");
    }
}
