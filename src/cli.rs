//! The command line: what is asked for, and what is said when it cannot be done.

use std::io::Write;
use std::process::ExitCode;

use crate::config::{self, Command};
use crate::{log, server};

const VERSION: &str = concat!("HandyProxy ", env!("CARGO_PKG_VERSION"));

/// Does what the words behind the program's name ask for. 0 is fine, 1 could not start, 2 bad usage.
pub fn main(words: impl IntoIterator<Item = String>) -> ExitCode {
    let config = match Command::parse(words) {
        Ok(Command::Run(config)) => config,
        Ok(Command::Version) => {
            say(&format!("{VERSION}\n"));
            return ExitCode::SUCCESS;
        }
        Ok(Command::Help) => {
            say(&config::help());
            return ExitCode::SUCCESS;
        }
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("handyproxy: {mistake}");
            }
            eprintln!("usage: handyproxy [-flag value | -flag=value]...; handyproxy -h tells all flags");
            return ExitCode::from(2);
        }
    };
    say(&format!("{VERSION}\n"));
    log::start(config.log_level);
    match server::run(*config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // not by way of the log, which may be off
            eprintln!("handyproxy: {why}");
            ExitCode::FAILURE
        }
    }
}

/// To stdout; a reader that has gone away is no reason to fail.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
