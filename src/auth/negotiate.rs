//! Negotiate (RFC 4559): Kerberos by the system's library. Its calls read files and ask the key distribution centre,
//! so they run where they may block.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::sys::gss::Context;

/// A context that is being made.
pub(super) struct Negotiate {
    /// Never shared; the lock makes the compiler see that.
    context: Mutex<Context>,
}

impl Negotiate {
    /// Begins with a service such as `HTTP@proxy.example`, as `principal` if that is not empty.
    pub(super) async fn begin(
        service: String,
        principal: String,
        keytab: Option<PathBuf>,
    ) -> Result<Negotiate, String> {
        blocking(move || {
            let context = Context::new(&service, &principal, keytab.as_deref())?;
            Ok(Negotiate { context: Mutex::new(context) })
        })
        .await
    }

    /// The answer to a token; the first one answers nothing.
    pub(super) async fn step(mut self, token: Vec<u8>) -> Result<(Negotiate, Vec<u8>), String> {
        blocking(move || {
            // whether the proxy is who it says stays open: only its 407 would tell, and then there is no tunnel
            let (answer, _) = self.context.get_mut().unwrap_or_else(PoisonError::into_inner).step(&token)?;
            let answer = answer.ok_or("Negotiate: there is nothing more to say, and the proxy still asks")?;
            Ok((self, answer))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|why| format!("Kerberos: {why}")),
        Err(error) => Err(format!("Kerberos: {error}")),
    }
}
