//! The appliance as a new user meets it: a clean Debian, the package, the steps of handyproxy(8), a reboot, and the end.

use std::process::Command;
use std::time::Instant;

use super::lab::support::topology::Topology;
use super::life::{installed, same};
use super::machine::{Disk, Machine};
use super::world::{SITE, World};
use super::{manual, package, said, succeeds};

/// The part of the manual that is followed.
const RECIPE: &str = "A gateway";

#[test]
fn a_gateway_set_up_by_the_manual_survives_a_reboot_and_leaves_nothing() {
    let disk = Disk::new(&[package()]);
    let before = {
        let net = network();
        let world = World::new(&net);
        let machine = disk.boot(&net.gateway);
        // what the network of this machine gives it
        machine.runs("echo 10.2.0.2 proxy.corp.example >>/etc/hosts");
        let before = machine.census();
        assert!(!world.visit(&net.client, "http", "5").status.success(), "there must be no other way");

        let start = Instant::now();
        for command in manual::commands("The package", "apt install") {
            machine.runs(&command);
        }
        let installing = start.elapsed();
        write_the_file(&machine, "");
        let commands = manual::commands(RECIPE, "systemctl enable");
        assert!(commands.len() > 1, "{commands:?}");
        for command in commands {
            machine.runs(&command);
        }
        world.is_reached_by_name(&net.client);
        eprintln!("a gateway works {:.1?} after the package came, {installing:.1?} of it to install", start.elapsed());
        is_well(&machine);
        // the manual's own line, with a host that this proxy knows
        let doctor = manual::commands(RECIPE, "handyproxy doctor");
        let doctor = doctor.iter().find(|line| line.starts_with("handyproxy doctor ")).expect("it is in there");
        let told = machine.runs(&format!("{doctor} -target {SITE}"));
        assert!(told.contains("ok    captured: 2 "), "{told}");

        // a restart of the daemon leaves the rules alone
        let rules = machine.runs("iptables-save -t nat");
        machine.runs("systemctl restart handyproxy@gateway");
        assert_eq!(uncounted(&machine.runs("iptables-save -t nat")), uncounted(&rules));
        world.is_reached_by_name(&net.client);
        before
    };

    // the power fails: every process is gone, and the network with its rules
    let net = network();
    let world = World::new(&net);
    let machine = disk.boot(&net.gateway);
    is_well(&machine);
    world.is_reached_by_name(&net.client);

    machine.runs("apt purge handyproxy");
    assert_eq!(machine.processes(), [""; 0]);
    same(&before, &machine.census());
    for line in ["iptables-save", "ip6tables-save", "nft list ruleset"] {
        let rules = machine.runs(line);
        assert!(!rules.to_lowercase().contains("handyproxy"), "{line}: {rules}");
    }
    assert_eq!(machine.runs("ip rule | grep -c .").trim(), "3");
    assert!(!world.visit(&net.client, "http", "5").status.success(), "there is a way still");
    assert_eq!(machine.runs("find /run -name '*handyproxy*' -not -path '/run/credentials*'"), "");
}

/// Rules that were loaded by hand go with the package too.
#[test]
fn rules_without_a_unit_do_not_outlive_the_package() {
    let net = network();
    let disk = Disk::new(&[package()]);
    let machine = disk.boot(&net.gateway);
    installed(&machine, package());
    machine.runs("handyproxy-rules gateway up --name by-hand --port 8043 -i eth1");
    let ours = |rules: String| rules.contains("8043");
    assert!(ours(machine.runs("iptables-save; nft list ruleset")));
    machine.runs("apt-get remove -qq handyproxy");
    assert!(!ours(machine.runs("iptables-save; ip6tables-save; nft list ruleset")));
}

/// An instance whose file has a mistake: the unit says so, and no rule sends clients to nobody.
#[test]
fn an_instance_with_a_mistake_has_no_rules() {
    let net = network();
    let disk = Disk::new(&[package()]);
    let machine = disk.boot(&net.gateway);
    installed(&machine, package());
    write_the_file(&machine, "no-such-key = 1\n");
    let output = machine.tries("systemctl enable --now handyproxy@gateway");
    assert!(!output.status.success());
    assert!(machine.logs().contains("no-such-key"), "{}{}", said(&output.stderr), machine.logs());
    assert!(!machine.runs("iptables-save; nft list ruleset").contains("8043"));
    assert_eq!(machine.processes(), [""; 0]);
}

/// The file of the manual, with something behind it.
fn write_the_file(machine: &Machine<'_>, more: &str) {
    let (path, text) = manual::file(RECIPE);
    machine.writes(&path, &(text + more));
}

/// The manual's network: clients are behind eth1. The way out leads nowhere.
fn network() -> Topology {
    let net = Topology::new();
    net.gateway.ip("link set lan down
         link set lan name eth1
         link set eth1 up
         link add nowhere type veth peer name nobody
         link set nobody up
         link set nowhere up
         route add default dev nowhere
         ");
    net
}

/// The instance runs as its own user, with few rights, and its rules are counted.
fn is_well(machine: &Machine<'_>) {
    assert_eq!(machine.processes(), ["/usr/bin/handyproxy -config /etc/handyproxy/gateway.toml"], "{}", machine.logs());
    let status = machine.runs("cat /proc/$(pidof handyproxy)/status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} {status}")).split_whitespace().next().unwrap_or_default().to_owned()
    };
    let user = machine.runs("id -u handyproxy");
    assert_eq!(field("Uid:"), user.trim());
    // CAP_NET_BIND_SERVICE, CAP_NET_ADMIN and CAP_NET_RAW, capabilities(7)
    let allowed: u64 = 1 << 10 | 1 << 12 | 1 << 13;
    let held = u64::from_str_radix(&field("CapBnd:"), 16).expect("a mask");
    assert_eq!(held & !allowed, 0, "{held:x}");
    let rules = machine.runs("handyproxy-rules status --porcelain");
    assert!(rules.contains("name=gateway mode=gateway port=8043") && rules.contains(" family=6 "), "{rules}");
}

/// Rules without their counters.
fn uncounted(rules: &str) -> String {
    let lines = rules.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.map(|line| line.split(" [").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The kernel is asked nothing by a machine that is only looked at: the lab's own check that this is no host's root.
#[test]
fn the_machine_is_a_debian_of_its_own() {
    let disk = Disk::new(&[]);
    let machine = disk.boot(&network().gateway);
    let own = machine.runs("cat /etc/debian_version; hostname; test ! -e /usr/bin/python3 && echo small");
    assert!(own.contains("gateway\nsmall"), "{own}");
    let host = succeeds(Command::new("uname").arg("-n"));
    assert_ne!(host, "gateway\n", "its name is not the host's");
}
