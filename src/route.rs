//! Where a session leads: the first route that matches its client, its origin and its name.
//!
//! One index over all entries of all routes says which routes can match at all; those are looked at in order.
//! So ten thousand entries cost what ten cost, in one route or in ten thousand. Address entries look at the
//! origin only and name entries at the name only: what has no name is decided by address entries.

mod compile;
mod index;
mod private;
mod verify;

use std::net::{IpAddr, SocketAddr};

use crate::addr::Host;
use crate::config::{DialBy, Place, Route, Via};
use index::{Chain, Entry, Index, Lists};

pub use private::is_private;
pub use verify::Verifier;

/// All routes, compiled.
#[derive(Debug)]
pub struct Routes {
    /// What becomes of sessions that no route matches.
    default: Decision,
    /// `None`: there are no routes.
    table: Option<Box<Table>>,
}

/// What becomes of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where it leads.
    pub via: Via,
    /// What CONNECT carries where a name is known.
    pub dial: DialBy,
    /// Whether a name counts only if it resolves to the origin's address here.
    pub verify_name: bool,
    /// The place of the route that matched; `None`: none did.
    pub place: Option<Place>,
    /// Whether the route's `to` names the target by more than `*`: the name where CONNECT carries the name,
    /// the origin's address otherwise.
    pub allows_private: bool,
    /// There is no name yet, and with one another route could match. May be true without need, never false.
    pub may_change: bool,
}

/// The compiled form.
#[derive(Debug)]
struct Table {
    rules: Vec<Rule>,
    index: Index,
    /// Ways into routes by `*`, or because `to` has no positive entry, for all clients.
    anything: Vec<Entry>,
    /// What `!*` takes out, with ports.
    not_anything: Vec<Entry>,
    /// Routes for all clients that a name leads into.
    by_name: Vec<Entry>,
    /// What `!name` takes out of each route, whatever the name.
    not_by_name: Vec<Entry>,
}

/// A route without its lists, which are in the index.
#[derive(Debug)]
struct Rule {
    outcome: Decision,
    /// Only for the clients that the index has as its members.
    for_members: bool,
    /// Something is taken out of it.
    has_exceptions: bool,
}

/// What the index has for one flow.
struct Hits<'a> {
    table: &'a Table,
    client: Chain<'a>,
    origin: Chain<'a>,
    name: Chain<'a>,
    port: u16,
}

impl Routes {
    /// Compiles routes, of which the first that matches wins; `default` and `verify_name` are for what none matches.
    pub fn new(routes: &[Route], default: Via, verify_name: bool) -> Routes {
        let default = Decision {
            via: default,
            dial: DialBy::Name,
            verify_name,
            place: None,
            allows_private: false,
            may_change: false,
        };
        let table = (!routes.is_empty()).then(|| Box::new(compile::table(routes)));
        Routes { default, table }
    }

    /// Whether there are no routes.
    pub fn is_empty(&self) -> bool {
        self.table.is_none()
    }

    /// What becomes of a session of `client` to `origin`; `name` is what was seen on the wire and is believed.
    pub fn decide(&self, client: IpAddr, origin: SocketAddr, name: Option<&Host>) -> Decision {
        let Some(table) = &self.table else { return self.default.clone() };
        let hits = Hits {
            table,
            client: table.index.client(client.to_canonical()),
            origin: table.index.origin(origin.ip().to_canonical()),
            name: name.map_or(Chain::NONE, |name| table.index.name(name)),
            port: origin.port(),
        };
        let first = hits.first();
        let Some(rule) = first.and_then(|route| table.rules.get(route as usize)) else {
            return Decision { may_change: name.is_none() && hits.could_lead_elsewhere(None), ..self.default.clone() };
        };
        Decision {
            allows_private: first.is_some_and(|route| match (name, rule.outcome.dial) {
                (Some(_), DialBy::Name) => hits.name.lists().any(|lists| hits.names(lists, route)),
                _ => hits.origin.lists().any(|lists| hits.names(lists, route)),
            }),
            may_change: name.is_none() && hits.could_lead_elsewhere(first),
            ..rule.outcome.clone()
        }
    }
}

impl Hits<'_> {
    /// The first route that matches.
    fn first(&self) -> Option<u32> {
        let mut first = None;
        for lists in self.name.lists().chain(self.origin.lists()) {
            self.try_all(lists.ways, &mut first);
            self.try_members(lists.ways_of_members, &mut first);
        }
        for lists in self.client.lists() {
            self.try_all(lists.ways, &mut first);
        }
        self.try_all(&self.table.anything, &mut first);
        first
    }

    /// Whether a name could make an earlier route match, or take the flow out of this one.
    fn could_lead_elsewhere(&self, first: Option<u32>) -> bool {
        let mut earlier = first;
        for lists in self.client.lists() {
            self.try_all(lists.ways_by_name, &mut earlier);
        }
        self.try_all(&self.table.by_name, &mut earlier);
        earlier != first || first.is_some_and(|route| index::has(&self.table.not_by_name, route, self.port))
    }

    /// Looks for a route before `first` among ways in, which are in order.
    fn try_all(&self, ways: &[Entry], first: &mut Option<u32>) {
        for way in ways {
            if first.is_some_and(|first| way.route >= first) {
                return;
            }
            if way.has_port(self.port) && self.admits(way.route) {
                *first = Some(way.route);
                return;
            }
        }
    }

    /// The same among routes that are for some clients only: leaps from one of the client's routes to the next.
    fn try_members(&self, mut ways: &[Entry], first: &mut Option<u32>) {
        while let Some(way) = ways.first() {
            let members = self.client.lists().filter_map(|lists| index::next(lists.members, way.route));
            let Some(next) = members.min() else { return };
            if first.is_some_and(|first| next >= first) {
                return;
            }
            if next > way.route {
                ways = index::from(ways, next);
                continue;
            }
            if way.has_port(self.port) && self.admits(way.route) {
                *first = Some(way.route);
                return;
            }
            ways = &ways[1..];
        }
    }

    /// Whether the route is for this client and nothing takes the flow out of it.
    fn admits(&self, route: u32) -> bool {
        let Some(rule) = self.table.rules.get(route as usize) else { return false };
        if rule.for_members && !self.client.lists().any(|lists| index::next(lists.members, route) == Some(route)) {
            return false;
        }
        if !rule.has_exceptions {
            return true;
        }
        let mut hit = self.client.lists().chain(self.origin.lists()).chain(self.name.lists());
        !index::has(&self.table.not_anything, route, self.port)
            && !hit.any(|lists| index::has(lists.exceptions, route, self.port))
    }

    /// Whether one of these entries is a way into the route.
    fn names(&self, lists: Lists<'_>, route: u32) -> bool {
        index::has(lists.ways, route, self.port) || index::has(lists.ways_of_members, route, self.port)
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
