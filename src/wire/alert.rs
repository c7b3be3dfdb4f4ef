//! A fatal TLS alert in plain text (RFC 8446 section 6): the one failure that a TLS client can read
//! before any key was agreed.

/// Why, in the alert's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// access_denied: the upstream forbids it, or wants credentials.
    AccessDenied = 49,
    /// internal_error: anything else.
    InternalError = 80,
    /// unrecognized_name: the upstream could not resolve the name.
    UnrecognizedName = 112,
}

/// Writes the record.
pub fn record(alert: Alert) -> [u8; 7] {
    const FATAL: u8 = 2;
    [0x15, 3, 3, 0, 2, FATAL, alert as u8]
}
