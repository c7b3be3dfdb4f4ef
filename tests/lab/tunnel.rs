//! The open tunnel: half-closes pass through, resets stay resets, and nothing is held that nobody uses.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::support::random::Random;
use crate::support::scene::Scene;
use crate::support::topology::{V4, V6};
use crate::support::wire::{Ending, Wire, carry};
use crate::support::{PATIENCE, each_row, eventually};

const MB: usize = 1 << 20;
/// When nothing was taken for so long, all buffers are full.
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn the_client_half_closes_and_the_origin_sends_a_megabyte_more() {
    let scene = Scene::new("");
    for origin in [V4, V6] {
        let (mut client, mut up) = scene.tunnel_to(origin);
        client.fin();
        up.expect_end(Ending::Fin);
        carry(&mut up, &mut client, MB);
        up.fin();
        client.expect_end(Ending::Fin);
        let line = scene.gateway.session_of(&client);
        line.expect("end=done stage=relay");
        assert_eq!(line.number("down"), (MB + 1) as f64);
    }
}

#[test]
fn the_origin_half_closes_and_the_client_sends_half_a_megabyte_more() {
    let scene = Scene::new("");
    for origin in [V4, V6] {
        let (mut client, mut up) = scene.tunnel_to(origin);
        up.fin();
        client.expect_end(Ending::Fin);
        carry(&mut client, &mut up, MB / 2);
        client.fin();
        up.expect_end(Ending::Fin);
        let line = scene.gateway.session_of(&client);
        line.expect("end=done stage=relay");
        assert_eq!(line.number("up"), (MB / 2 + 1) as f64);
    }
}

#[test]
fn bytes_right_before_a_fin_arrive_before_it() {
    let scene = Scene::new("");
    for count in [1, 1000, 5 * MB] {
        let (mut client, mut up) = scene.tunnel();
        let bytes = Random::new(3).bytes(count);
        thread::scope(|scope| {
            scope.spawn(|| {
                client.send(&bytes);
                client.fin();
            });
            up.expect(&bytes);
            up.expect_end(Ending::Fin);
        });
    }
}

/// A way in which a tunnel is reset, and by whom.
struct Cut {
    name: &'static str,
    by: &'static str,
    cut: fn(Wire, Wire) -> Wire,
}

#[test]
fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let rows = [
        Cut {
            name: "client resets",
            by: "client",
            cut: |client, up| {
                client.reset();
                up
            },
        },
        Cut {
            name: "origin resets",
            by: "upstream",
            cut: |client, up| {
                up.reset();
                client
            },
        },
        Cut {
            name: "origin half-closes, then the client resets",
            by: "client",
            cut: |mut client, mut up| {
                up.fin();
                client.expect_end(Ending::Fin);
                client.reset();
                up
            },
        },
        Cut {
            name: "client half-closes, then the origin resets",
            by: "upstream",
            cut: |mut client, mut up| {
                client.fin();
                up.expect_end(Ending::Fin);
                up.reset();
                client
            },
        },
        Cut {
            name: "client resets with bytes on their way to it",
            by: "client",
            cut: |client, mut up| {
                up.send([b'x'; 1000]);
                assert!(client.has_news(PATIENCE), "they do not come");
                // unread bytes make this a reset
                drop(client);
                up
            },
        },
    ];
    let scene = Scene::new("");
    let start = scene.gateway.descriptors();
    let both = rows.iter().flat_map(|row| [(row, V4), (row, V6)]);
    each_row(
        &both.collect::<Vec<_>>(),
        |(row, origin)| format!("{} ({origin})", row.name),
        |(row, origin)| {
            let (client, up) = scene.tunnel_to(*origin);
            let address = client.address();
            let other = (row.cut)(client, up);
            assert!(has_reset(&other), "it was not reset");
            scene.gateway.session_from(&address).expect(&format!("end=reset by={} stage=relay", row.by));
        },
    );
    scene.gateway.settles_at(start);
}

/// Whether this side gets a reset in time. Behind a FIN, or behind bytes, no read would tell: the socket's error does.
fn has_reset(wire: &Wire) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let error = wire.socket().take_error().expect("SO_ERROR of an open socket");
        if let Some(error) = error {
            // EPIPE: a reset that came behind the FIN
            return matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        }
        thread::sleep(Duration::from_millis(2));
    }
    false
}

// nobody reads from a side that has ended: its reset is looked for now and then
#[test]
fn a_reset_after_a_half_close_is_seen() {
    let scene = Scene::new("-half-closed-timeout 0");
    let start = scene.gateway.descriptors();
    for origin in [V4, V6] {
        let (mut client, mut up) = scene.tunnel_to(origin);
        client.fin();
        up.expect_end(Ending::Fin);
        let address = client.address();
        client.reset();
        assert!(has_reset(&up), "the origin was not reset");
        scene.gateway.session_from(&address).expect("end=reset by=client stage=relay");

        // a client that has been told of the end has got everything: to it, this is a close
        let (mut client, mut up) = scene.tunnel_to(origin);
        up.fin();
        client.expect_end(Ending::Fin);
        up.reset();
        scene.gateway.session_of(&client).expect("by=upstream stage=relay");
        scene.gateway.settles_at(start);
        client.send("too late");
        assert!(has_reset(&client), "the client can still send");
    }
}

#[test]
fn what_was_sent_before_the_end_arrives_although_a_reset_follows() {
    let scene = Scene::new("");
    let start = scene.gateway.descriptors();
    for by_client in [true, false] {
        let (client, up) = scene.tunnel();
        let address = client.address();
        let ns = if by_client { &scene.net.client } else { &scene.net.upstream };
        let (mut from, mut to) = if by_client { (client, up) } else { (up, client) };
        SockRef::from(to.socket()).set_recv_buffer_size(4096).expect("an open socket");
        let bytes = Random::new(8).bytes(96 * 1024);
        from.send(&bytes);
        from.fin();
        // all of it is the gateway's now, and the other side has hardly begun to take it
        let sender = from.address();
        eventually(|| match ns.run("ss -Htn state fin-wait-2").contains(&sender) {
            true => Ok(()),
            false => Err("the gateway has not taken all".to_owned()),
        });
        from.reset();
        thread::sleep(Duration::from_millis(1500));
        to.expect(&bytes);
        to.expect_end(Ending::Fin);
        drop(to);
        scene.gateway.session_from(&address).expect("stage=relay");
        scene.gateway.settles_at(start);
    }
}

#[test]
fn a_reset_behind_bytes_that_nobody_takes_is_seen() {
    let scene = Scene::new("");
    let start = scene.gateway.descriptors();
    let both = [true, false].map(|by_client| {
        let (client, up) = scene.tunnel();
        let (mut gone, stays) = if by_client { (client, up) } else { (up, client) };
        gone.fill(QUIET);
        gone.reset();
        stays
    });
    let since = Instant::now();
    // the other side has some time to take them after all
    while scene.gateway.descriptors() != start {
        assert!(since.elapsed() < Duration::from_secs(40), "still there: {:?}", scene.gateway.descriptors());
        thread::sleep(Duration::from_millis(50));
    }
    eprintln!("seen after {:?}", since.elapsed());
    for _ in &both {
        scene.gateway.session_line().expect("end=reset stage=relay");
    }
}

#[test]
fn dead_tunnels_leave_nothing_behind() {
    let scene = Scene::new("");
    let start = scene.gateway.descriptors();
    for _ in 0..5 {
        let (client, up) = scene.tunnel();
        client.reset();
        // the origin never closes
        scene.gateway.settles_at(start);
        drop(up);
        let (client, up) = scene.tunnel();
        up.reset();
        scene.gateway.settles_at(start);
        drop(client);
    }
}
