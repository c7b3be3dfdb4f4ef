//! Negotiate (RFC 4559): Kerberos by the system's library. Its calls read files and ask the key distribution centre,
//! so they run where they may block.

use std::path::PathBuf;

use crate::sys::gss::Context;

/// A context that is being made.
pub(super) struct Negotiate {
    context: Context,
    complete: bool,
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
            Ok(Negotiate { context, complete: false })
        })
        .await
    }

    /// The answer to a token; the first one answers nothing.
    pub(super) async fn step(mut self, token: Vec<u8>) -> Result<(Negotiate, Vec<u8>), String> {
        blocking(move || {
            let (answer, complete) = self.context.step(&token)?;
            self.complete = complete;
            let answer = answer.ok_or("Negotiate: there is nothing more to say, and the proxy still asks")?;
            Ok((self, answer))
        })
        .await
    }

    /// Whether all is said.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|why| format!("Kerberos: {why}")),
        Err(error) => Err(format!("Kerberos: {error}")),
    }
}
