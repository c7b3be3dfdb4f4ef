//! The client side of Negotiate (SPNEGO, RFC 4178; HTTP, RFC 4559) by the system's Kerberos: GSS-API, RFC 2744.
//!
//! The library is opened at run time, so that a gateway without Kerberos needs none. Every call may block, on
//! the ticket cache and on the KDC. The trap: the library keeps the words of a failure for the thread that saw
//! it, so they are asked for at once. Credentials are never delegated.
#![allow(unsafe_code, reason = "the library is C: no crate has it safe without its headers at build time")]

use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::{fmt, ptr, slice};

use libloading::Library;

/// A context being made with one service, over several tokens.
pub struct Context {
    gss: &'static Gss,
    service: Held,
    credential: Held,
    /// null before the first token, and again after one that failed
    raw: Raw,
    ended: bool,
}

// SAFETY: the library ties no object to a thread, and nothing else has a pointer to these
unsafe impl Send for Context {}

impl Context {
    /// Finds the credentials for `service`, such as HTTP@proxy.corp.example. With a keytab, its key gets the
    /// tickets, and they are kept in memory for the next context; else the default ticket cache has them.
    /// `principal` is whom to be; empty: whom the cache or the keytab names first.
    ///
    /// # Errors
    /// In the library's own words, one printable line: no ticket, no such key, no answer from the KDC. A ticket
    /// that has expired is found by the first step.
    pub fn new(service: &str, principal: &str, keytab: Option<&Path>) -> Result<Context, String> {
        let gss = Gss::open()?;
        if let Some(path) = keytab {
            File::open(path).map_err(|error| format!("open {}: {error}", named(path)))?;
        }
        let service = gss.import(service, HOSTBASED_SERVICE)?;
        let whom = if principal.is_empty() { gss.no_name() } else { gss.import(principal, USER_NAME)? };
        let store = keytab.map(|path| Store::new(path, principal)).transpose()?;
        let acquire = |mechanism| gss.acquire(&whom, store.as_ref(), mechanism);
        // Kerberos alone first: SPNEGO would only say that no mechanism is left, not why
        let credential = acquire(KERBEROS).and_then(|_| acquire(SPNEGO)).map_err(|words| match keytab {
            // where a keytab lacks the key, the library speaks of a cache that it did not find
            Some(path) => format!("no ticket for '{}' by {}: {words}", shown(principal), named(path)),
            None => words,
        })?;
        Ok(Context { gss, service, credential, raw: ptr::null_mut(), ended: false })
    }

    /// Returns the next token to send, for the token that came (empty at first), and whether the context is
    /// complete: the service has proved who it is too, and no more steps may follow.
    ///
    /// # Errors
    /// In the library's own words, as of [`Context::new`]; no more steps may follow.
    pub fn step(&mut self, token: &[u8]) -> Result<(Option<Vec<u8>>, bool), String> {
        if self.ended {
            return Err("the context has ended".to_owned());
        }
        let came = Buffer::of(token);
        let mut next = Buffer::EMPTY;
        let mut minor = 0;
        // SAFETY: name and credential are the library's and held by self; the context is null or what it put
        // there; null stands for no bindings and for the results that nobody wants
        let major = unsafe {
            (self.gss.init_sec_context)(
                &mut minor,
                self.credential.raw,
                &mut self.raw,
                self.service.raw,
                &SPNEGO,
                MUTUAL,
                0,
                ptr::null(),
                &came,
                ptr::null_mut(),
                &mut next,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        let next = self.gss.take(next);
        let complete = major & CONTINUE_NEEDED == 0;
        self.ended = complete || major & FAILED != 0;
        self.gss.check(major, minor)?;
        Ok(((!next.is_empty()).then_some(next), complete))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: null or a context of the library's, which nobody uses after this
        unsafe { (self.gss.delete_sec_context)(&mut 0, &mut self.raw, ptr::null_mut()) };
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// The library's functions, as gssapi/gssapi.h and gssapi/gssapi_ext.h declare them.
struct Gss {
    import_name: unsafe extern "C" fn(*mut u32, *const Buffer, *const Oid, *mut Raw) -> u32,
    release_name: Release,
    acquire_cred_from: unsafe extern "C" fn(
        *mut u32,
        Raw,
        u32,
        *const OidSet,
        c_int,
        *const KeyValueSet,
        *mut Raw,
        *mut *mut OidSet,
        *mut u32,
    ) -> u32,
    release_cred: Release,
    init_sec_context: unsafe extern "C" fn(
        *mut u32,
        Raw,
        *mut Raw,
        Raw,
        *const Oid,
        u32,
        u32,
        *const c_void,
        *const Buffer,
        *mut *mut Oid,
        *mut Buffer,
        *mut u32,
        *mut u32,
    ) -> u32,
    delete_sec_context: unsafe extern "C" fn(*mut u32, *mut Raw, *mut Buffer) -> u32,
    display_status: unsafe extern "C" fn(*mut u32, u32, c_int, *const Oid, *mut u32, *mut Buffer) -> u32,
    release_buffer: unsafe extern "C" fn(*mut u32, *mut Buffer) -> u32,
    /// the functions live as long as this
    _library: Library,
}

impl Gss {
    /// Opens the library, once; a failure is not remembered, so that it may be installed later.
    fn open() -> Result<&'static Gss, String> {
        static OPENED: OnceLock<Gss> = OnceLock::new();
        if let Some(gss) = OPENED.get() {
            return Ok(gss);
        }
        let gss = Gss::load()?;
        Ok(OPENED.get_or_init(|| gss))
    }

    fn load() -> Result<Gss, String> {
        // the loader of a static program is a stub: dlopen(3) of musl
        if cfg!(all(target_env = "musl", target_feature = "crt-static")) {
            return Err(format!(
                "a static build of handyproxy cannot open {FILE}: negotiate needs the Debian package's"
            ));
        }
        let missing = |_| format!("{FILE} is not installed: apt install libgssapi-krb5-2");
        let lacks = |_| format!("{FILE} is too old: MIT Kerberos 1.11 or later is needed");
        // SAFETY: the soname stands for this ABI, whose functions have the types of the fields
        unsafe {
            let library = Library::new(FILE).map_err(missing)?;
            Ok(Gss {
                import_name: *library.get("gss_import_name").map_err(lacks)?,
                release_name: *library.get("gss_release_name").map_err(lacks)?,
                acquire_cred_from: *library.get("gss_acquire_cred_from").map_err(lacks)?,
                release_cred: *library.get("gss_release_cred").map_err(lacks)?,
                init_sec_context: *library.get("gss_init_sec_context").map_err(lacks)?,
                delete_sec_context: *library.get("gss_delete_sec_context").map_err(lacks)?,
                display_status: *library.get("gss_display_status").map_err(lacks)?,
                release_buffer: *library.get("gss_release_buffer").map_err(lacks)?,
                _library: library,
            })
        }
    }

    fn no_name(&self) -> Held {
        Held { raw: ptr::null_mut(), release: self.release_name }
    }

    fn import(&self, name: &str, kind: Oid) -> Result<Held, String> {
        let mut held = self.no_name();
        let mut minor = 0;
        // SAFETY: the text and its kind are copied; the name goes to a place of its own
        let major = unsafe { (self.import_name)(&mut minor, &Buffer::of(name.as_bytes()), &kind, &mut held.raw) };
        self.check(major, minor)?;
        Ok(held)
    }

    fn acquire(&self, whom: &Held, store: Option<&Store>, mechanism: Oid) -> Result<Held, String> {
        let pairs = store.map(Store::pairs);
        let set = pairs.as_ref().map(|pairs| KeyValueSet { count: 2, elements: pairs.as_ptr() });
        let set = set.as_ref().map_or(ptr::null(), ptr::from_ref);
        let mechanisms = OidSet { count: 1, elements: &mechanism };
        let mut held = Held { raw: ptr::null_mut(), release: self.release_cred };
        let mut minor = 0;
        // SAFETY: the name is null or the library's; sets and pairs outlive the call, which copies them; without
        // a store this is gss_acquire_cred; null stands for the results that nobody wants
        let major = unsafe {
            (self.acquire_cred_from)(
                &mut minor,
                whom.raw,
                FOREVER,
                &mechanisms,
                INITIATE,
                set,
                &mut held.raw,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        self.check(major, minor)?;
        Ok(held)
    }

    fn check(&self, major: u32, minor: u32) -> Result<(), String> {
        if major & FAILED == 0 {
            return Ok(());
        }
        let mut words = if minor == 0 { Vec::new() } else { self.words(minor, MECHANISM_CODE) };
        // the general status says little where there is a special one
        if words.is_empty() || major & FAILED != UNSPECIFIED {
            words.splice(0..0, self.words(major, GSS_CODE));
        }
        Err(shown(&words.join(": ")))
    }

    /// What one status means; a major one may mean several things.
    fn words(&self, status: u32, kind: c_int) -> Vec<String> {
        let mut words = Vec::new();
        let mut more = 0;
        // a status has two errors at most, and three bits that add to them
        while words.len() < 5 {
            let mut text = Buffer::EMPTY;
            // SAFETY: `more` is what the call before left there; null: whichever mechanism the status came from
            let major = unsafe { (self.display_status)(&mut 0, status, kind, ptr::null(), &mut more, &mut text) };
            let text = self.take(text);
            if major & FAILED != 0 {
                break;
            }
            words.push(String::from_utf8_lossy(&text).into_owned());
            if more == 0 {
                break;
            }
        }
        words
    }

    /// Copies what the library filled a buffer with, and gives it back.
    fn take(&self, mut filled: Buffer) -> Vec<u8> {
        if filled.value.is_null() {
            return Vec::new();
        }
        // SAFETY: the library said how much it put there
        let bytes = unsafe { slice::from_raw_parts(filled.value.cast::<u8>(), filled.length) }.to_vec();
        // SAFETY: the memory is the library's, and this is the only owner
        unsafe { (self.release_buffer)(&mut 0, &mut filled) };
        bytes
    }
}

/// A name or a credential of the library's, or none.
struct Held {
    raw: Raw,
    release: Release,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: the library made it, and nobody uses it after this
            unsafe { (self.release)(&mut 0, &mut self.raw) };
        }
    }
}

/// Where the tickets of a keytab come from and go to.
struct Store {
    keytab: CString,
    cache: CString,
}

impl Store {
    fn new(path: &Path, principal: &str) -> Result<Store, String> {
        let name = |kind: &str| {
            let bytes = [OsStr::new(kind), path.as_os_str()].map(OsStr::as_bytes).concat();
            CString::new(bytes).map_err(|_| "the name of the keytab has a zero byte".to_owned())
        };
        // the length keeps the two names apart, whatever is in them
        let cache = format!("MEMORY:handyproxy:{}:{principal}:", principal.len());
        Ok(Store { keytab: name("FILE:")?, cache: name(&cache)? })
    }

    fn pairs(&self) -> [KeyValue; 2] {
        [
            KeyValue { key: c"client_keytab".as_ptr(), value: self.keytab.as_ptr() },
            KeyValue { key: c"ccache".as_ptr(), value: self.cache.as_ptr() },
        ]
    }
}

fn named(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// Foreign words made fit for a log line.
fn shown(words: &str) -> String {
    words.chars().take(SHOWN).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// How many characters of the library's words are shown.
const SHOWN: usize = 300;

const FILE: &str = "libgssapi_krb5.so.2";

// 1.3.6.1.5.5.2, 1.2.840.113554.1.2.2 and the kinds of names 4 and 1 of 1.2.840.113554.1.2.1
const SPNEGO: Oid = Oid::of(b"\x2b\x06\x01\x05\x05\x02");
const KERBEROS: Oid = Oid::of(b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02");
const HOSTBASED_SERVICE: Oid = Oid::of(b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x01\x04");
const USER_NAME: Oid = Oid::of(b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x01\x01");

const FOREVER: u32 = u32::MAX;
const INITIATE: c_int = 1;
const MUTUAL: u32 = 2;
const CONTINUE_NEEDED: u32 = 1;
/// calling errors and routine errors
const FAILED: u32 = 0xffff_0000;
/// GSS_S_FAILURE: see the special status.
const UNSPECIFIED: u32 = 13 << 16;
const GSS_CODE: c_int = 1;
const MECHANISM_CODE: c_int = 2;

/// gss_name_t, gss_cred_id_t and gss_ctx_id_t.
type Raw = *mut c_void;
type Release = unsafe extern "C" fn(*mut u32, *mut Raw) -> u32;

#[repr(C)]
struct Oid {
    length: u32,
    elements: *const c_void,
}

impl Oid {
    const fn of(bytes: &'static [u8]) -> Oid {
        Oid { length: bytes.len() as u32, elements: bytes.as_ptr().cast() }
    }
}

#[repr(C)]
struct OidSet {
    count: usize,
    elements: *const Oid,
}

#[repr(C)]
struct Buffer {
    length: usize,
    value: *mut c_void,
}

impl Buffer {
    const EMPTY: Buffer = Buffer { length: 0, value: ptr::null_mut() };

    /// For the library to read only, while `bytes` is borrowed.
    fn of(bytes: &[u8]) -> Buffer {
        Buffer { length: bytes.len(), value: bytes.as_ptr().cast_mut().cast() }
    }
}

#[repr(C)]
struct KeyValue {
    key: *const c_char,
    value: *const c_char,
}

#[repr(C)]
struct KeyValueSet {
    count: u32,
    elements: *const KeyValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_key_the_error_has_words() {
        let error = Context::new("HTTP@proxy.example", "ada@NOWHERE.EXAMPLE", Some(Path::new("/dev/null")));
        let error = error.expect_err("there is no key");
        let words = match Gss::open() {
            Ok(_) => "no ticket for 'ada@NOWHERE.EXAMPLE' by /dev/null: No credentials were supplied",
            Err(_) => "libgssapi_krb5.so.2 is not installed: apt install libgssapi-krb5-2",
        };
        assert!(error.starts_with(words), "{error}");
    }

    #[test]
    fn a_zero_byte_in_a_keytabs_name_is_an_error() {
        assert!(Store::new(Path::new("a\0b"), "").is_err());
    }

    #[test]
    fn principals_and_keytabs_share_no_tickets() {
        let cache = |path: &str, principal: &str| Store::new(Path::new(path), principal).expect("no zero byte").cache;
        assert_ne!(cache("c", "a:b"), cache("b:c", "a"));
        assert_eq!(cache("c", "a"), cache("c", "a"));
    }

    #[test]
    fn words_are_bounded_and_printable() {
        assert_eq!(shown("no ticket\r\n\x1b[31mf\u{fc}r ada"), "no ticket???[31mf?r ada");
        assert_eq!(shown(&"a".repeat(500)).len(), SHOWN);
    }

    #[test]
    fn a_context_may_go_to_another_thread() {
        fn goes<T: Send>() {}
        goes::<Context>();
    }
}
