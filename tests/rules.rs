//! The promises of `iptables/handyproxy-rules`, kept in network namespaces made for each test, under both backends of
//! iptables. The machine's own rules are never touched: every command runs inside a [`Net`]. Needs root.

#[path = "rules/capture.rs"]
mod capture;
#[path = "rules/life.rs"]
mod life;
#[expect(unreachable_pub, reason = "it is a room of its own")]
#[path = "rules/net.rs"]
mod net;
#[path = "rules/sums.rs"]
mod sums;

use net::{BACKENDS, Dial, Net, Ran, SCRIPT, TOOLS, both, expect_line, last_word, without_comments};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

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
        net.sh("iptables -w -t nat -A PREROUTING -j HANDYPROXY_GW_8443");
        assert_ne!(net.saved(), once);
        net.rules("gateway up").ok();
        assert_eq!(net.saved(), once);
        net.sh("iptables -w -t nat -A PREROUTING -j HANDYPROXY_GW_8443");
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
        let before = net.saved_with_tables();
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
        down.says("the IPv4 nat table");
        let left = net.what_counts();
        assert_eq!(left.matches("HANDYPROXY_LO_8443").count(), 1, "the other's rule alone: {left}");
        net.sh("iptables -w -t nat -D OUTPUT -p udp -j HANDYPROXY_LO_8443");
        net.rules("local down").ok().silent();
        assert!(!net.saved().contains("HANDYPROXY"), "{}", net.saved());
    }
}

#[test]
fn instances_do_not_disturb_each_other() {
    for net in both() {
        let mut stages = vec![net.saved_with_tables()];
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
        let before = net.saved_with_tables();
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
                let jumps = saved.matches(&format!("-A OUTPUT -j HANDYPROXY_LO_{port}\n")).count();
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
            net.interfaces("eth0.7 wlan3");
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
        (&["gateway", "up", "--name", "fifteen-letters"], "--name fifteen-letters"),
        (&["gateway", "up", "--name", "a.b"], "--name a.b"),
        (&["gateway", "up", "--name", "-F"], "--name needs a value"),
        (&["gateway", "up", "--name=-F"], "--name needs a value"),
        (&["gateway", "up", "--from", "10.0.5.0/33"], "--from 10.0.5.0/33"),
        (&["gateway", "up", "--from", "10.0.5/24"], "--from 10.0.5/24"),
        (&["gateway", "up", "--from", "10.0.5.256"], "--from 10.0.5.256"),
        (&["gateway", "up", "--from", "lan.example"], "--from lan.example"),
        (&["gateway", "up", "--from", "10.0.5.0/24\n-F"], "--from 10.0.5.0/24"),
        (&["gateway", "up", "--exclude", "fd00:5::/129"], "--exclude fd00:5::/129"),
        (&["gateway", "up", "--exclude", "fd00::5::1"], "--exclude fd00::5::1"),
        (&["gateway", "up", "--exclude", "1:2:3:4:5:6:7"], "--exclude 1:2:3:4:5:6:7"),
        (&["gateway", "up", "--exclude", "fd00:5"], "--exclude fd00:5"),
        (&["gateway", "up", "--exclude", "12345::"], "--exclude 12345::"),
        (&["gateway", "up", "--dns-pool", "pool"], "--dns-pool pool"),
        (&["gateway", "up", "-6", "--from", "10.0.5.0/24"], "-6 with --from: no network of IPv6"),
        (&["gateway", "up", "--quic", "drop"], "--quic drop"),
        (&["gateway", "up", "--capture", "dnat"], "--capture dnat"),
        (&["gateway", "up", "--backend", "ebtables"], "--backend ebtables"),
        (&["gateway", "up", "--dns", "0"], "--dns 0"),
        (&["gateway", "up", "--dns", "8443"], "--dns 8443"),
        (&["gateway", "up", "--confirm", "0"], "--confirm 0"),
        (&["gateway", "up", "--confirm", "1h"], "--confirm 1h"),
        (&["gateway", "down", "--confirm", "60"], "--confirm belongs to up"),
        (&["gateway", "print", "--dry-run"], "--dry-run belongs to up and down"),
        (&["gateway", "up", "--porcelain"], "--porcelain belongs to status and print"),
        (&["print"], "no mode given"),
        (&["down"], "no mode given"),
        (&["local", "up", "--from", "10.0.5.0/24"], "--from belongs to gateway"),
        (&["local", "up", "--capture", "tproxy"], "--capture tproxy belongs to gateway"),
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
        net.interfaces("fifteencharacte br-07");
        // the rules of both families, and where QUIC is refused those of both tables
        for (command, rules, times) in [
            ("--port=1 up gateway --dports=1-65535 -i fifteencharacte", "-i fifteencharacte -p tcp", 2),
            ("gateway up --port 65535 -i br-0+", "-i br-0+ -p tcp", 2),
            ("gateway up --port 65534", "! -i lo -p tcp", 2),
            ("local up --mark 0xffffffff", "--mark 0xffffffff -j RETURN", 4),
            ("local up --mark 4294967295 --uid 4294967294", "--uid-owner 4294967294 -j RETURN", 4),
            // more than one multiport match holds
            (&format!("local up --dports {twenty}"), "--dport 2000 ", 2),
        ] {
            net.rules(command).ok().silent();
            assert_eq!(net.saved().matches(rules).count(), times, "{command}: {}", net.saved());
        }
    }
}

#[test]
fn help_explains_itself_and_runs_nothing() {
    for help in ["-h", "--help", "gateway up --help"] {
        let ran = Ran::of(Command::new(SCRIPT).args(help.split(' ')).output().expect("run the script")).ok();
        for word in [
            "Usage:",
            "Examples:",
            "gateway",
            "local",
            "--dports",
            "--mark",
            "--uid",
            "--dry-run",
            "-4, -6",
            "--confirm",
            "--dns-pool",
        ] {
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
            assert_eq!(without_comments(&net.sh("iptables-save")), nothing4, "{six}");
        }
        net.rules("gateway up -4").ok().silent();
        let up = net.rules("gateway up").ok();
        up.says(reason);
        up.says("IPv6");
        assert_eq!(up.stderr.lines().count(), 1, "{}", up.stderr);
        assert!(net.sh("iptables-save").contains("-A PREROUTING -j HANDYPROXY_GW_8443"));
        net.rules("gateway down").ok();
        assert_eq!(without_comments(&net.sh("iptables-save")), nothing4);
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
        let jumps = net.saved().matches("-A PREROUTING -j HANDYPROXY_GW_8443").count();
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
    assert_eq!(net.saved().matches("-A PREROUTING -j HANDYPROXY_GW_8443").count(), 2);
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
    for net in [&odd, &plain] {
        net.interfaces("eth0.7 wlan3");
    }
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

/// Without what was built there.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let is_built = ["target", "artifacts"].iter().any(|name| folder.ends_with(name));
    let Some(entries) = fs::read_dir(folder).ok().filter(|_| !is_built) else { return Vec::new() };
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

/// The page and the usage name the same options.
#[test]
fn the_man_page_has_every_option_and_no_other() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/handyproxy-rules.8")).expect("the page");
    let usage = Ran::of(Command::new(SCRIPT).arg("--help").output().expect("run the script")).ok().stdout;
    let first = |line: &str| line.split([' ', ',']).next().unwrap_or_default().to_owned();
    let options = |line: &str| line.starts_with("  -").then(|| line.trim_start().to_owned());
    let mut used: Vec<String> = usage
        .lines()
        .filter_map(options)
        .flat_map(|line| {
            let both = line.strip_prefix(&(first(&line) + ", ")).map(first);
            [Some(first(&line)), both].into_iter().flatten()
        })
        .collect();
    let mut documented: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".It Fl "))
        .flat_map(|line| {
            line.split(" , Fl ")
                .map(|one| format!("-{}", one.split(' ').next().unwrap_or_default().replace("\\-", "-")))
                .collect::<Vec<_>>()
        })
        .collect();
    used.sort();
    documented.sort();
    assert!(used.len() > 20, "{used:?}");
    assert_eq!(documented, used);
    let lint = Command::new("mandoc").args(["-T", "lint", "-W", "warning", "man/handyproxy-rules.8"]).output();
    let lint = Ran::of(lint.expect("mandoc runs: install the package of that name")).ok();
    assert_eq!((lint.stdout.as_str(), lint.stderr.as_str()), ("", ""));
}
