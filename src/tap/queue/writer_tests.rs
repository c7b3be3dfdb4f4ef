//! What the thread of a tap writes, notes and tries again.

use super::super::super::{Record, What, stage};
use super::super::Sink;
use super::*;
use crate::config::TapForm;

#[test]
fn what_was_told_as_written_is_not_taken_back() {
    /// Keeps everything until its disk has room.
    struct Keeper(u64, bool);

    impl Scribe for Keeper {
        fn write(&mut self, _: &Record) -> io::Result<()> {
            self.0 += 1;
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            let flushed = if self.1 { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) };
            self.1 = true;
            flushed
        }

        fn forget(&mut self) -> u64 {
            std::mem::take(&mut self.0)
        }

        fn missed(&mut self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn reopen(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn writes(&self) -> u64 {
            0
        }
    }

    let sink = Sink::new(stage::settings(TapForm::Hexlog, "/nowhere".as_ref()));
    let scribe: Option<Box<dyn Scribe>> = Some(Box::new(Keeper(0, false)));
    let mut writer = Writer::new(&sink.0, scribe);
    let write = |writer: &mut Writer<'_>| {
        for _ in 0..3 {
            writer.entry(&Entry::Record(stage::Session::new(7, 1).record(What::Opened)));
        }
    };
    write(&mut writer);
    // there is more to be written
    writer.tell();
    assert_eq!(sink.counts().written, 3);
    writer.flush();
    let counts = sink.counts();
    assert_eq!((counts.written, counts.missed), (3, 3), "a counter that falls counts anew");
    writer.retry = None;
    write(&mut writer);
    write(&mut writer);
    writer.flush();
    let counts = sink.counts();
    assert_eq!((counts.written, counts.missed), (6, 3));
}

#[test]
fn a_tap_works_again_when_something_was_written_and_not_when_nothing_was_to_be() {
    let folder = stage::Folder::new();
    let place = folder.path("dumps");
    let sink = Sink::new(stage::settings(TapForm::Dumper, &place));
    let mut writer = Writer::new(&sink.0, None);
    writer.open();
    // no file can be made there from now on
    std::fs::remove_dir(&place).expect("our folder");
    std::fs::write(&place, "").expect("our folder");
    let opened = Entry::Record(stage::Session::new(7, 1).record(What::Opened));
    writer.entry(&opened);
    assert!(sink.counts().failing);
    writer.retry = None;
    writer.flush();
    assert!(sink.counts().failing, "nothing was to be written");
    std::fs::remove_file(&place).expect("our folder");
    writer.entry(&opened);
    assert!(sink.counts().failing, "it is kept");
    writer.flush();
    assert!(!sink.counts().failing);
    assert_eq!((sink.counts().written, sink.counts().missed), (1, 1));
}
