//! `handyproxy doctor`: what is wrong with this machine, its rules and its upstreams, and what to do.

use crate::config::{Config, Doctor};

/// Examines; the report, and whether all is well.
pub(super) fn run(_config: &Config, _how: Doctor) -> Result<(String, bool), String> {
    Err("doctor: not there yet".to_owned())
}
