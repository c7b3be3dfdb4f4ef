//! The command line: what is asked for, and what is said when it cannot be done.

mod ask;
mod cat;
mod check;
mod completions;
mod doctor;
mod explain;
mod reload;
mod rules;
mod setup;
mod tool;
mod top;

use std::io::Write;
use std::process::ExitCode;

use crate::config::{self, Command};
use crate::{log, server};

pub use doctor::CHECKS;

const VERSION: &str = concat!("HandyProxy ", env!("CARGO_PKG_VERSION"));

/// Does what the words behind the program's name ask for. 0 is fine, 1 could not start, 2 bad usage.
pub fn main(words: impl IntoIterator<Item = String>) -> ExitCode {
    let outcome = match Command::parse(words) {
        Ok(Command::Run(config)) => {
            // what a tap writes there is for programs
            if config.taps.iter().all(|tap| tap.path.is_some()) {
                say(&format!("{VERSION}\n"));
            }
            log::start(config.log_level);
            server::run(*config)
        }
        Ok(Command::Check(config)) => check::run(&config).map(|text| say(&text)),
        Ok(Command::Explain(config, question)) => explain::run(*config, question).map(|text| say(&text)),
        Ok(Command::Reload(_)) => reload::run(),
        Ok(Command::Rules(config, action)) => rules::run(&config, action).map(|text| say(&text)),
        Ok(Command::Doctor(config, how)) => match doctor::run(&config, &how) {
            Ok((report, well)) => {
                say(&report);
                return if well { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            }
            Err(why) => Err(why),
        },
        Ok(Command::Top(how)) => return top::run(&how),
        Ok(Command::Setup(words)) => return setup::run(words),
        Ok(Command::Cat(words)) => return cat::run(words),
        Ok(Command::Completions(shell)) => {
            say(&completions::run(shell));
            Ok(())
        }
        Ok(Command::Version) => {
            say(&format!("{VERSION}\n"));
            Ok(())
        }
        Ok(Command::Help) => {
            say(&config::help());
            Ok(())
        }
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("handyproxy: {mistake}");
            }
            eprintln!("usage: handyproxy [-flag value | -flag=value]...; handyproxy -h tells all flags");
            return ExitCode::from(2);
        }
    };
    match outcome {
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

/// Runs a future that only asks for names.
fn wait_for<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start the runtime: {error}"))?;
    let outcome = runtime.block_on(future);
    // a name look-up that hangs is left behind
    runtime.shutdown_background();
    Ok(outcome)
}
