//! The journal on a real disk: what comes back, whatever has become of the file.

use super::*;

/// A folder of the test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("handyproxy-dns-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a writable place");
        Folder(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("dns-names")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn nets(v4: &str) -> Nets {
    Nets::new(v4.parse().expect("a network"), "fd00::/112".parse().expect("a network"))
}

fn host(text: &str) -> Host {
    Host::parse(text.as_bytes()).expect("a valid name")
}

/// Opens it, asks for these names, saves, and tells their numbers.
fn numbers(path: &Path, names: &[&str]) -> Vec<Option<u32>> {
    let nets = nets("198.18.0.0/24");
    let mut pool = Pool::new(nets.last());
    let mut journal = open(path, nets, &mut pool);
    let numbers = names.iter().map(|name| pool.ask(&host(name))).collect();
    let pool = Mutex::new(pool);
    if let Some(journal) = &mut journal {
        while journal.save(&pool) {}
    }
    numbers
}

#[test]
fn names_keep_their_numbers_over_a_restart() {
    let folder = Folder::new("restart");
    assert_eq!(numbers(&folder.file(), &["a.example", "b.example"]), [Some(1), Some(2)]);
    assert_eq!(numbers(&folder.file(), &["c.example", "b.example", "a.example"]), [Some(3), Some(2), Some(1)]);
    let text = fs::read_to_string(folder.file()).expect("a file");
    assert_eq!(text, "handyproxy dns names 1 198.18.0.0/24 fd00::/112\n1 a.example\n2 b.example\n3 c.example\n");
    assert_eq!(
        look_up(&folder.file(), nets("198.18.0.0/24"), 2).map(|name| name.to_string()),
        Some("b.example".into())
    );
}

#[test]
fn whatever_is_cut_off_only_the_last_name_is_lost() {
    let folder = Folder::new("cut");
    numbers(&folder.file(), &["a.example", "b.example"]);
    let whole = fs::read(folder.file()).expect("a file");
    let head = whole.iter().position(|&b| b == b'\n').expect("a line") + 1;
    for end in 0..whole.len() {
        fs::write(folder.file(), &whole[..end]).expect("our own file");
        let nets = nets("198.18.0.0/24");
        let mut pool = Pool::new(nets.last());
        let journal = open(&folder.file(), nets, &mut pool);
        let kept = whole[head.min(end)..end].iter().filter(|&&b| b == b'\n').count() as u32;
        assert_eq!(pool.count().0, kept, "{end} bytes");
        // a line cut within its first words is nobody's
        assert_eq!(journal.is_some(), end == 0 || end >= MAGIC.len(), "{end} bytes");
    }
}

#[test]
fn odd_lines_are_left_out_and_foreign_files_left_alone() {
    let folder = Folder::new("odd");
    let head = head(nets("198.18.0.0/24"));
    let odd = format!(
        "{head}5 good.example *\nx y\n0 zero.example\n999 far.example\n6 a b c\n\n7 bad..name\n8 127.0.0.1\n\u{0}\u{0}\n{}\n",
        "9".repeat(700)
    );
    fs::write(folder.file(), odd).expect("our own file");
    assert_eq!(numbers(&folder.file(), &["good.example"]), [Some(5)]);
    for foreign in ["root:x:0:0:root:/root:/bin/sh\n".as_bytes(), b"\xff\xfe\x00binary"] {
        fs::write(folder.file(), foreign).expect("our own file");
        assert_eq!(numbers(&folder.file(), &["a.example"]), [Some(1)]);
        assert_eq!(fs::read(folder.file()).expect("still there"), foreign);
    }
    fs::write(folder.file(), [0; 4096]).expect("our own file");
    assert_eq!(numbers(&folder.file(), &["z.example"]), [Some(1)]);
    assert_eq!(numbers(&folder.file(), &["y.example", "z.example"]), [Some(2), Some(1)]);
    let other = super::head(nets("10.0.0.0/24")) + "9 z.example\n";
    fs::write(folder.file(), other).expect("our own file");
    assert_eq!(numbers(&folder.file(), &["z.example"]), [Some(1)]);
    fs::remove_file(folder.file()).expect("our own file");
    fs::create_dir(folder.file()).expect("a name that is free");
    assert_eq!(numbers(&folder.file(), &["z.example"]), [Some(1)]);
}

#[test]
fn a_journal_that_has_grown_is_written_anew() {
    let folder = Folder::new("grown");
    let nets = nets("198.18.0.0/28");
    let mut pool = Pool::new(nets.last());
    let mut journal = open(&folder.file(), nets, &mut pool).expect("a writable place");
    let pool = Mutex::new(pool);
    let mut longest = 0;
    for n in 0..20_000 {
        super::super::lock(&pool).ask(&host(&format!("n{n}.example")));
        journal.save(&pool);
        longest = longest.max(journal.lines);
    }
    assert!(longest > GROWN && longest <= GROWN + 2 * 14, "{longest}");
    let lines = fs::read_to_string(folder.file()).expect("a file").lines().count();
    assert_eq!(lines, journal.lines + 1);
    let last = super::super::lock(&pool).ask(&host("n19999.example")).expect("it is known");
    assert_eq!(look_up(&folder.file(), nets, last).map(|name| name.to_string()), Some("n19999.example".into()));
}
