//! How squid finds out who asks: ada with the password `geheim-ada` and bob with `geheim-bob`, whatever the scheme.

use super::kerberos::{Kerberos, SERVICE};
use super::program::PYTHON;
use super::squid::Squid;
use super::stage::Stage;

/// Who NTLM knows; jürgen is no user of a domain but of a forest, as Active Directory says.
pub(crate) const NTLM_USERS: &str = "BENCH:ada:geheim-ada\nBENCH:bob:geheim-bob\n:jürgen@bench.example:geheim-ß€😀\n";

const ACCESS: &str = "\
http_upgrade_request_protocols websocket allow all
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all";

/// squid that wants Basic.
pub(crate) fn basic(stage: &Stage) -> Squid {
    Squid::start(stage, "squid", &format!("http_port 3128\n{}", basic_lines(stage)))
}

/// Basic in the configuration of a squid, whatever its ports are.
pub(crate) fn basic_lines(stage: &Stage) -> String {
    // openssl passwd -1 -salt bench
    let users = "ada:$1$bench$.ZuL9fMzyde3frtOrKpiO0\nbob:$1$bench$8TqXXac1j3nyCWV7EVUAC/\n";
    stage.scratch().write("basic.users", users);
    let lines = "\
        auth_param basic program /usr/lib/squid/basic_ncsa_auth $DIR/../basic.users
        auth_param basic children 2 startup=1
        auth_param basic realm bench";
    format!("{lines}\n{ACCESS}")
}

/// squid that wants Digest, which is MD5 for it.
pub(crate) fn digest(stage: &Stage) -> Squid {
    // the MD5 of ada:bench:geheim-ada
    stage.scratch().write("squid/users", "ada:bench:3ccb9ec2311a3d1470162366910c736f\n");
    let lines = "\
        auth_param digest program /usr/lib/squid/digest_file_auth -c $DIR/users
        auth_param digest children 1 startup=1
        auth_param digest realm bench";
    Squid::start(stage, "squid", &format!("http_port 3128\n{lines}\n{ACCESS}"))
}

/// squid that wants NTLM, and verifies NTLMv2.
pub(crate) fn ntlm(stage: &Stage) -> Squid {
    let users = stage.scratch().write("ntlm.users", NTLM_USERS);
    // squid gives a program another name than its path, by which Python would not find its libraries
    let lines = format!(
        "auth_param ntlm program /usr/bin/env {PYTHON}/squid_ntlm.py
         auth_param ntlm children 4 startup=1"
    );
    let users = users.to_str().expect("a plain path");
    Squid::start_with(stage, "squid", &format!("http_port 3128\n{lines}\n{ACCESS}"), &[("NTLM_USER_FILE", users)])
}

/// squid that wants a ticket for the service of this realm.
pub(crate) fn negotiate(stage: &Stage, kerberos: &Kerberos) -> Squid {
    let lines = format!(
        "auth_param negotiate program /usr/lib/squid/negotiate_kerberos_auth -k {} -s {SERVICE}
         auth_param negotiate children 1 startup=1",
        kerberos.service_keytab()
    );
    let variables = [("KRB5_CONFIG", kerberos.configuration()), ("KRB5RCACHENAME", "none:")];
    Squid::start_with(stage, "squid", &format!("http_port 3128\n{lines}\n{ACCESS}"), &variables)
}
