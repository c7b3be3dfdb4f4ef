//! Plain HTTP handed to squid and tinyproxy request by request.

mod credentials;
mod load;
mod messages;

use crate::lab::support::daemon::Daemon;
use crate::world::origin::Telling;
use crate::world::squid::Squid;
use crate::world::stage::Stage;

const PAGE: &str = "http://www.bench.example/page.html";
// the origin that tells what reached it
const TELL: &str = "http://tell.bench.example:8080";

struct Relay {
    gateway: Daemon,
    squid: Squid,
    _telling: Telling,
    stage: Stage,
}

/// Relay through squid, which lets all pass.
fn relay() -> Relay {
    let stage = Stage::redirected();
    let squid = Squid::start(&stage, "squid", "http_port 3128\nhttp_access allow all");
    let gateway = stage.gateway("upstream-proxy = '10.2.0.2:3128'\nplain-http = 'relay'");
    Relay { gateway, squid, _telling: Telling::start(&stage), stage }
}

impl Relay {
    /// Runs curl in the client's network and returns what it printed.
    fn curl(&self, line: &str) -> String {
        self.stage.client(&format!("curl -sS {line}")).text()
    }
}
