//! Routes as they are configured.

use super::Place;
use crate::pattern::Pattern;

/// One `[[route]]`, or the `no-proxy` list, which stands before the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Clients; empty is all.
    pub from: Vec<Pattern>,
    /// Names, addresses and ports; empty is all.
    pub to: Vec<Pattern>,
    /// Where it leads.
    pub via: Via,
    /// What CONNECT carries.
    pub dial: DialBy,
    /// Whether a name counts only if it resolves to the origin's address here.
    pub verify_name: bool,
    /// Where it was configured.
    pub place: Place,
}

impl Route {
    /// Whether it stands for the `no-proxy` list.
    pub fn is_no_proxy(&self) -> bool {
        self.place.to_string().starts_with("no-proxy")
    }
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Through the upstream of this number in [`super::Config::upstreams`].
    Upstream(usize),
    /// To the origin's address, without a proxy.
    Direct,
    /// Nowhere.
    Reject,
}

/// What CONNECT carries where a name is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialBy {
    /// The name.
    Name,
    /// The origin's address.
    Address,
}
