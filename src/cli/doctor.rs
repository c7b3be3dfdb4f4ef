//! `handyproxy doctor`: what is wrong with this machine, its rules and its upstreams, and what to do.
//!
//! It changes nothing. Facts are gathered beside their judgement, which is a function of them; what cannot be seen is
//! said to be so, and never to be well.

mod admin;
mod case;
mod clock;
mod daemon;
mod finding;
mod firewall;
mod interfaces;
mod kernel;
mod loaded;
mod loops;
mod machine;
mod names;
mod places;
mod policy;
mod rules;
mod same;
mod status;
mod upstream;
mod way;

use std::fs;
use std::path::PathBuf;

use super::wait_for;
use crate::config::{Command, Config, Doctor, Mistake};
use crate::sys::account::Account;
use case::Case;
use daemon::Listener;
use finding::{Finding, Report};
use loaded::Loaded;
use status::Status;

pub use finding::CHECKS;

/// Examines; the report, and whether all is well.
pub(super) fn run(config: &Config, how: &Doctor) -> Result<(String, bool), String> {
    if let (Some(file), false) = (&config.file, how.mistakes.is_empty()) {
        let report = mistaken(file, &how.mistakes);
        let text = if how.json { Report::json(&[report]) } else { report.text(false) };
        return Ok((text, false));
    }
    let asker = Account::of("self").ok_or("doctor: read /proc/self/status: it is not there, or not as proc(5) says")?;
    let machine = Machine { asker, status: status::ask(), loaded: loaded::ask() };
    let files = if how.all { instances() } else { Vec::new() };
    let mut reports = Vec::new();
    for file in &files {
        reports.push(machine.examine_file(file, how)?);
    }
    if files.is_empty() {
        reports.push(machine.examine(config, how)?);
    }
    let text = if how.json {
        Report::json(&reports)
    } else {
        let texts: Vec<String> = reports.iter().map(|report| report.text(!files.is_empty())).collect();
        texts.join("\n")
    };
    Ok((text, reports.iter().all(Report::is_well)))
}

/// The files of all instances of this machine.
pub(super) fn instances() -> Vec<String> {
    let paths = fs::read_dir(case::FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_one = |path: &PathBuf| path.extension().is_some_and(|end| end == "toml");
    let mut files: Vec<String> = paths.filter(is_one).map(|path| path.to_string_lossy().into_owned()).collect();
    files.sort();
    files
}

/// What is the same for all instances.
struct Machine {
    asker: Account,
    status: Status,
    loaded: Loaded,
}

impl Machine {
    fn examine_file(&self, file: &str, how: &Doctor) -> Result<Report, String> {
        let words = ["check", "-config", file].map(str::to_owned);
        match Command::parse(words) {
            Ok(Command::Check(config)) => self.examine(&config, how),
            Ok(_) => unreachable!("check was asked for"),
            Err(mistakes) => Ok(mistaken(file, &mistakes)),
        }
    }

    fn examine(&self, config: &Config, how: &Doctor) -> Result<Report, String> {
        let name = Case::name(config);
        let case = Case {
            config,
            how,
            name,
            asker: &self.asker,
            status: &self.status,
            lines: Case::lines(config, name, &self.status),
            loaded: &self.loaded.rules,
            chains: &self.loaded.chains,
            unseen: &self.loaded.unseen,
            listener: Listener::on(config.local_port),
        };
        let mut findings = settings(config, how);
        let unreadable = places::unreadable(&case);
        if !unreadable.is_empty() {
            findings.retain(|finding| finding.status != finding::Status::Ok);
            findings.extend(unreadable);
        }
        findings.extend(rules::check(&case));
        findings.extend(interfaces::check(&case));
        findings.extend(firewall::check(&case));
        findings.extend(loops::check(&case));
        findings.extend(kernel::check(&case));
        findings.extend(way::check(&case));
        findings.extend(daemon::check(&case));
        findings.extend(places::check(&case));
        findings.extend(wait_for(admin::check(&case))?);
        if how.no_net {
            findings.push(Finding::note("reach", "the proxies were not asked, nor any resolver: -no-net", ""));
            findings.push(clock::check(&[]));
        } else {
            findings.extend(wait_for(async {
                let mut findings = upstream::check(&case).await;
                findings.extend(names::check(&case).await);
                findings
            })?);
        }
        Ok(Report::new(config.file.clone(), findings))
    }
}

/// All that can be said of a file that is wrong.
fn mistaken(file: &str, mistakes: &[Mistake]) -> Report {
    let fix = format!("handyproxy check -config {file}");
    let found = |mistake: &Mistake| Finding::fail("settings", mistake.to_string(), fix.clone());
    Report::new(Some(file.to_owned()), mistakes.iter().map(found).collect())
}

/// The settings have no mistake, or there would be none; some are hardly meant.
fn settings(config: &Config, how: &Doctor) -> Vec<Finding> {
    let remarks = config.remarks();
    if remarks.is_empty() {
        return vec![match &config.file {
            Some(file) => Finding::ok("settings", format!("no mistake: {file}")),
            None if how.all => {
                let seen = format!(
                    "no instance in {}, and nothing given: the defaults are examined, port {} and {}",
                    case::FOLDER,
                    config.local_port,
                    config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect::<Vec<_>>().join(", ")
                );
                Finding::note("settings", seen, "handyproxy doctor -config FILE, or handyproxy setup to write one")
            }
            None => Finding::ok("settings", "no mistake: no file, so those of the command line"),
        }];
    }
    remarks.into_iter().map(|remark| Finding::note("settings", remark, "")).collect()
}
