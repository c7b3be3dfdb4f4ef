//! Digest (RFC 7616): the challenge that is answered best, and the nonce that the next connection begins with.

use std::sync::{Arc, Mutex, PoisonError};

use http_auth::digest::{Algorithm, DigestClient};
use http_auth::{PasswordParams, parse_challenges};
use zeroize::Zeroizing;

use crate::wire::challenge::Challenge;

/// A challenge, with the count of how often its nonce was used.
#[derive(Debug)]
pub(super) struct Digest {
    client: Mutex<DigestClient>,
    stale: bool,
}

impl Digest {
    /// The strongest of those that can be answered: SHA-256 before MD5.
    pub(super) fn best(offers: &[Challenge<'_>]) -> Option<Digest> {
        let digests = offers.iter().filter(|offer| offer.scheme.eq_ignore_ascii_case("digest"));
        let clients = digests.filter_map(|offer| {
            let parsed = parse_challenges(offer.text).ok()?;
            DigestClient::try_from(parsed.first()?).ok()
        });
        let client = clients.max_by_key(|client| match client.algorithm() {
            Algorithm::Sha512Trunc256 | Algorithm::Sha256 => 1,
            _ => 0,
        })?;
        Some(Digest { stale: client.stale(), client: Mutex::new(client) })
    }

    /// Whether it says that only the nonce is too old.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// The value of Proxy-Authorization.
    pub(super) fn answer(
        &self,
        user: &str,
        password: &str,
        method: &str,
        uri: &str,
    ) -> Result<Zeroizing<String>, String> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        // without a body qop=auth is taken
        let request = PasswordParams { username: user, password, uri, method, body: None };
        client.respond(&request).map(Zeroizing::new).map_err(|why| format!("Digest: {why}"))
    }
}

/// The challenge that all connections of an account go on with.
#[derive(Default)]
pub(super) struct Shared(Mutex<Option<Arc<Digest>>>);

impl Shared {
    /// The last one that came.
    pub(super) fn known(&self) -> Option<Arc<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new one has come.
    pub(super) fn learn(&self, digest: Digest) -> Arc<Digest> {
        let digest = Arc::new(digest);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest.clone());
        digest
    }
}
