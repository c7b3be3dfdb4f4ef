//! A certificate authority of one test and the origins' certificate, made with openssl.

use super::program::tool;
use super::scratch::Scratch;

/// Makes ca.pem, leaf.pem and leaf.key; the leaf is good for every name under bench.example.
pub(crate) fn issue(scratch: &Scratch) {
    let dir = scratch.path("");
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let authority = ["openssl", "req", "-x509", "-nodes", "-days", "30"];
    let subject = ["-subj", "/CN=handyproxy tests", "-keyout", "ca.key", "-out", "ca.pem"];
    tool(&dir, &[&authority[..], &key, &subject].concat());

    let request = ["openssl", "req", "-nodes", "-subj", "/CN=bench.example"];
    let files = ["-keyout", "leaf.key", "-out", "leaf.csr"];
    tool(&dir, &[&request[..], &key, &files].concat());
    scratch.write(
        "leaf.ext",
        "subjectAltName=DNS:*.bench.example\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n",
    );
    let sign = ["openssl", "x509", "-req", "-in", "leaf.csr", "-days", "30"];
    let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    let out = ["-extfile", "leaf.ext", "-out", "leaf.pem"];
    tool(&dir, &[&sign[..], &by, &out].concat());
}

/// Makes a certificate and key for proxy.local, both in `NAME.pem`, signed by the authority while the clock said so.
pub(crate) fn issue_for_proxy(scratch: &Scratch, name: &str, clock: &[&str]) {
    let dir = scratch.path("");
    let request = ["openssl", "req", "-nodes", "-subj", "/CN=proxy", "-newkey", "ec"];
    let key = ["-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "proxy.key", "-out", "proxy.csr"];
    tool(&dir, &[&request[..], &key].concat());
    scratch.write("proxy.ext", "subjectAltName=DNS:proxy.local\nbasicConstraints=CA:FALSE\n");
    let sign = ["openssl", "x509", "-req", "-in", "proxy.csr", "-days", "30", "-extfile", "proxy.ext"];
    let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "proxy.crt"];
    tool(&dir, &[clock, &sign, &by].concat());
    let both = [scratch.read("proxy.crt"), scratch.read("proxy.key")].concat();
    scratch.write(&format!("{name}.pem"), both);
}

/// Makes an authority that signed nothing, `stranger.pem`.
pub(crate) fn issue_stranger(scratch: &Scratch) {
    let authority = ["openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=stranger", "-newkey", "ec"];
    let key = ["-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "stranger.key", "-out", "stranger.pem"];
    tool(&scratch.path(""), &[&authority[..], &key].concat());
}

/// The hash of the leaf's public key in the form in which browsers pin it.
pub(crate) fn pin(scratch: &Scratch) -> String {
    let script = "openssl x509 -in leaf.pem -pubkey -noout | openssl pkey -pubin -outform der \
                  | openssl dgst -sha256 -binary | openssl base64 -A";
    tool(&scratch.path(""), &["sh", "-c", script])
}
