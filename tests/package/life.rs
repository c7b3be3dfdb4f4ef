//! The life of the package on a Debian: installed, upgraded, removed, purged.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::lab::support::netns::Netns;
use super::machine::{Disk, Machine};
use super::{OLDER, older_package, package};

const INSTANCE: &str = "local-port = 8043\nupstream-proxy = \"127.0.0.1\"\nmark = 0\n";

#[test]
fn it_is_installed_upgraded_removed_and_purged() {
    let net = Netns::new();
    net.ip("link set lo up\n");
    let disk = Disk::new(&[older_package(), package()]);
    let machine = disk.boot(&net);
    let before = machine.census();

    installed(&machine, older_package());
    assert_eq!(version(&machine), OLDER);
    assert_eq!(machine.runs("stat -c '%a %U:%G' /etc/handyproxy"), "750 root:handyproxy\n");
    let user = machine.runs("getent passwd handyproxy");
    assert!(user.trim_end().ends_with(":/nonexistent:/usr/sbin/nologin"), "{user}");
    assert!(machine.runs("dpkg --verify handyproxy").is_empty());
    assert_eq!(machine.processes(), [""; 0], "nothing starts by itself");

    // an instance, and what an admin may have changed
    machine.writes("/etc/handyproxy/one.toml", INSTANCE);
    machine.runs("dpkg-statoverride --update --add root handyproxy 0710 /etc/handyproxy");
    machine.runs("systemctl enable --now handyproxy@one");
    let first = machine.runs("pidof handyproxy");

    let visits = Visits::begin(&net);
    installed(&machine, package());
    visits.end();
    assert_ne!(version(&machine), OLDER);
    assert_eq!(machine.runs("cat /etc/handyproxy/one.toml"), INSTANCE);
    assert_eq!(machine.runs("stat -c '%a' /etc/handyproxy"), "710\n", "what the admin says of the folder stays");
    assert_ne!(machine.runs("pidof handyproxy"), first, "an instance that runs runs the new program");

    machine.runs("apt-get remove -qq handyproxy");
    assert_eq!(machine.processes(), [""; 0]);
    assert_eq!(machine.runs("cat /etc/handyproxy/one.toml"), INSTANCE);
    assert!(!machine.tries("command -v handyproxy handyproxy-rules").status.success());

    // what was enabled is so again, and then all of it goes
    installed(&machine, package());
    machine.runs("systemctl is-enabled handyproxy@one");
    machine.runs("systemctl start handyproxy@one");
    machine.runs("dpkg-statoverride --remove /etc/handyproxy");
    machine.runs("apt-get purge -qq handyproxy");
    assert_eq!(machine.processes(), [""; 0]);
    same(&before, &machine.census());
}

#[test]
fn a_removal_in_a_chroot_leaves_the_rules_of_the_machine_around_it() {
    let net = Netns::new();
    net.ip("link set lo up\n");
    let disk = Disk::new(&[package()]);
    let machine = disk.boot(&net);
    installed(&machine, package());
    machine.runs("handyproxy-rules gateway up --port 8043");
    let rules = machine.runs("iptables-save -t nat | grep ^-");
    assert!(rules.contains("8043"), "{rules}");
    machine.runs("mkdir /root/inner && mount --bind / /root/inner && mount -t proc proc /root/inner/proc");
    machine.runs("chroot /root/inner apt-get remove -qq handyproxy");
    assert_eq!(machine.runs("iptables-save -t nat | grep ^-"), rules);
}

/// Clients that connect all the time. None may be refused, whatever becomes of the daemon meanwhile.
struct Visits(Arc<AtomicBool>, JoinHandle<usize>);

impl Visits {
    fn begin(net: &Netns) -> Visits {
        let is_over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&is_over);
        // a thread stays in the namespace in which it was made
        let visitor = net.enter(|| {
            thread::spawn(move || {
                let mut count = 0;
                while !end.load(Ordering::Relaxed) {
                    TcpStream::connect("127.0.0.1:8043").unwrap_or_else(|why| panic!("visit {count}: {why}"));
                    count += 1;
                    thread::sleep(Duration::from_millis(2));
                }
                count
            })
        });
        Visits(is_over, visitor)
    }

    fn end(self) {
        self.0.store(true, Ordering::Relaxed);
        let count = self.1.join().expect("a client was refused");
        assert!(count > 100, "{count}");
    }
}

/// Installs it as the manual says, from a file.
pub(super) fn installed(machine: &Machine<'_>, package: &std::path::Path) {
    let name = package.file_name().expect("a file").to_string_lossy();
    machine.runs(&format!("apt-get install -qq ./{name}"));
}

fn version(machine: &Machine<'_>) -> String {
    machine.runs("dpkg-query --show --showformat='${Version}' handyproxy")
}

/// Two censuses must not differ.
pub(super) fn same(before: &str, after: &str) {
    let [before, after] = [before, after].map(|census| census.lines().collect::<std::collections::BTreeSet<_>>());
    assert!(before.len() > 1000, "{}", before.len());
    let differ: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(differ.is_empty(), "{differ:#?}");
}
