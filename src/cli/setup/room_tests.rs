use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("handyproxy-room-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .expect("our folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("our folder");
    }

    fn room(&self) -> Room {
        Room::of(&self.0, "a")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn set_up(room: &Room, text: &str) {
    room.make().expect("a room");
    room.stage("toml", text, 0o600, None).expect("a file");
    room.place("toml").expect("a place");
}

#[test]
fn what_was_made_goes_and_what_was_replaced_comes_back() {
    let folder = Folder::new("back");
    let room = folder.room();
    set_up(&room, "new");
    assert_eq!(folder.read("a.toml"), "new");
    assert_eq!(room.restore("toml"), Ok(Fate::Removed));
    assert_eq!(room.restore("toml"), Ok(Fate::Nothing), "twice");
    room.forget().expect("forgotten");
    assert_eq!(folder.names(), [""; 0]);
    folder.write("a.toml", "older");
    set_up(&room, "newer");
    room.shelve("toml").expect("an older one");
    assert_eq!(folder.read("a.toml"), "older");
    room.place("toml").expect("ours again");
    assert_eq!(folder.read("a.toml"), "newer");
    assert_eq!(room.restore("toml"), Ok(Fate::Restored));
    room.forget().expect("forgotten");
    assert_eq!((folder.names(), folder.read("a.toml")), (vec!["a.toml".to_owned()], "older".to_owned()));
}

#[test]
fn what_was_edited_is_kept() {
    let folder = Folder::new("kept");
    let room = folder.room();
    folder.write("a.toml", "older");
    folder.write("a.toml.saved", "somebody's");
    set_up(&room, "newer");
    folder.write("a.toml", "edited by hand");
    let saved = folder.0.join("a.toml.saved.2");
    assert_eq!(room.restore("toml"), Ok(Fate::Kept(saved, true)));
    room.forget().expect("forgotten");
    assert_eq!((folder.read("a.toml").as_str(), folder.read("a.toml.saved.2").as_str()), ("older", "edited by hand"));
    assert_eq!(folder.read("a.toml.saved"), "somebody's");
}

#[test]
fn one_setup_over_another_is_taken_back_one_by_one() {
    let folder = Folder::new("chain");
    let room = folder.room();
    set_up(&room, "first");
    set_up(&room, "second one");
    assert_eq!(room.restore("toml"), Ok(Fate::Restored));
    room.forget().expect("forgotten");
    assert_eq!(folder.read("a.toml"), "first");
    assert!(room.exists());
    assert_eq!(room.restore("toml"), Ok(Fate::Removed));
    room.forget().expect("forgotten");
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_crash_between_two_steps_is_mended() {
    let folder = Folder::new("crash");
    let room = folder.room();
    set_up(&room, "first");
    fs::create_dir(room.folder(".new")).expect("a begun one");
    assert!(folder.room().has("setup 1"));
    fs::create_dir(room.folder(".new")).expect("a begun one");
    fs::rename(room.folder(""), room.folder(".new").join("previous")).expect("our folder");
    assert!(folder.room().has("setup 1"), "{:?}", folder.names());
    fs::create_dir(room.folder(".old")).expect("one that is over");
    fs::rename(room.folder(""), room.folder(".old").join("previous")).expect("our folder");
    assert!(folder.room().has("setup 1"), "{:?}", folder.names());
    assert_eq!(folder.names(), [".a.setup", "a.toml"]);
    // staged, and not yet in its place
    room.restore("toml").expect("taken back");
    room.forget().expect("forgotten");
    room.make().expect("a room");
    room.stage("toml", "never placed", 0o600, None).expect("a file");
    assert_eq!(room.restore("toml"), Ok(Fate::Nothing));
}
