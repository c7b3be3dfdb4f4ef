//! stand-in
use std::path::Path;
/// x
#[derive(Debug)]
pub struct Context;
impl Context {
    /// x
    /// # Errors
    /// x
    pub fn new(_s: &str, _p: &str, _k: Option<&Path>) -> Result<Context, String> {
        Err("not yet".to_owned())
    }
    /// x
    /// # Errors
    /// x
    pub fn step(&mut self, _t: &[u8]) -> Result<(Option<Vec<u8>>, bool), String> {
        Err("not yet".to_owned())
    }
}
