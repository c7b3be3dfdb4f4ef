//! The promises of `iptables/handyproxy-rules`, kept in network namespaces made for each test, under both backends of
//! iptables. The machine's own rules are never touched: every command runs inside a [`Net`]. Needs root.

use nix::sched::{CloneFlags, setns};
use nix::unistd::{Uid, geteuid, setfsuid};
use socket2::{Domain, Socket, Type};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/iptables/handyproxy-rules");
const BACKENDS: [&str; 2] = ["nft", "legacy"];
/// Each tool in its three forms, as the links in front of PATH are named.
const TOOLS: [&str; 6] =
    ["iptables", "iptables-restore", "iptables-save", "ip6tables", "ip6tables-restore", "ip6tables-save"];

// ---- what is loaded and what is left

#[test]
fn up_twice_is_up_once() {
    for net in both() {
        for up in ["gateway up -i eth0.7 --dports 80,443", "local up --uid 12345"] {
            let before = net.saved();
            net.rules(up).ok();
            let once = net.saved();
            assert_ne!(once, before, "{up} loaded nothing");
            net.rules(up).ok();
            assert_eq!(net.saved(), once, "{up}");
        }
    }
}

#[test]
fn up_with_other_options_replaces_the_earlier_ones() {
    for backend in BACKENDS {
        let [changed, fresh] = [Net::new(backend), Net::new(backend)];
        changed.rules("gateway up -i eth0 -i eth1 --dports 80,443").ok();
        changed.rules("local up --mark 7 --uid 12345").ok();
        for net in [&changed, &fresh] {
            net.rules("gateway up -i wlan+ --dports 8000-8999").ok();
            net.rules("local up").ok();
        }
        assert_eq!(changed.saved(), fresh.saved());
    }
}

#[test]
fn up_again_leaves_the_jump_in_its_place() {
    for net in both() {
        net.rules("local up").ok();
        net.sh("for t in iptables ip6tables; do $t -w -t nat -A OUTPUT -p tcp --dport 9 -j ACCEPT; done");
        net.rules("local up --dports 80").ok();
        let order: Vec<_> = net.saved().lines().filter(|l| l.starts_with("-A OUTPUT")).map(last_word).collect();
        assert_eq!(order, ["HANDYPROXY_LO_8443", "ACCEPT", "HANDYPROXY_LO_8443", "ACCEPT"]);
    }
}

#[test]
fn one_jump_is_left_of_several() {
    for net in both() {
        net.rules("gateway up").ok();
        let once = net.saved();
        net.sh("iptables -w -t nat -A PREROUTING -p tcp -j HANDYPROXY_GW_8443");
        assert_ne!(net.saved(), once);
        net.rules("gateway up").ok();
        assert_eq!(net.saved(), once);
        net.sh("iptables -w -t nat -A PREROUTING -p tcp -j HANDYPROXY_GW_8443");
        net.rules("gateway down").ok();
        assert!(!net.saved().contains("HANDYPROXY"), "{}", net.saved());
    }
}

#[test]
fn down_leaves_the_tables_as_if_up_had_never_been() {
    for backend in BACKENDS {
        let [used, untouched] = [Net::new(backend), Net::new(backend)];
        used.foreign_rules();
        untouched.foreign_rules();
        used.rules("gateway up -i eth0.7 --dports 80,443").ok();
        used.rules("local up --uid 12345 --port 8444").ok();
        used.later_foreign_rules();
        untouched.later_foreign_rules();
        used.rules("gateway up").ok();
        assert_ne!(used.saved(), untouched.saved());
        used.rules("gateway down").ok();
        used.rules("local down --port 8444").ok();
        assert_eq!(used.saved(), untouched.saved());
    }
}

#[test]
fn down_twice_and_down_without_up_are_fine() {
    for net in both() {
        net.foreign_rules();
        let before = net.saved();
        for _ in 0..2 {
            net.rules("gateway down").ok().silent();
            net.rules("local down").ok().silent();
            assert_eq!(net.saved(), before);
        }
    }
}

#[test]
fn down_ignores_the_options_of_up() {
    for net in both() {
        let before = net.saved_with_nat();
        net.rules("local up --port 8043 --uid 12345 --dports 443").ok();
        net.rules("local down --port 8043 --uid a-user-deleted-since --dports 443 --mark 9").ok();
        assert_eq!(net.saved(), before);
    }
}

#[test]
fn down_names_foreign_rules_that_use_its_chain() {
    for net in both() {
        net.rules("local up").ok();
        net.sh("iptables -w -t nat -A OUTPUT -p udp -j HANDYPROXY_LO_8443");
        let down = net.rules("local down").exits(1);
        down.says("not ours");
        down.says("-A OUTPUT -p udp -j HANDYPROXY_LO_8443");
        let left = net.saved();
        assert_eq!(left.matches("-j HANDYPROXY_LO_8443").count(), 2, "IPv4 whole, IPv6 gone: {left}");
    }
}

#[test]
fn instances_do_not_disturb_each_other() {
    for net in both() {
        let mut stages = vec![net.saved_with_nat()];
        // 844 and 84431 begin like 8443 or are its beginning
        let instances = ["gateway 8443", "gateway 844", "gateway 84", "local 8443", "local 8444"];
        let told = |instance: &str, action: &str| {
            let (mode, port) = instance.split_once(' ').expect("mode and port");
            format!("{mode} {action} --port {port}")
        };
        for instance in instances {
            net.rules(&told(instance, "up")).ok();
            stages.push(net.saved());
        }
        for instance in instances {
            net.rules(&told(instance, "up")).ok();
            assert_eq!(net.saved(), stages[instances.len()], "{instance} again");
        }
        for (instance, before) in instances.into_iter().zip(&stages).rev() {
            net.rules(&told(instance, "down")).ok();
            assert_eq!(&net.saved(), before, "{instance}");
        }
    }
}

#[test]
fn instances_brought_up_at_once_all_arrive() {
    for net in both() {
        let before = net.saved_with_nat();
        for action in ["up", "down"] {
            let ports = 9001..=9006;
            let started: Vec<Child> = ports
                .clone()
                .map(|port| net.script(&["local", action, "--port", &port.to_string()]).spawn().expect("spawn sh"))
                .collect();
            for child in started {
                Ran::of(child.wait_with_output().expect("wait for the script")).ok();
            }
            let saved = net.saved();
            for port in ports {
                let jumps = saved.matches(&format!("-A OUTPUT -p tcp -j HANDYPROXY_LO_{port}\n")).count();
                assert_eq!(jumps, if action == "up" { 2 } else { 0 }, "{action} {port}: {saved}");
            }
        }
        assert_eq!(net.saved(), before);
    }
}

#[test]
fn four_and_six_touch_one_family_each() {
    for net in both() {
        let [nothing4, nothing6] = net.saved_apart(true);
        net.rules("gateway up -4").ok();
        let [four, six] = net.saved_apart(false);
        assert_ne!(four, nothing4);
        assert_eq!(six, nothing6);
        net.rules("gateway up -6 -i eth1").ok();
        let [same4, six] = net.saved_apart(false);
        assert_eq!(same4, four);
        assert!(six.contains("-i eth1"), "{six}");
        net.rules("gateway down -4").ok();
        assert_eq!(net.saved_apart(false), [nothing4.clone(), six]);
        net.rules("gateway down -4 -6").ok();
        assert_eq!(net.saved_apart(false), [nothing4, nothing6]);
    }
}

// ---- what the printed commands are

#[test]
fn a_dry_run_changes_nothing_and_prints_what_up_and_down_do() {
    for backend in BACKENDS {
        let [printed, done] = [Net::new(backend), Net::new(backend)];
        for net in [&printed, &done] {
            net.foreign_rules();
        }
        for command in [
            "gateway up -i eth0.7 -i wlan+ --dports 80,443,8000-8999",
            "gateway up",
            "local up --uid 12345 --mark 0x1234",
            "local up --port 8444 -4",
            "gateway down",
            "local down",
        ] {
            let before = printed.saved();
            let dry = printed.rules(&format!("{command} --dry-run")).ok();
            assert_eq!(printed.saved(), before, "{command}");
            printed.sh(&dry.stdout);
            done.rules(command).ok().silent();
            assert_ne!(printed.saved(), before, "{command}");
            assert_eq!(printed.saved(), done.saved(), "{command}");
        }
    }
}

// ---- what is redirected: real connections

#[test]
fn a_gateway_redirects_the_interfaces_and_ports_it_is_told() {
    for backend in BACKENDS {
        let [dotted, wild, gateway, origin] = [(); 4].map(|()| Net::new(backend));
        dotted.link("c0", ["10.1.7.2/24", "2001:db8:7::2/64"], &gateway, "eth0.7", ["10.1.7.1/24", "2001:db8:7::1/64"]);
        wild.link("c0", ["10.1.8.2/24", "2001:db8:8::2/64"], &gateway, "wlan3", ["10.1.8.1/24", "2001:db8:8::1/64"]);
        origin.link(
            "o0",
            ["203.0.113.9/24", "2001:db8:9::9/64"],
            &gateway,
            "up0",
            ["203.0.113.1/24", "2001:db8:9::1/64"],
        );
        dotted.default_routes("10.1.7.1", "2001:db8:7::1");
        wild.default_routes("10.1.8.1", "2001:db8:8::1");
        origin.default_routes("203.0.113.1", "2001:db8:9::1");
        gateway.sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
        gateway.serve(8443, "redirected");
        gateway.serve(80, "gateway");
        origin.serve(80, "origin");
        origin.serve(8081, "origin");

        let expect = |from: &Net, port: u16, answer: &str| {
            for host in ["203.0.113.9", "[2001:db8:9::9]"] {
                assert_eq!(from.hears(&format!("{host}:{port}"), Dial::default()), answer, "{backend} {host}:{port}");
            }
        };
        expect(&dotted, 80, "origin");
        gateway.rules("gateway up -i eth0.7 --dports 80").ok();
        expect(&dotted, 80, "redirected");
        expect(&dotted, 8081, "origin");
        expect(&wild, 80, "origin");
        gateway.rules("gateway up -i wlan+ --dports 79,8000:8080,8081-8100").ok();
        expect(&dotted, 80, "origin");
        expect(&dotted, 8081, "origin");
        expect(&wild, 80, "origin");
        expect(&wild, 8081, "redirected");
        for up in ["gateway up -i eth0.7 -i wlan3", "gateway up"] {
            gateway.rules("gateway down").ok();
            gateway.rules(up).ok();
            for client in [&dotted, &wild] {
                expect(client, 80, "redirected");
                expect(client, 8081, "redirected");
            }
        }
        // an address of the gateway itself is nobody's origin, whatever its interface
        for host in ["10.1.7.1:80", "203.0.113.1:80", "[2001:db8:7::1]:80", "[2001:db8:9::1]:80"] {
            assert_eq!(dotted.hears(host, Dial::default()), "gateway", "{backend} {host}");
        }
        gateway.rules("gateway down").ok();
        expect(&dotted, 80, "origin");
        expect(&wild, 8081, "origin");
    }
}

/// A machine whose own connections are to be redirected, and an origin to tell redirected from exempt.
fn machine_and_origin(backend: &str) -> [Net; 2] {
    let [machine, origin] = [Net::new(backend), Net::new(backend)];
    machine.link("eth0", ["203.0.113.1/24", "2001:db8:9::1/64"], &origin, "o0", ["203.0.113.9/24", "2001:db8:9::9/64"]);
    machine.serve(8443, "redirected");
    machine.serve(80, "machine");
    origin.serve(80, "origin");
    [machine, origin]
}

/// Both families' origins answer `answer` to who dials so.
fn expect_from(machine: &Net, dial: Dial, answer: &str) {
    for host in ["203.0.113.9:80", "[2001:db8:9::9]:80"] {
        assert_eq!(machine.hears(host, dial), answer, "{host} {dial:?}");
    }
}

#[test]
fn own_connections_are_exempt_by_mark() {
    for backend in BACKENDS {
        let [machine, _origin] = machine_and_origin(backend);
        expect_from(&machine, Dial::default(), "origin");
        machine.rules("local up").ok();
        expect_from(&machine, Dial::default(), "redirected");
        expect_from(&machine, Dial::mark(0x68), "origin");
        expect_from(&machine, Dial::mark(0x69), "redirected");
        machine.rules("local up --mark 9").ok();
        expect_from(&machine, Dial::mark(0x68), "redirected");
        expect_from(&machine, Dial::mark(9), "origin");
        machine.rules("local down").ok();
        expect_from(&machine, Dial::default(), "origin");
    }
}

#[test]
fn own_connections_are_exempt_by_uid() {
    for backend in BACKENDS {
        let [machine, _origin] = machine_and_origin(backend);
        machine.rules("local up --uid 12345").ok();
        expect_from(&machine, Dial::uid(12345), "origin");
        expect_from(&machine, Dial::uid(12346), "redirected");
        expect_from(&machine, Dial::mark(0x68), "origin");
        machine.rules("local up --uid nobody --mark 0").ok();
        expect_from(&machine, Dial::uid(65534), "origin");
        expect_from(&machine, Dial::uid(12345), "redirected");
        expect_from(&machine, Dial::mark(0x68), "redirected");
    }
}

#[test]
fn local_rules_leave_local_destinations_and_other_ports_alone() {
    for backend in BACKENDS {
        let [machine, origin] = machine_and_origin(backend);
        origin.serve(81, "origin");
        machine.rules("local up --dports 80").ok();
        for host in ["127.0.0.1:80", "127.9.9.9:80", "203.0.113.1:80", "[::1]:80", "[2001:db8:9::1]:80"] {
            assert_eq!(machine.hears(host, Dial::default()), "machine", "{backend} {host}");
        }
        expect_from(&machine, Dial::default(), "redirected");
        for host in ["203.0.113.9:81", "[2001:db8:9::9]:81"] {
            assert_eq!(machine.hears(host, Dial::default()), "origin", "{backend} {host}");
        }
    }
}

// ---- what goes wrong

#[test]
fn bad_arguments_are_named_and_change_nothing() {
    let net = Net::new("nft");
    net.rules("gateway up").ok();
    let before = net.saved();
    let rows: &[(&[&str], &str)] = &[
        (&[], "no mode given"),
        (&["up"], "no mode given"),
        (&["gateway"], "no action given"),
        (&["gateway", "local", "up"], "one mode"),
        (&["gateway", "up", "down"], "one action"),
        (&["gateway", "up", "eth0"], "unknown argument: eth0"),
        (&["gateway", "up", "--prot", "8443"], "unknown argument: --prot"),
        (&["gateway", "up", "--dry-run=no"], "unknown argument: no"),
        (&["gateway", "up", "--port"], "--port needs a value"),
        (&["gateway", "up", "--port="], "--port needs a value"),
        (&["gateway", "up", "--port", "-1"], "--port needs a value"),
        (&["gateway", "up", "--port", "0"], "--port 0"),
        (&["gateway", "up", "--port", "010"], "--port 010"),
        (&["gateway", "up", "--port", "65536"], "--port 65536"),
        (&["gateway", "up", "--port", "18446744073709551617"], "--port 18446744073709551617"),
        (&["gateway", "up", "--port", "http"], "--port http"),
        (&["gateway", "up", "--port", "1\n2"], "--port 1"),
        (&["gateway", "down", "--port", "8443x"], "--port 8443x"),
        (&["gateway", "up", "--dports", ","], "--dports ,"),
        (&["gateway", "up", "--dports", "80,"], "--dports 80,"),
        (&["gateway", "up", "--dports", "80,,443"], "--dports 80,,443"),
        (&["gateway", "up", "--dports", "80 443"], "--dports 80 443"),
        (&["gateway", "up", "--dports", "*"], "--dports *"),
        (&["gateway", "up", "--dports", "0"], "--dports 0"),
        (&["gateway", "up", "--dports", "443-80"], "--dports 443-80"),
        (&["gateway", "up", "--dports", "80-"], "--dports 80-:"),
        (&["gateway", "up", "--dports", "1-2-3"], "--dports 1-2-3"),
        (&["gateway", "up", "--dports", "80,65536"], "--dports 65536"),
        (&["gateway", "up", "-i"], "-i needs a value"),
        (&["gateway", "up", "-i", "--dry-run"], "-i needs a value"),
        (&["gateway", "up", "-i", ""], "-i needs a value"),
        (&["gateway", "up", "-i", "sixteencharacter"], "-i sixteencharacter"),
        (&["gateway", "up", "-i", "eth0:1"], "-i eth0:1"),
        (&["gateway", "up", "-i", "!eth0"], "-i !eth0"),
        (&["gateway", "up", "-i", "eth0 eth1"], "-i eth0 eth1"),
        (&["gateway", "up", "-i", "e\n-F"], "-i e"),
        (&["gateway", "up", "-i", "e\"0"], "-i e\"0"),
        (&["gateway", "up", "--mark", "1"], "--mark belongs to local"),
        (&["gateway", "up", "--uid", "0"], "--uid belongs to local"),
        (&["local", "up", "-i", "eth0"], "-i belongs to gateway"),
        (&["local", "up", "--mark", "0x"], "--mark 0x:"),
        (&["local", "up", "--mark", "0x100000000"], "--mark 0x100000000"),
        (&["local", "up", "--mark", "4294967296"], "--mark 4294967296"),
        (&["local", "up", "--mark", "1/1"], "--mark 1/1"),
        (&["local", "up", "--mark", "0"], "--mark 0 without --uid"),
        (&["local", "up", "--mark", "0x0"], "--mark 0 without --uid"),
        (&["local", "up", "--uid", "no-such-user"], "--uid no-such-user: no such user"),
        (&["local", "up", "--uid", "4294967295"], "--uid 4294967295"),
    ];
    for (arguments, problem) in rows {
        let ran = Ran::of(net.script(arguments).output().expect("run the script")).exits(2);
        ran.says(problem);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
    assert_eq!(net.saved(), before);
}

#[test]
fn every_mistake_is_named_at_once() {
    let net = Net::new("nft");
    let ran = net.rules("local up --port 0 --mark x --uid no-such-user --dports 0,1,2-1 -i eth0 --frob").exits(2);
    for problem in ["--port 0", "--mark x", "no-such-user", "--dports 0", "--dports 2-1", "-i belongs", "--frob"] {
        ran.says(problem);
    }
}

#[test]
fn values_at_the_edge_are_taken() {
    let twenty = (1..=20).map(|n| (n * 100).to_string()).collect::<Vec<_>>().join(",");
    for net in both() {
        for (command, rules) in [
            ("--port=1 up gateway --dports=1-65535 -i fifteencharacte", "-i fifteencharacte -p tcp"),
            ("gateway up --port 65535 -i br-0+", "-i br-0+ -p tcp"),
            ("gateway up --port 65534", "! -i lo -p tcp"),
            ("local up --mark 0xffffffff", "--mark 0xffffffff -j RETURN"),
            ("local up --mark 4294967295 --uid 4294967294", "--uid-owner 4294967294 -j RETURN"),
            // more than one multiport match holds
            (&format!("local up --dports {twenty}"), "--dport 2000 "),
        ] {
            net.rules(command).ok().silent();
            assert_eq!(net.saved().matches(rules).count(), 2, "{command}: {}", net.saved());
        }
    }
}

#[test]
fn help_explains_itself_and_runs_nothing() {
    for help in ["-h", "--help", "gateway up --help"] {
        let ran = Ran::of(Command::new(SCRIPT).args(help.split(' ')).output().expect("run the script")).ok();
        for word in ["Usage:", "Examples:", "gateway", "local", "--dports", "--mark", "--uid", "--dry-run", "-4, -6"] {
            assert!(ran.stdout.contains(word), "{word} is not in {}", ran.stdout);
        }
        assert!(ran.stdout.lines().all(|l| l.len() <= 80), "{}", ran.stdout);
    }
}

#[test]
fn without_ipv6_nat_ipv4_goes_on_unless_6_was_asked_for() {
    let reason = "ip6tables v1.8.9 (legacy): can't initialize ip6tables table `nat': Table does not exist";
    for net in both() {
        let [nothing4, _] = net.saved_apart(true);
        net.replace(
            "ip6tables",
            &format!("#!/bin/sh\necho \"{}\" >&2; echo more >&2; exit 3\n", reason.replace('`', "\\`")),
        );
        for six in ["gateway up -6", "gateway up -4 -6", "gateway down -6"] {
            net.rules(six).exits(1).says(reason);
            assert_eq!(without_comments(&net.sh("iptables-save -t nat")), nothing4, "{six}");
        }
        net.rules("gateway up -4").ok().silent();
        let up = net.rules("gateway up").ok();
        up.says(reason);
        up.says("IPv6");
        assert_eq!(up.stderr.lines().count(), 1, "{}", up.stderr);
        assert!(net.sh("iptables-save -t nat").contains("-A PREROUTING -p tcp -j HANDYPROXY_GW_8443"));
        net.rules("gateway down").ok();
        assert_eq!(without_comments(&net.sh("iptables-save -t nat")), nothing4);
    }
}

#[test]
fn a_failure_half_way_is_undone() {
    for backend in BACKENDS {
        let net = Net::new(backend);
        let broken = "#!/bin/sh\ncat >/dev/null\necho 'line 3 failed' >&2; exit 1\n";
        net.foreign_rules();
        let before = net.saved();
        net.replace("ip6tables-restore", broken);
        let up = net.rules("gateway up").exits(1);
        up.says("line 3 failed");
        up.says("IPv6");
        up.says("nothing was changed");
        assert_eq!(net.saved(), before);

        net.link_tools(backend);
        net.rules("gateway up -i eth0.7 -i wlan+ --dports 80,443").ok();
        net.later_foreign_rules();
        let before = net.saved();
        net.replace("ip6tables-restore", broken);
        net.rules("gateway up -i eth1").exits(1);
        assert_eq!(net.saved(), before, "the earlier options are back");

        net.link_tools(backend);
        net.replace("iptables-restore", broken);
        net.rules("gateway up -i eth1").exits(1).says("IPv4");
        assert_eq!(net.saved(), before);
    }
}

#[test]
fn a_signal_does_not_leave_one_family_behind() {
    for net in both() {
        let real = fs::read_link(net.tools.join("iptables-restore")).expect("tools are links");
        // the script's own process is the parent of the tools that it runs
        let killer = format!("#!/bin/sh\n{} \"$@\" || exit 1\nkill -TERM $PPID\n", real.display());
        net.replace("iptables-restore", &killer);
        net.rules("gateway up").ok();
        let jumps = net.saved().matches("-A PREROUTING -p tcp -j HANDYPROXY_GW_8443").count();
        assert_eq!(jumps, 2, "{}", net.saved());
    }
}

#[test]
fn missing_privileges_are_named() {
    for net in both() {
        let before = net.saved();
        for command in ["gateway up", "local up --dry-run", "gateway down"] {
            let mut unprivileged = net.command("setpriv");
            unprivileged.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin", SCRIPT]).args(command.split(' '));
            let ran = Ran::of(unprivileged.output().expect("run setpriv")).exits(1);
            ran.says("Permission denied (you must be root)");
            assert_eq!(net.saved(), before, "{command}");
        }
    }
}

#[test]
fn missing_iptables_is_named() {
    let net = Net::new("nft");
    for tool in TOOLS {
        fs::remove_file(net.tools.join(tool)).expect("remove the link");
    }
    net.sh("mkdir /run/empty; for d in /usr/local/sbin /usr/sbin /sbin; do mount --bind /run/empty $d; done");
    for command in ["gateway up", "gateway down", "local up --dry-run"] {
        net.rules(command).exits(1).says("iptables is not installed");
    }
}

#[test]
fn the_xtables_lock_is_waited_for() {
    let net = Net::new("legacy");
    let mut holder = net.command("flock");
    holder.args(["/run/xtables.lock", "sh", "-c", "echo held; exec cat >/dev/null"]).stdin(Stdio::piped());
    let mut holder = holder.stdout(Stdio::piped()).spawn().expect("spawn flock");
    expect_line(&mut holder, "held");
    let lock = fs::metadata(format!("/proc/{}/root/run/xtables.lock", net.holder.id())).expect("the lock is a file");
    let (major, minor) = (nix::sys::stat::major(lock.dev()), nix::sys::stat::minor(lock.dev()));
    let lock = format!(" {major:02x}:{minor:02x}:{} ", lock.ino());

    let mut script = net.script(&["gateway", "up"]).spawn().expect("spawn the script");
    while !fs::read_to_string("/proc/locks")
        .expect("read locks")
        .lines()
        .any(|l| l.contains("-> ") && l.contains(&lock))
    {
        assert_eq!(script.try_wait().expect("wait"), None, "the script did not wait");
        thread::sleep(Duration::from_millis(5));
    }
    drop(holder.stdin.take());
    holder.wait().expect("wait for flock");
    Ran::of(script.wait_with_output().expect("wait for the script")).ok().silent();
    assert_eq!(net.saved().matches("-A PREROUTING -p tcp -j HANDYPROXY_GW_8443").count(), 2);
}

/// Some versions of iptables wait without being asked, so that waiting alone proves little.
#[test]
fn every_call_asks_to_wait_for_the_xtables_lock() {
    for net in both() {
        for tool in ["iptables", "iptables-restore", "ip6tables", "ip6tables-restore"] {
            let real = fs::read_link(net.tools.join(tool)).expect("tools are links");
            let strict = "case \" $* \" in *' -w '*) ;; *) echo \"$0 without -w\" >&2; exit 4 ;; esac";
            net.replace(tool, &format!("#!/bin/sh\n{strict}\nexec {} \"$@\"\n", real.display()));
        }
        net.rules("gateway up").ok().silent();
        net.rules("gateway down").ok().silent();
    }
}

#[test]
fn an_odd_environment_makes_no_difference() {
    let [odd, plain] = [Net::new("nft"), Net::new("nft")];
    let command = "gateway up -i eth0.7 -i wlan+ --dports 80,443,8000-8999";
    plain.rules(command).ok();
    // a link of another name, called by a relative path from a directory whose files look like arguments
    let directory = odd.tools.join("here");
    fs::create_dir(&directory).expect("make a directory");
    for name in ["80", "443", "wlan3", "-A"] {
        File::create(directory.join(name)).expect("make a file");
    }
    symlink(SCRIPT, directory.join("rules")).expect("link the script");
    let mut ran = odd.command("env");
    ran.args([
        "-C",
        directory.to_str().expect("a readable path"),
        "IFS=8 -/h\n",
        "LC_ALL=tr_TR.UTF-8",
        "POSIXLY_CORRECT=1",
    ]);
    ran.args(["chain=x", "rules=x", "uid=x", "loaded=x", "./rules"]).args(command.split(' '));
    Ran::of(ran.output().expect("run env")).ok().silent();
    assert_eq!(odd.saved(), plain.saved());
}

// ---- the scripts of the project

#[test]
fn every_script_is_shellcheck_clean() {
    let scripts: Vec<PathBuf> = ["iptables", "deploy", "tests", ".ci", "benches"]
        .iter()
        .flat_map(|folder| files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)))
        .filter(|file| is_shell_script(file))
        .collect();
    assert!(scripts.contains(&PathBuf::from(SCRIPT)), "{scripts:?}");
    let ran = Command::new("shellcheck")
        .args(["--external-sources", "--source-path=SCRIPTDIR"])
        .args(&scripts)
        .output()
        .expect("shellcheck runs: install the package of that name");
    Ran::of(ran).ok();
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("read a directory").path());
    paths.flat_map(|path| if path.is_dir() && !path.is_symlink() { files_below(&path) } else { vec![path] }).collect()
}

fn is_shell_script(file: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(file).and_then(|f| f.take(80).read_to_end(&mut start));
    let start = String::from_utf8_lossy(&start);
    let Some(shebang) = start.lines().next().and_then(|line| line.strip_prefix("#!")) else { return false };
    read.is_ok() && shebang.split([' ', '/']).any(|word| ["sh", "bash", "dash"].contains(&word))
}

// ---- namespaces

/// A network namespace with a /run of its own (the xtables lock is there), and one backend's tools in front of its PATH.
struct Net {
    holder: Child,
    tools: PathBuf,
}

fn both() -> [Net; 2] {
    BACKENDS.map(Net::new)
}

impl Net {
    fn new(backend: &str) -> Net {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(geteuid().is_root(), "this test makes network namespaces: run it as root");
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c"])
            .arg("mount -t tmpfs tmpfs /run && ip link set lo up && echo ready && exec cat >/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn unshare");
        expect_line(&mut holder, "ready");
        let unique = format!("rules-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let net = Net { holder, tools: Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique) };
        net.link_tools(backend);
        net
    }

    /// Puts the backend's own tools in front of PATH, in place of what [`Net::replace`] put there.
    fn link_tools(&self, backend: &str) {
        let _ = fs::remove_dir_all(&self.tools);
        fs::create_dir_all(&self.tools).expect("make the tools' directory");
        for tool in TOOLS {
            let (family, form) = tool.split_once('-').unwrap_or((tool, ""));
            let real = [family, backend, form].join("-");
            let real = real.trim_end_matches('-');
            let found =
                ["/usr/sbin", "/sbin", "/usr/bin"].map(|d| Path::new(d).join(real)).into_iter().find(|p| p.exists());
            let found = found.unwrap_or_else(|| panic!("{real} is not installed: install the package iptables"));
            symlink(found, self.tools.join(tool)).expect("link a tool");
        }
    }

    fn replace(&self, tool: &str, script: &str) {
        let path = self.tools.join(tool);
        fs::remove_file(&path).expect("remove the link");
        // written by a child: a descriptor of ours could be open in another test's fork and make the tool "busy"
        let mut write = Command::new("sh");
        write.args(["-ec", "printf %s \"$1\" >\"$2\"; chmod +x \"$2\"", "sh", script]).arg(path);
        Ran::of(write.output().expect("run sh")).ok();
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder.id())).args(["--net", "--mount", "--", program]);
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", self.tools.display()));
        command.stdin(Stdio::null());
        command
    }

    fn script(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(SCRIPT);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn rules(&self, arguments: &str) -> Ran {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        Ran::of(self.script(&arguments).output().expect("run the script"))
    }

    fn sh(&self, script: &str) -> String {
        Ran::of(self.command("sh").args(["-ec", script]).output().expect("run sh")).ok().stdout
    }

    /// All tables of both families.
    fn saved(&self) -> String {
        without_comments(&self.sh("iptables-save; ip6tables-save"))
    }

    /// As [`Net::saved`], where both nat tables exist: iptables makes one when it is first used, and never removes it.
    fn saved_with_nat(&self) -> String {
        self.saved_apart(true).concat()
    }

    fn saved_apart(&self, make: bool) -> [String; 2] {
        ["iptables", "ip6tables"].map(|tool| {
            if make {
                self.sh(&format!("{tool} -w -t nat -N MADE; {tool} -w -t nat -X MADE"));
            }
            without_comments(&self.sh(&format!("{tool}-save")))
        })
    }

    /// What a machine has without us: chains and comments that look like ours, rules in other tables.
    fn foreign_rules(&self) {
        self.sh("for t in iptables ip6tables; do $t-restore -w --noflush <<'EOF'
*nat
:DOCKER - [0:0]
:HANDYPROXY_GW_84 - [0:0]
:HANDYPROXY_GW_84430 - [0:0]
-A DOCKER -i docker0 -j RETURN
-A HANDYPROXY_GW_84430 -p tcp -j RETURN
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -p tcp -j HANDYPROXY_GW_84430
-A PREROUTING -p udp -m comment --comment \"as -p tcp -j HANDYPROXY_GW_8443\" -j ACCEPT
-A OUTPUT -p tcp -m comment --comment HANDYPROXY_LO_8444 -j DOCKER
-A POSTROUTING ! -o docker0 -j MASQUERADE
COMMIT
*mangle
-A OUTPUT -p tcp -j MARK --set-xmark 0x1/0x1
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
COMMIT
EOF
done");
    }

    /// What comes after our jumps in the same chains.
    fn later_foreign_rules(&self) {
        self.sh("for t in iptables ip6tables; do for c in PREROUTING OUTPUT; do
            $t -w -t nat -A $c -p tcp -m tcp --dport 7 -j RETURN; done; done");
    }

    /// Joins two namespaces by a pair of interfaces, each with an address of either family.
    fn link(&self, name: &str, addresses: [&str; 2], peer: &Net, peer_name: &str, peer_addresses: [&str; 2]) {
        self.sh(&format!("ip link add {name} type veth peer name {peer_name} netns {}", peer.holder.id()));
        for (net, name, addresses) in [(self, name, addresses), (peer, peer_name, peer_addresses)] {
            for address in addresses {
                net.sh(&format!("ip address add {address} dev {name} nodad"));
            }
            net.sh(&format!("ip link set {name} up"));
        }
    }

    fn default_routes(&self, v4: &str, v6: &str) {
        self.sh(&format!("ip route add default via {v4}; ip -6 route add default via {v6}"));
    }

    /// Runs `inside` on a thread of its own that has moved into this namespace.
    fn inside<T: Send + 'static>(&self, inside: impl FnOnce() -> T + Send + 'static) -> T {
        let net = File::open(format!("/proc/{}/ns/net", self.holder.id())).expect("the holder lives");
        let moved = thread::spawn(move || {
            setns(net, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
            inside()
        });
        moved.join().expect("the thread in the namespace ends well")
    }

    /// Answers every connection to `port` with `banner`, until the test program ends.
    fn serve(&self, port: u16, banner: &'static str) {
        let listener = self.inside(move || TcpListener::bind(("::", port)).expect("bind in the namespace"));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let _ = connection.and_then(|mut stream| stream.write_all(banner.as_bytes()));
            }
        });
    }

    /// The banner of who really answers a connection to `to`.
    fn hears(&self, to: &str, dial: Dial) -> String {
        let to: SocketAddr = to.parse().expect("an address");
        self.inside(move || {
            // holds for this thread alone, and ends with it
            setfsuid(Uid::from_raw(dial.uid));
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("make a socket");
            socket.set_mark(dial.mark).expect("mark the socket");
            socket.connect_timeout(&to.into(), Duration::from_secs(5)).expect("connect");
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set a timeout");
            let mut banner = String::new();
            stream.read_to_string(&mut banner).expect("read the banner");
            banner
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = fs::remove_dir_all(&self.tools);
    }
}

/// How a connection is made: 0 is no mark, and root.
#[derive(Clone, Copy, Debug, Default)]
struct Dial {
    mark: u32,
    uid: u32,
}

impl Dial {
    fn mark(mark: u32) -> Dial {
        Dial { mark, ..Dial::default() }
    }

    fn uid(uid: u32) -> Dial {
        Dial { uid, ..Dial::default() }
    }
}

/// What a command left behind.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn ok(self) -> Ran {
        self.exits(0)
    }

    #[track_caller]
    fn silent(self) {
        assert_eq!((self.stdout.as_str(), self.stderr.as_str()), ("", ""));
    }

    #[track_caller]
    fn says(&self, what: &str) {
        assert!(self.stderr.contains(what), "{what:?} is not in stderr: {}", self.stderr);
    }
}

/// The comments hold the time of day.
fn without_comments(saved: &str) -> String {
    saved.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

fn last_word(line: &str) -> String {
    line.rsplit(' ').next().unwrap_or(line).to_owned()
}

/// Waits for a child's first line: it is ready then.
#[track_caller]
fn expect_line(child: &mut Child, line: &str) {
    let mut read = String::new();
    let stdout = child.stdout.as_mut().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut read).expect("read a line");
    assert_eq!(read.trim_end(), line, "the child did not get ready");
}
