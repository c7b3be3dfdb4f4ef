//! The authorities that a proxy's certificate is checked against, as `ca` gives them.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Reads the certificates of a PEM file; what else is in it, such as a key or a text, is passed over.
///
/// # Errors
/// There is no certificate in it, or one that cannot be an authority's: what is wrong, in words.
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (at, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let at = at + 1;
        let certificate = certificate.map_err(|error| format!("certificate {at} is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("certificate {at} cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in it: PEM begins with -----BEGIN CERTIFICATE-----".to_owned());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_sound_certificate_is_no_authority() {
        let sound = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
        let pem = sound.cert.pem();
        assert_eq!(authorities(format!("a text\n{pem}\n{pem}").as_bytes()).expect("two").len(), 2);
        let key = sound.signing_key.serialize_pem();
        for nothing in ["", "proxy.example", &key] {
            assert!(authorities(nothing.as_bytes()).expect_err("none").contains("no certificate in it"), "{nothing}");
        }
        let half = &pem[..pem.len() / 2];
        let second_half = format!("{pem}{half}");
        assert!(authorities(second_half.as_bytes()).expect_err("half of one").starts_with("certificate 2 is no PEM"));
        let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(authorities(other.as_bytes()).expect_err("zeroes").starts_with("certificate 1 cannot be used"));
    }
}
