//! Streams of both kinds over loopback, and the certificates that tests of other hops need too.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector, server};

use super::*;

/// An authority that exists for one test.
pub(crate) struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) type Signed = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("a certificate");
        Authority { pem: own.pem(), der: own.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// What an administrator would give as `ca`.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn sign(&self, params: CertificateParams) -> Signed {
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        (signed.der().clone(), PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A server that shows this certificate and speaks http/1.1.
pub(crate) fn server((certificate, key): Signed) -> Arc<rustls::ServerConfig> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a key that fits");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Two ends of a TCP connection.
pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let addr = listener.local_addr().expect("bound");
    let (ours, theirs) = tokio::join!(TcpStream::connect(addr), listener.accept());
    (ours.expect("listening"), theirs.expect("connected").0)
}

/// Two ends of a TLS connection, ours first; the handshake is done.
pub(crate) async fn tls_pair() -> (Stream, server::TlsStream<TcpStream>) {
    let authority = Authority::new("ours");
    let server = server(authority.sign(CertificateParams::new(["localhost".to_owned()]).expect("a name")));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der).expect("an authority");
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let (ours, theirs) = tcp_pair().await;
    let name = ServerName::try_from("localhost").expect("a name");
    let (ours, theirs) = tokio::join!(connector.connect(name, ours), TlsAcceptor::from(server).accept(theirs));
    (Stream::Tls(Box::new(ours.expect("trusted"))), theirs.expect("a handshake"))
}

/// Sends a vectored write and reads the answer to the end.
async fn talks(mut ours: Stream, mut theirs: impl AsyncRead + AsyncWrite + Unpin) {
    assert!(ours.is_write_vectored() && ours.tcp().peer_addr().is_ok());
    let pieces = [IoSlice::new(b"all "), IoSlice::new(b"I say")];
    assert_eq!(ours.write_vectored(&pieces).await.expect("open"), 9);
    ours.shutdown().await.expect("open");
    let (mut heard, mut answer) = (String::new(), String::new());
    theirs.read_to_string(&mut heard).await.expect("a clean end");
    theirs.write_all(b"heard").await.expect("half open");
    theirs.shutdown().await.expect("half open");
    ours.read_to_string(&mut answer).await.expect("a clean end");
    assert_eq!((heard.as_str(), answer.as_str()), ("all I say", "heard"));
}

#[tokio::test]
async fn both_kinds_carry_bytes_and_half_closes() {
    let (ours, theirs) = tcp_pair().await;
    talks(Stream::Tcp(ours), theirs).await;
    let (ours, theirs) = tls_pair().await;
    talks(ours, theirs).await;
}
