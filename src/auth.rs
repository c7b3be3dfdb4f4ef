//! Stand-in for authentication to an upstream: as much of the interface as the relay calls. Not to be merged.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use zeroize::Zeroizing;

use crate::config::{Credentials, Scheme, UpstreamHost};

/// One per upstream.
#[derive(Debug)]
pub struct Account {
    schemes: Vec<Scheme>,
    credentials: Credentials,
}

impl Account {
    /// An account.
    pub fn new(_name: &str, schemes: &[Scheme], credentials: &Credentials) -> Account {
        Account { schemes: schemes.to_vec(), credentials: credentials.clone() }
    }

    /// Begins on a new connection.
    ///
    /// # Errors
    /// Held.
    pub fn begin(self: &Arc<Self>, _host: &UpstreamHost, _shown: &str) -> Result<Conversation, Refusal> {
        Ok(Conversation { account: self.clone(), leg: 0, accepted: false })
    }
}

/// One per connection.
#[derive(Debug)]
pub struct Conversation {
    account: Arc<Account>,
    leg: u32,
    accepted: bool,
}

/// Why not.
#[derive(Debug)]
pub struct Refusal;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the credentials were refused")
    }
}

impl Conversation {
    /// The next Proxy-Authorization.
    ///
    /// # Errors
    /// There is none.
    pub async fn answer(
        &mut self,
        _method: &str,
        _uri: &str,
        challenges: &[&[u8]],
    ) -> Result<Option<Zeroizing<String>>, Refusal> {
        self.leg += 1;
        let basic = || {
            let who = &self.account.credentials;
            let both = format!("{}:{}", who.user, who.password.as_ref().map_or("", |p| p.reveal()));
            Zeroizing::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both)))
        };
        match self.account.schemes[..] {
            [Scheme::Ntlm] if self.accepted => Ok(None),
            [Scheme::Ntlm] => match self.leg {
                1 => Ok(Some(Zeroizing::new("NTLM TlRMTVNTUAABAAAA".to_owned()))),
                2 => Ok(Some(Zeroizing::new("NTLM TlRMTVNTUAADAAAA".to_owned()))),
                _ => Err(Refusal),
            },
            [Scheme::Basic] if self.leg > 1 && !challenges.is_empty() => Err(Refusal),
            [Scheme::Basic] => Ok(Some(basic())),
            _ if challenges.is_empty() => Ok(None),
            _ if self.leg > 2 => Err(Refusal),
            _ => Ok(Some(basic())),
        }
    }

    /// Mid-handshake.
    pub fn is_bound(&self) -> bool {
        self.account.schemes == [Scheme::Ntlm] && self.leg == 1
    }

    /// Whether the last answer completes the scheme.
    pub fn is_final(&self) -> bool {
        self.accepted || self.account.schemes == [Scheme::Basic] || self.leg >= 2
    }

    /// A new connection.
    pub fn reconnected(&mut self) {
        self.accepted = false;
    }

    /// Something other than 407 came.
    pub fn accepted(&mut self) {
        self.accepted = true;
    }
}
