//! stand-in
use super::Limits;
use crate::close::{By, Close, End};
use crate::flow::Flow;
use crate::stream::Stream;
use tokio::net::TcpStream;
/// x
#[derive(Debug)]
pub struct Copying;
#[allow(missing_docs)]
impl Copying {
    pub fn new(_c: TcpStream, _u: Stream) -> Copying {
        Copying
    }
    pub fn early_up(&mut self, _b: Vec<u8>, _e: bool) {}
    pub fn early_down(&mut self, _b: Vec<u8>) {}
    pub async fn run(&mut self, _l: Limits, _f: &mut Flow) -> Close {
        Close::new(End::Error, By::Us)
    }
}
