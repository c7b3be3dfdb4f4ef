//! CPU time over exactly the measured window, of this process, of watched ones and of the machine.
//! Process CPU clocks count nanoseconds and include threads that have ended; the machine's come in ticks of 10 ms.

use std::fs;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

#[derive(Clone, Default)]
pub struct Watch {
    watched: Vec<(String, Vec<Pid>)>,
}

impl Watch {
    /// Adds `LABEL=PID[,PID...]`.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let bad = || format!("--watch {text}: not LABEL=PID[,PID...]");
        let (label, pids) = text.split_once('=').ok_or_else(bad)?;
        let pids =
            pids.split(',').map(|pid| pid.parse().map(Pid::from_raw).map_err(|_| bad())).collect::<Result<_, _>>()?;
        self.watched.push((label.to_owned(), pids));
        Ok(())
    }

    /// Starts a window.
    pub fn start(&self) -> Result<Window<'_>, String> {
        Ok(Window { watch: self, begun: Instant::now(), before: self.now()? })
    }

    fn now(&self) -> Result<Vec<(String, f64)>, String> {
        let mut spent = vec![("machine".to_owned(), machine_busy()?)];
        let own = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_err(|e| format!("own CPU clock: {e}"))?;
        spent.push(("client".to_owned(), Duration::from(own).as_secs_f64()));
        for (label, pids) in &self.watched {
            let mut sum = 0.0;
            for &pid in pids {
                let clock = clock_getcpuclockid(pid).and_then(clock_gettime);
                let clock = clock.map_err(|e| format!("{label} (process {pid}) has gone: {e}"))?;
                sum += Duration::from(clock).as_secs_f64();
            }
            spent.push((label.clone(), sum));
        }
        Ok(spent)
    }
}

pub struct Window<'a> {
    watch: &'a Watch,
    before: Vec<(String, f64)>,
    begun: Instant,
}

impl Window<'_> {
    /// Seconds so far.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// CPU seconds by label since the start.
    pub fn spent(&self) -> Result<Vec<(String, f64)>, String> {
        let mut spent = self.watch.now()?;
        for ((_, now), (_, before)) in spent.iter_mut().zip(&self.before) {
            *now -= before;
        }
        Ok(spent)
    }
}

/// Seconds in which some core was not idle: all of /proc/stat's first line but idle and iowait (man 5 proc).
fn machine_busy() -> Result<f64, String> {
    let stat = fs::read_to_string("/proc/stat").map_err(|e| format!("/proc/stat: {e}"))?;
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let busy: f64 =
        ticks.enumerate().filter(|(i, _)| !matches!(i, 3 | 4)).filter_map(|(_, t)| t.parse::<f64>().ok()).sum();
    Ok(busy / 100.0)
}
