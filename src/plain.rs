//! stand-in
use crate::addr::Host;
use crate::close::{By, Close, End};
use crate::flow::Flow;
use crate::relay::Limits;
use crate::stream::Stream;
use crate::upstream::{Link, Upstream};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
/// x
#[allow(missing_docs, missing_debug_implementations)]
pub struct Way<'a> {
    pub upstream: &'a Upstream,
    pub link: Link,
    pub origin: SocketAddr,
    pub by_address: bool,
    pub accepts: &'a (dyn Fn(Option<&Host>) -> bool + Sync),
    pub limits: Limits,
    pub dial_timeout: Duration,
}
/// x
#[allow(missing_docs)]
pub enum Outcome {
    Ended(Close),
    Switched { client: TcpStream, upstream: Stream, early_up: Vec<u8>, ended: bool, early_down: Vec<u8> },
}
/// x
pub async fn exchange(_client: TcpStream, _prefix: Vec<u8>, _ended: bool, _way: Way<'_>, _flow: &mut Flow) -> Outcome {
    Outcome::Ended(Close::new(End::Error, By::Us))
}
