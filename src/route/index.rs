//! Which entries of all routes a flow hits: networks by their longest match, names by their longest suffix.
//!
//! Each network or name that occurs in a list is a node, which knows the next wider one: a look-up finds the
//! narrowest node and the rest is a walk along links, without allocation. A node has the routes in order.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use crate::addr::Host;

/// A route that an entry belongs to, and the entry's ports: `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// The route's number.
    pub(super) route: u32,
    /// 0 <= first <= last
    pub(super) first: u16,
    /// The last port.
    pub(super) last: u16,
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) clients: Nets,
    pub(super) origins: Nets,
    pub(super) names: Names,
    pub(super) nodes: Vec<Node>,
    /// The lists of all nodes.
    pub(super) entries: Vec<Entry>,
}

/// Networks to node numbers.
#[derive(Debug, Default)]
pub(super) struct Nets {
    v4: PrefixMap<Ipv4Net, u32>,
    v6: PrefixMap<Ipv6Net, u32>,
}

/// Names to node numbers.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_name: HashMap<Box<str>, Nodes>,
    /// The most labels that one of them has.
    labels: usize,
}

/// The nodes of one name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nodes {
    /// Of `host`.
    pub(super) exact: Option<u32>,
    /// Of `.host`.
    pub(super) suffix: Option<u32>,
}

/// A network or a name; its lists are ranges of [`Index::entries`], one behind the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The next wider one.
    pub(super) wider: Option<u32>,
    /// Where each list begins, in the order of [`Lists`], and where the last ends: ascending.
    pub(super) bounds: [u32; 6],
}

/// The lists of a node, each in the order of routes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists<'a> {
    /// Routes that it leads into: for all clients (origins and names), or by `*` (clients).
    pub(super) ways: &'a [Entry],
    /// Routes for some clients that it leads into (origins and names).
    pub(super) ways_of_members: &'a [Entry],
    /// Routes that a name leads into (clients).
    pub(super) ways_by_name: &'a [Entry],
    /// Routes that are for it (clients).
    pub(super) members: &'a [Entry],
    /// Routes that it is taken out of.
    pub(super) exceptions: &'a [Entry],
}

/// The lists that a flow hits in one respect, from the narrowest node to the widest.
#[derive(Clone, Copy)]
pub(super) struct Chain<'a>(Option<(&'a Index, u32)>);

impl Entry {
    /// Whether it is for this port.
    pub(super) fn has_port(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// The entries of routes from this one on.
pub(super) fn from(entries: &[Entry], route: u32) -> &[Entry] {
    &entries[entries.partition_point(|entry| entry.route < route)..]
}

/// The first route of a list that is this one or comes behind it.
pub(super) fn next(entries: &[Entry], route: u32) -> Option<u32> {
    from(entries, route).first().map(|entry| entry.route)
}

/// Whether a list has the route with this port.
pub(super) fn has(entries: &[Entry], route: u32, port: u16) -> bool {
    from(entries, route).iter().take_while(|entry| entry.route == route).any(|entry| entry.has_port(port))
}

impl Index {
    /// What a client hits; its address is canonical.
    pub(super) fn client(&self, addr: IpAddr) -> Chain<'_> {
        self.chain(self.clients.narrowest(addr.into()))
    }

    /// What an origin hits; its address is canonical.
    pub(super) fn origin(&self, addr: IpAddr) -> Chain<'_> {
        self.chain(self.origins.narrowest(addr.into()))
    }

    /// What a name hits.
    pub(super) fn name(&self, name: &Host) -> Chain<'_> {
        self.chain(self.names.narrowest(name.as_str()))
    }

    fn chain(&self, node: Option<u32>) -> Chain<'_> {
        Chain(node.map(|node| (self, node)))
    }

    fn lists(&self, node: &Node) -> Lists<'_> {
        let list = |at: usize| &self.entries[node.bounds[at] as usize..node.bounds[at + 1] as usize];
        Lists { ways: list(0), ways_of_members: list(1), ways_by_name: list(2), members: list(3), exceptions: list(4) }
    }
}

impl Nets {
    /// The narrowest node that covers the network.
    pub(super) fn narrowest(&self, net: IpNet) -> Option<u32> {
        match net {
            IpNet::V4(net) => self.v4.get_lpm(&net).map(|(_, node)| *node),
            IpNet::V6(net) => self.v6.get_lpm(&net).map(|(_, node)| *node),
        }
    }

    /// Adds a network.
    pub(super) fn insert(&mut self, net: IpNet, node: u32) {
        match net {
            IpNet::V4(net) => self.v4.insert(net, node),
            IpNet::V6(net) => self.v6.insert(net, node),
        };
    }
}

impl Names {
    /// The narrowest node for the name.
    fn narrowest(&self, name: &str) -> Option<u32> {
        // a name of 127 labels costs no more than one of as many as have been configured
        let beyond = name.rmatch_indices('.').nth(self.labels.saturating_sub(1));
        if beyond.is_none()
            && let Some(exact) = self.by_name.get(name).and_then(|nodes| nodes.exact)
        {
            return Some(exact);
        }
        self.narrowest_suffix(beyond.map_or(name, |(dot, _)| &name[dot + 1..]))
    }

    /// The narrowest suffix that the name ends in.
    pub(super) fn narrowest_suffix(&self, name: &str) -> Option<u32> {
        let below = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
        std::iter::once(name).chain(below).find_map(|suffix| self.by_name.get(suffix)?.suffix)
    }

    /// Adds a name.
    pub(super) fn insert(&mut self, name: &Host, exact: Option<u32>, suffix: Option<u32>) {
        let name = name.as_str();
        self.labels = self.labels.max(name.split('.').count());
        let nodes = self.by_name.entry(name.into()).or_insert(Nodes { exact: None, suffix: None });
        nodes.exact = nodes.exact.or(exact);
        nodes.suffix = nodes.suffix.or(suffix);
    }
}

impl<'a> Chain<'a> {
    /// Nothing.
    pub(super) const NONE: Chain<'static> = Chain(None);

    /// From the narrowest node on.
    pub(super) fn lists(self) -> impl Iterator<Item = Lists<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (index, node) = rest?;
            let node = index.nodes.get(node as usize)?;
            rest = node.wider.map(|wider| (index, wider));
            Some(index.lists(node))
        })
    }
}
