//! Where log lines go: to the journal when systemd has connected stderr to it, with a field for each fact
//! (`HANDYPROXY_CLIENT` and so on), else to stderr.

use std::os::linux::fs::MetadataExt;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogLevel;

/// Sends everything at `level` and above on its way, panics included. To be called once.
pub fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let journal = if stderr_is_journal() { tracing_journald::layer().ok() } else { None };
    let journal = journal.map(|layer| layer.with_field_prefix(Some("HANDYPROXY".to_owned())));
    let lines = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            // without the feature it complains even where it is not asked for
            .with_ansi(false)
            .with_target(false)
            // a message says everything; the fields beside it are for the journal
            .fmt_fields(debug_fn(|line, field, value| match field.name() {
                "message" => write!(line, "{value:?}"),
                _ => Ok(()),
            }))
    });
    tracing_subscriber::registry().with(level).with(journal).with(lines).init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let why = text.unwrap_or("no message");
        tracing::error!("bug at {place}: {why}");
    }));
}

/// systemd.exec(5): JOURNAL_STREAM is the device and inode of what stderr was connected to.
fn stderr_is_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|stderr| is_stream(&told, stderr.st_dev(), stderr.st_ino()))
}

fn is_stream(told: &str, device: u64, inode: u64) -> bool {
    told.split_once(':').is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_told_by_device_and_inode() {
        assert!(is_stream("9:1234", 9, 1234));
        for told in ["", "9", "9:", "9:1", "8:1234", "x:y"] {
            assert!(!is_stream(told, 9, 1234), "{told}");
        }
    }
}
