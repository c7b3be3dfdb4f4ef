//! What comments say: words and `key=value`, as in the access log, so that both people and programs read them.

use std::fmt::Write;

use crate::format::{Ending, Facts};

/// Of a session's first packet; `goes_on` is what came of it before.
pub(super) fn opening(facts: &Facts, goes_on: Option<[u64; 2]>) -> String {
    let mut text = format!("session id={} client={} origin={}", facts.id, facts.client, facts.origin);
    if let Some(name) = &facts.name {
        add(&mut text, format_args!(" name={} name_source={}", name.host, name.source));
    }
    add(&mut text, format_args!(" target={}", facts.target));
    if let Some(via) = &facts.via {
        add(&mut text, format_args!(" via={via}"));
    }
    if let Some(upstream) = facts.upstream {
        add(&mut text, format_args!(" upstream={upstream}"));
    }
    if let Some(port) = facts.from_port {
        add(&mut text, format_args!(" from_port={port}"));
    }
    add(&mut text, format_args!(" local_port={}", facts.local_port));
    if let Some([up, down]) = goes_on {
        add(&mut text, format_args!(" goes_on up={up} down={down}"));
    }
    text
}

/// Of its last packet.
pub(super) fn ending(id: u64, ending: &Ending) -> String {
    let mut text = format!("session id={id} end={} by={}", ending.end, ending.by);
    if let Some(error) = &ending.error {
        add(&mut text, format_args!(" error={error:?}"));
    }
    let lasted = ending.lasted.as_secs_f64() * 1e3;
    add(&mut text, format_args!(" up={} down={} duration_ms={lasted:.3}", ending.up, ending.down));
    text
}

/// Of the packet after a gap in the records of all sessions.
pub(super) fn missed(records: u64, bytes: u64) -> String {
    format!("missed records={records} bytes={bytes}")
}

/// Of the packet after a gap in its direction.
pub(super) fn gap(bytes: u64) -> String {
    format!("gap bytes={bytes}")
}

fn add(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("a String takes everything");
}
