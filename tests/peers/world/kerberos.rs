//! A realm of MIT Kerberos: a KDC beyond the gateway, ada in it, and the proxy as a service.

use super::program::{Service, tool_with};
use super::stage::Stage;

/// The proxy as Kerberos knows it: `proxy.local` is its name in the gateway's hosts file.
pub(crate) const SERVICE: &str = "HTTP/proxy.local@BENCH.EXAMPLE";

/// A running KDC.
pub(crate) struct Kerberos {
    root: String,
    configuration: String,
    _kdc: Service,
}

impl Kerberos {
    /// Makes the realm and serves it.
    pub(crate) fn start(stage: &Stage) -> Self {
        Self::start_under(stage, "")
    }

    /// The same with a clock of its own, such as `faketime +30m`.
    pub(crate) fn start_under(stage: &Stage, clock: &str) -> Self {
        // who makes a ticket's proof and who reads it may be a while apart
        Self::start_with(stage, clock, 60)
    }

    /// The same where clocks differ by a second at most.
    pub(crate) fn start_strict(stage: &Stage) -> Self {
        Self::start_with(stage, "", 1)
    }

    fn start_with(stage: &Stage, clock: &str, tolerance: u32) -> Self {
        let root = stage.scratch().root().to_owned();
        let dir = stage.scratch().dir("kdc");
        let path = stage.scratch().write("krb5.conf", configuration(&root, tolerance));
        let path = path.to_str().expect("a plain path").to_owned();
        let variables = variables(&path);
        let tool = |words: &[&str]| tool_with(&dir, words, &variables);
        tool(&["kdb5_util", "create", "-s", "-P", "master"]);
        let admin = |query: &str| tool(&["kadmin.local", "-q", query]);
        admin("addprinc -pw geheim-ada ada");
        admin(&format!("addprinc -randkey {SERVICE}"));
        admin(&format!("ktadd -k {root}/kdc/service.keytab {SERVICE}"));
        admin(&format!("ktadd -norandkey -k {root}/kdc/ada.keytab ada"));
        // squid is not root
        tool(&["chmod", "644", "service.keytab"]);
        let program = stage.beyond(&format!("{clock} krb5kdc -n -P {root}/kdc/pid"));
        let program = variables.iter().fold(program, |program, (name, value)| program.env(name, *value));
        Self { _kdc: program.serve("commencing operation"), root, configuration: path }
    }

    /// What KRB5_CONFIG says.
    pub(crate) fn configuration(&self) -> &str {
        &self.configuration
    }

    /// What the service accepts tickets with.
    pub(crate) fn service_keytab(&self) -> String {
        format!("{}/kdc/service.keytab", self.root)
    }

    /// ada's ticket cache; `ticket` makes it.
    pub(crate) fn cache(&self) -> String {
        format!("FILE:{}/kdc/cache", self.root)
    }

    /// Gets ada a ticket with kinit on the gateway, under these options.
    pub(crate) fn ticket(&self, stage: &Stage, options: &str) {
        let line = format!("kinit {options} -c {} ada", self.cache());
        stage.on_gateway(&line).env("KRB5_CONFIG", &self.configuration).input("geheim-ada\n").run();
    }
}

fn variables(path: &str) -> [(&str, &str); 2] {
    [("KRB5_CONFIG", path), ("KRB5_KDC_PROFILE", path)]
}

fn configuration(root: &str, tolerance: u32) -> String {
    format!(
        "[libdefaults]
         default_realm = BENCH.EXAMPLE
         dns_lookup_realm = false
         dns_lookup_kdc = false
         dns_canonicalize_hostname = false
         rdns = false
         clockskew = {tolerance}
         default_ccache_name = FILE:{root}/kdc/none
         default_keytab_name = FILE:{root}/kdc/none
         default_client_keytab_name = FILE:{root}/kdc/none
         [realms]
         BENCH.EXAMPLE = {{
           kdc = 10.2.0.2
           database_name = {root}/kdc/principal
           key_stash_file = {root}/kdc/stash
           acl_file = {root}/kdc/acl
           kdc_ports = 88
           kdc_tcp_ports = 88
           supported_enctypes = aes256-cts-hmac-sha1-96:normal
         }}
         [domain_realm]
         proxy.local = BENCH.EXAMPLE
         [logging]
         kdc = STDERR
        "
    )
}
