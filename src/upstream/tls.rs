//! TLS to a proxy: checked against the system's authorities or those that `ca` gives, by the name or the
//! address that was configured. What is wrong with a certificate is said in words that name the remedy.
//!
//! Sessions are resumed; what that needs is kept once per upstream, not per connection.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, Error, InvalidMessage, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{UpstreamHost, authorities};
use crate::stream::Stream;
use crate::wire::text;

/// How we speak TLS to the proxies of one upstream.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Trusts the authorities of `ca`, a PEM file's contents, or those of the system.
    ///
    /// # Errors
    /// There are none, in words.
    pub(super) fn new(ca: Option<&[u8]>) -> Result<Tls, String> {
        let roots = match ca {
            Some(pem) => Arc::new(authorities(pem)?),
            None => system_roots()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Makes the connection to `host` a private one. The caller sets the deadline.
    ///
    /// # Errors
    /// What failed, for people; the certificate's names in it are escaped and bounded.
    pub(super) async fn handshake(&self, tcp: TcpStream, host: &UpstreamHost) -> io::Result<Stream> {
        let name = match host {
            UpstreamHost::Ip(ip) => ServerName::from(*ip),
            UpstreamHost::Name(host) => ServerName::try_from(host.as_str().to_owned())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("TLS knows no name like {host}")))?,
        };
        match self.connector.connect(name, tcp).await {
            Ok(tls) => Ok(Stream::Tls(Box::new(tls))),
            Err(error) => Err(io::Error::new(error.kind(), format!("TLS handshake: {}", reason(&error)))),
        }
    }
}

/// The system's authorities, read once: they are the same for all upstreams, and a few hundred kilobytes.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(roots.clone());
    }
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // some systems keep a certificate that cannot be read among a hundred that can
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or(String::new(), |error| format!(": {error}"));
        return Err(format!("this system has no authorities to trust (package ca-certificates), give ca{why}"));
    }
    Ok(ROOTS.get_or_init(|| Arc::new(roots)).clone())
}

/// Why a handshake failed.
fn reason(error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "closed before it was done".to_owned(),
            _ => error.to_string(),
        };
    };
    match tls {
        Error::InvalidCertificate(why) => certificate(why),
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::MessageTooLarge) => {
            "the answer is no TLS: is this a http:// proxy?".to_owned()
        }
        Error::AlertReceived(alert) => format!("the proxy gave up with alert {alert:?}"),
        other => other.to_string(),
    }
}

/// What is wrong with a certificate, and what to do about it.
fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "certificate is not trusted (unknown issuer); give its authority with ca".to_owned()
        }
        // an authority that was made anew under its old name
        CertificateError::BadSignature => {
            "certificate is not trusted (its authority has the name but not the key of a trusted one); give its \
             authority with ca"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // as the library shows them: DnsName("a.example")
            let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
            let names = text::shown(presented.iter().map(bare).collect::<Vec<_>>().join(", ").as_bytes());
            let names = if names.is_empty() { "none at all".to_owned() } else { names };
            format!("certificate is for other names ({names}), not for {}", expected.to_str())
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("certificate expired on {}: check the clock, or have it renewed", day(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("certificate begins to be valid on {}: check the clock", day(*not_before))
        }
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "certificate is an authority's own (CA:TRUE), which no server may use: have it sign one".to_owned()
        }
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "certificate is not meant for a server (extended key usage)".to_owned()
        }
        other => format!("certificate is not valid: {other}"),
    }
}

/// The day, in UTC.
fn day(time: UnixTime) -> String {
    /// The last second that RFC 3339 can write.
    const LAST: u64 = 253_402_300_799;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs().min(LAST));
    humantime::format_rfc3339_seconds(time).to_string().chars().take("2026-01-01".len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Host;
    use crate::stream::tests::{Authority, server};
    use rcgen::{CertificateParams, IsCa, date_time_ymd};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    fn name(text: &str) -> UpstreamHost {
        UpstreamHost::Name(Host::parse(text.as_bytes()).expect("a valid name"))
    }

    fn proxy_params() -> CertificateParams {
        CertificateParams::new(["proxy.example".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]).expect("names")
    }

    /// A handshake with a server; what it says comes out of our end.
    async fn shake(tls: &Tls, server: Arc<rustls::ServerConfig>, host: &UpstreamHost) -> io::Result<Stream> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (tcp, accepted) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
        let tcp = tcp?;
        let accepted = accepted?.0;
        tokio::spawn(async move {
            if let Ok(mut stream) = TlsAcceptor::from(server).accept(accepted).await {
                let _ = stream.write_all(b"hello").await;
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut [0; 1]).await;
            }
        });
        let mut stream = tls.handshake(tcp, host).await?;
        let mut said = [0; 5];
        stream.read_exact(&mut said).await?;
        assert_eq!(&said, b"hello");
        Ok(stream)
    }

    #[tokio::test]
    async fn a_proxy_is_known_by_its_name_or_its_address() {
        let authority = Authority::new("ours");
        let tls = Tls::new(Some(authority.pem().as_bytes())).expect("an authority");
        let server = server(authority.sign(proxy_params()));
        for host in [name("proxy.example"), UpstreamHost::Ip("127.0.0.1".parse().expect("an address"))] {
            let Stream::Tls(stream) = shake(&tls, server.clone(), &host).await.expect("trusted") else {
                panic!("not encrypted")
            };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        }
        let error = shake(&tls, server.clone(), &name("other.example")).await.expect_err("another name").to_string();
        assert!(error.starts_with("TLS handshake: certificate is for other names ("), "{error}");
        assert!(error.contains("proxy.example") && error.ends_with("not for other.example"), "{error}");
        let ip = UpstreamHost::Ip("127.0.0.2".parse().expect("an address"));
        let error = shake(&tls, server, &ip).await.expect_err("another address").to_string();
        assert!(error.ends_with("not for 127.0.0.2"), "{error}");
    }

    #[tokio::test]
    async fn a_session_is_resumed() {
        let authority = Authority::new("ours");
        let tls = Tls::new(Some(authority.pem().as_bytes())).expect("an authority");
        let server = server(authority.sign(proxy_params()));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let Ok(Stream::Tls(stream)) = shake(&tls, server.clone(), &name("proxy.example")).await else {
                panic!("not trusted")
            };
            kinds.push(stream.get_ref().1.handshake_kind());
        }
        assert_eq!(kinds, [Some(rustls::HandshakeKind::Full), Some(rustls::HandshakeKind::Resumed)]);
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_certificate_is_said_with_the_remedy() {
        let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
        let tls = Tls::new(Some(ours.pem().as_bytes())).expect("an authority");
        let mut old = proxy_params();
        (old.not_before, old.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 3, 4));
        let mut young = proxy_params();
        (young.not_before, young.not_after) = (date_time_ymd(2900, 5, 6), date_time_ymd(2901, 1, 1));
        let mut authority = proxy_params();
        authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        for (signed, wanted) in [
            (theirs.sign(proxy_params()), "not trusted (unknown issuer); give its authority with ca"),
            (Authority::new("ours").sign(proxy_params()), "has the name but not the key of a trusted one"),
            (ours.sign(old), "certificate expired on 2002-03-04: check the clock"),
            (ours.sign(young), "certificate begins to be valid on 2900-05-06: check the clock"),
            (ours.sign(authority), "certificate is an authority's own (CA:TRUE)"),
        ] {
            let error = shake(&tls, server(signed), &name("proxy.example")).await.expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_no_tls_is_told_apart_from_what_hangs_up() {
        let authority = Authority::new("ours");
        let tls = Tls::new(Some(authority.pem().as_bytes())).expect("an authority");
        for (answer, wanted) in
            [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "is this a http:// proxy?"), (b"", "closed")]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
            let tcp = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("listening");
            let (mut accepted, _) = listener.accept().await.expect("connected");
            let answering = tokio::spawn(async move {
                let mut hello = [0; 4096];
                assert!(accepted.read(&mut hello).await.expect("a hello") > 0);
                accepted.write_all(answer).await.expect("open");
            });
            let error = tls.handshake(tcp, &name("proxy.example")).await.expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{error}");
            answering.await.expect("a hello");
        }
    }

    #[test]
    fn without_an_authority_there_is_no_tls() {
        assert!(Tls::new(Some(b"")).is_err());
        // the system may have some or none: either is said plainly
        if let Err(why) = Tls::new(None) {
            assert!(why.contains("give ca"), "{why}");
        }
    }

    #[test]
    fn days_are_shown_whatever_the_certificate_says() {
        for (seconds, wanted) in [(0, "1970-01-01"), (1 << 31, "2038-01-19"), (u64::MAX, "9999-12-31")] {
            assert_eq!(day(UnixTime::since_unix_epoch(Duration::from_secs(seconds))), wanted);
        }
    }
}
