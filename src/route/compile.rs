//! Routes as they are configured, made into one index.

use std::collections::{BTreeSet, HashMap, HashSet};

use ipnet::IpNet;

use super::index::{Entry, Index, Names, Nets, Node};
use super::{Decision, Rule, Table};
use crate::addr::Host;
use crate::config::Route;
use crate::pattern::{Pattern, Subject};

/// Which list of a node, in the order of [`super::index::Lists`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum List {
    Ways,
    WaysOfMembers,
    WaysByName,
    Members,
    Exceptions,
}

const LISTS: [List; 5] = [List::Ways, List::WaysOfMembers, List::WaysByName, List::Members, List::Exceptions];

/// What is known after some routes; nodes get their numbers in the order in which they come.
#[derive(Default)]
struct Draft<'a> {
    clients: HashMap<IpNet, u32>,
    origins: HashMap<IpNet, u32>,
    hosts: HashMap<&'a Host, u32>,
    suffixes: HashMap<&'a Host, u32>,
    nodes: u32,
    /// An entry of a list of a node.
    rows: Vec<(u32, List, Entry)>,
    rules: Vec<Rule>,
    anything: Vec<Entry>,
    not_anything: Vec<Entry>,
    by_name: Vec<Entry>,
    not_by_name: Vec<Entry>,
}

/// Compiles all routes.
pub(super) fn table(routes: &[Route]) -> Table {
    let mut draft = Draft::default();
    for (number, route) in (0..).zip(routes) {
        draft.add(number, route);
    }
    draft.finish()
}

impl<'a> Draft<'a> {
    fn add(&mut self, number: u32, route: &'a Route) {
        let (from_not, from): (Vec<_>, Vec<_>) = route.from.iter().partition(|pattern| pattern.negated);
        let (to_not, to): (Vec<_>, Vec<_>) = route.to.iter().partition(|pattern| pattern.negated);
        let for_members = !from.is_empty() && !from.iter().any(|pattern| pattern.subject == Subject::Any);
        self.rules.push(Rule {
            outcome: Decision {
                via: route.via,
                dial: route.dial,
                verify_name: route.verify_name,
                place: Some(route.place.clone()),
                allows_private: false,
                may_change: false,
            },
            for_members,
            has_exceptions: !from_not.is_empty() || !to_not.is_empty(),
        });
        if from_not.iter().any(|pattern| pattern.subject == Subject::Any) {
            // it can never match
            return;
        }
        let all_ports = Entry { route: number, first: 0, last: u16::MAX };
        let members: BTreeSet<u32> = if for_members {
            from.iter().flat_map(|pattern| self.clients_of(pattern)).collect()
        } else {
            BTreeSet::new()
        };
        self.rows.extend(members.iter().map(|node| (*node, List::Members, all_ports)));
        for pattern in from_not {
            let nodes = self.clients_of(pattern);
            self.rows.extend(nodes.into_iter().map(|node| (node, List::Exceptions, all_ports)));
        }

        // what is for all origins or all names is noted once per set of ports, not once per entry
        let (mut by_any, mut by_name) = (BTreeSet::new(), BTreeSet::new());
        if to.is_empty() {
            by_any.insert(all_ports);
        }
        let ways = if for_members { List::WaysOfMembers } else { List::Ways };
        for pattern in to {
            for entry in entries(number, pattern) {
                match &pattern.subject {
                    Subject::Any => drop(by_any.insert(entry)),
                    Subject::Host(_) | Subject::Suffix(_) => drop(by_name.insert(entry)),
                    Subject::Nets(_) => {}
                }
                self.note(pattern, ways, entry);
            }
        }
        for pattern in to_not {
            for entry in entries(number, pattern) {
                match &pattern.subject {
                    Subject::Any => self.not_anything.push(entry),
                    Subject::Host(_) | Subject::Suffix(_) => self.not_by_name.push(entry),
                    Subject::Nets(_) => {}
                }
                self.note(pattern, List::Exceptions, entry);
            }
        }
        if for_members {
            for node in members {
                self.rows.extend(by_any.iter().map(|entry| (node, List::Ways, *entry)));
                self.rows.extend(by_name.iter().map(|entry| (node, List::WaysByName, *entry)));
            }
        } else {
            self.anything.extend(by_any);
            self.by_name.extend(by_name);
        }
    }

    /// Notes an entry of `to` in its nodes.
    fn note(&mut self, pattern: &'a Pattern, list: List, entry: Entry) {
        match &pattern.subject {
            Subject::Any => {}
            Subject::Host(host) => {
                let node = number(&mut self.hosts, host, &mut self.nodes);
                self.rows.push((node, list, entry));
            }
            Subject::Suffix(host) => {
                let node = number(&mut self.suffixes, host, &mut self.nodes);
                self.rows.push((node, list, entry));
            }
            Subject::Nets(nets) => {
                for net in nets {
                    let node = number(&mut self.origins, *net, &mut self.nodes);
                    self.rows.push((node, list, entry));
                }
            }
        }
    }

    /// The nodes of an entry of `from`.
    fn clients_of(&mut self, pattern: &Pattern) -> Vec<u32> {
        let Subject::Nets(nets) = &pattern.subject else { return Vec::new() };
        nets.iter().map(|net| number(&mut self.clients, *net, &mut self.nodes)).collect()
    }

    fn finish(mut self) -> Table {
        let mut wider = vec![None; self.nodes as usize];
        let clients = tries(&self.clients, &mut wider);
        let origins = tries(&self.origins, &mut wider);
        let names = names(&self.hosts, &self.suffixes, &mut wider);
        self.rows.sort_unstable();
        self.rows.dedup();
        let (nodes, entries) = lay_out(&self.rows, &self.rules, wider);
        for list in [&mut self.anything, &mut self.not_anything, &mut self.by_name, &mut self.not_by_name] {
            list.sort_unstable();
            list.dedup();
        }
        let always =
            |entry: &Entry, rules: &[Rule]| rules.get(entry.route as usize).is_some_and(|rule| !rule.has_exceptions);
        for list in [&mut self.anything, &mut self.by_name] {
            let mut taken = HashSet::new();
            list.retain(|entry| is_reachable(*entry, always(entry, &self.rules), &mut taken));
            list.shrink_to_fit();
        }
        let index = Index { clients, origins, names, nodes, entries };
        Table {
            rules: self.rules,
            index,
            anything: self.anything,
            not_anything: self.not_anything,
            by_name: self.by_name,
            not_by_name: self.not_by_name,
        }
    }
}

/// The node of a network or name, which may be new.
fn number<K: std::hash::Hash + Eq>(known: &mut HashMap<K, u32>, key: K, nodes: &mut u32) -> u32 {
    *known.entry(key).or_insert_with(|| {
        *nodes += 1;
        *nodes - 1
    })
}

/// One entry per range of ports.
fn entries(route: u32, pattern: &Pattern) -> Vec<Entry> {
    match &pattern.ports {
        None => vec![Entry { route, first: 0, last: u16::MAX }],
        Some(ports) => ports.ranges().map(|(first, last)| Entry { route, first, last }).collect(),
    }
}

/// Whether no earlier entry of the same list always wins; `always`: this one admits whoever finds it.
fn is_reachable(entry: Entry, always: bool, taken: &mut HashSet<(u16, u16)>) -> bool {
    if taken.contains(&(0, u16::MAX)) || taken.contains(&(entry.first, entry.last)) {
        return false;
    }
    if always {
        taken.insert((entry.first, entry.last));
    }
    true
}

/// Networks into tries, the widest first, so that each finds the next wider one.
fn tries(nets: &HashMap<IpNet, u32>, wider: &mut [Option<u32>]) -> Nets {
    let mut sorted: Vec<(&IpNet, &u32)> = nets.iter().collect();
    sorted.sort_unstable_by_key(|(net, _)| net.prefix_len());
    let mut tries = Nets::default();
    for (net, node) in sorted {
        wider[*node as usize] = tries.narrowest(*net);
        tries.insert(*net, *node);
    }
    tries
}

/// The same for names.
fn names(hosts: &HashMap<&Host, u32>, suffixes: &HashMap<&Host, u32>, wider: &mut [Option<u32>]) -> Names {
    let mut sorted: Vec<(&Host, u32)> = suffixes.iter().map(|(host, node)| (*host, *node)).collect();
    sorted.sort_unstable_by_key(|(host, _)| host.as_str().len());
    let mut names = Names::default();
    for (host, node) in sorted {
        wider[node as usize] = names.narrowest_suffix(host.as_str());
        names.insert(host, None, Some(node));
    }
    for (host, node) in hosts {
        wider[*node as usize] = names.narrowest_suffix(host.as_str());
        names.insert(host, Some(*node), None);
    }
    names
}

/// Sorted rows into nodes and one array of entries.
fn lay_out(rows: &[(u32, List, Entry)], rules: &[Rule], wider: Vec<Option<u32>>) -> (Vec<Node>, Vec<Entry>) {
    let mut entries = Vec::with_capacity(rows.len());
    let mut rest = rows;
    let mut nodes = Vec::with_capacity(wider.len());
    for (node, wider) in (0..).zip(wider) {
        let mut bounds = [entries.len() as u32; LISTS.len() + 1];
        for (list, bound) in LISTS.iter().zip(&mut bounds[1..]) {
            let here = rest.iter().take_while(|(n, l, _)| (*n, *l) == (node, *list)).count();
            let (these, behind) = rest.split_at(here);
            rest = behind;
            let mut taken = HashSet::new();
            entries.extend(these.iter().map(|(_, _, entry)| *entry).filter(|entry| {
                let always = rules.get(entry.route as usize).is_some_and(|rule| !rule.has_exceptions);
                let prunable = matches!(list, List::Ways | List::WaysByName);
                !prunable || is_reachable(*entry, always, &mut taken)
            }));
            *bound = entries.len() as u32;
        }
        nodes.push(Node { wider, bounds });
    }
    entries.shrink_to_fit();
    (nodes, entries)
}
