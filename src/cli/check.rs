//! `handyproxy check`: the settings in force, and where their proxies are.

use std::collections::HashMap;
use std::time::Duration;

use super::wait_for;
use crate::config::{Config, shown};
use crate::session::Setup;

/// How long names may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be printed. The settings have no mistake, or there would be none.
pub(super) fn run(config: &Config) -> Result<String, String> {
    for remark in config.remarks() {
        eprintln!("handyproxy: note: {remark}");
    }
    let setup = Setup::new(config.clone(), None)?;
    let remarks = wait_for(async {
        let mut remarks = HashMap::new();
        for upstream in &setup.upstreams {
            let answers = tokio::time::timeout(PATIENCE, upstream.addresses()).await.unwrap_or_default();
            remarks.extend(answers.into_iter().map(|(proxy, answer)| (proxy, remark(answer.as_deref()))));
        }
        remarks
    })?;
    Ok(shown(config, |proxy| {
        let unknown = || format!("no answer within {}s", PATIENCE.as_secs());
        remarks.get(&proxy.to_string()).cloned().unwrap_or_else(unknown)
    }))
}

fn remark(answer: Result<&[std::net::SocketAddr], &String>) -> String {
    match answer {
        Ok(addrs) => {
            let addrs: Vec<String> = addrs.iter().map(|addr| addr.ip().to_string()).collect();
            format!("resolves to {}", addrs.join(", "))
        }
        Err(why) => why.clone(),
    }
}
