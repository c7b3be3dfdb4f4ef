//! The load for benches/compare: `world` is the upstream proxy and the origin in one process, all else is a client.
//! Each is one process of few threads, because it shares the machine with what is measured, and each ends by itself:
//! every run has a length and every wait a deadline; world, and idle tunnels, also end with their standard input.

mod bulk;
mod cpu;
mod dialogue;
mod json;
mod net;
mod options;
mod ping;
mod web;
mod wire;
mod world;

use std::process::ExitCode;

use options::Options;

const USAGE: &str = "usage:
  hpbench-load world PORT... [--seconds N]
      proxy (CONNECT) and origin on every PORT; prints `ready`
  hpbench-load down|up --to ADDR:PORT [--conns N] [--seconds S]
  hpbench-load ping    --to ADDR:PORT [--conns N] [--seconds S] [--size BYTES]
  hpbench-load short   --to ADDR:PORT [--conns N] [--seconds S | --count N] [--talk tls|http]
  hpbench-load idle    --to ADDR:PORT --count N [--conns N] [--seconds S]
      opens --count tunnels, --conns at once, prints how it went, holds them for S seconds or until its input closes
  hpbench-load web     --to ADDR:PORT [--conns N] [--seconds S] [--form origin|absolute] [--each 1]
      requests on connections that are kept, or with --each 1 on one for each
  all but world: [--watch LABEL=PID[,PID...]]... adds the CPU that these used; one JSON object on a line (idle: two)";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_default();
    let done = Options::parse(words).and_then(|options| run(&what, &options));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("hpbench-load {what}: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(what: &str, options: &Options) -> Result<(), String> {
    net::raise_descriptor_limit().map_err(|e| format!("descriptor limit: {e}"))?;
    match what {
        "world" => world::run(&options.ports, options.seconds_or(3600.0)).map_err(|e| e.to_string()),
        "down" => bulk::down(options),
        "up" => bulk::up(options),
        "ping" => ping::run(options),
        "short" => dialogue::short(options),
        "idle" => dialogue::idle(options),
        "web" => web::run(options),
        _ => Err(USAGE.to_owned()),
    }
}
