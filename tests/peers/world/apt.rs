//! apt with every directory of its own: nothing of this machine's apt is read or written.

use std::path::PathBuf;

use super::assert_same;
use super::origin::publish_package;
use super::stage::Stage;

/// apt that knows repo.bench.example.
pub(crate) struct Apt<'a> {
    stage: &'a Stage,
    settings: PathBuf,
    package: Vec<u8>,
}

impl<'a> Apt<'a> {
    /// Publishes a package and sets apt up for it.
    pub(crate) fn new(stage: &'a Stage) -> Self {
        let package = publish_package(stage.scratch());
        let root = stage.scratch().root();
        for dir in ["state/lists/partial", "cache/archives/partial", "etc", "log"] {
            stage.scratch().dir(&format!("apt/{dir}"));
        }
        stage.scratch().write("apt/status", "");
        stage.scratch().write("apt/etc/sources.list", "deb [trusted=yes] http://repo.bench.example/ ./\n");
        let settings = format!(
            "Dir::State \"{root}/apt/state\";
             Dir::State::status \"{root}/apt/status\";
             Dir::Cache \"{root}/apt/cache\";
             Dir::Etc \"{root}/apt/etc\";
             Dir::Log \"{root}/apt/log\";
             APT::Sandbox::User \"root\";
             Acquire::Languages \"none\";
            "
        );
        Self { stage, settings: stage.scratch().write("apt.conf", settings), package }
    }

    /// Fetches the lists.
    pub(crate) fn update(&self) {
        self.run("apt-get -q update");
    }

    /// Downloads the package, which must be the one that was published.
    pub(crate) fn download(&self) {
        self.run("apt-get -q download bench-sample");
        let got = self.stage.scratch().read("home/bench-sample_1.0_all.deb");
        assert_same(&got, &self.package, "the package");
    }

    fn run(&self, line: &str) {
        self.stage.client(line).env("APT_CONFIG", &self.settings).run();
    }
}
