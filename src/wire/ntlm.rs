//! NTLMv2 messages (MS-NLMP sections 2.2.1 and 3.3.2): what we say first, what the proxy answers, and our proof.
//!
//! Pure: time and randomness come in. The session key is never sent, and signing and sealing are not asked for, since a
//! proxy only wants to know who we are.

use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::{Digest as _, Md4};
use md5::Md5;
use zeroize::Zeroizing;

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";

const UNICODE: u32 = 0x0000_0001;
const REQUEST_TARGET: u32 = 0x0000_0004;
const NTLM: u32 = 0x0000_0200;
const ALWAYS_SIGN: u32 = 0x0000_8000;
const EXTENDED_SECURITY: u32 = 0x0008_0000;
const TARGET_INFO: u32 = 0x0080_0000;
const VERSION: u32 = 0x0200_0000;
const BITS_128: u32 = 0x2000_0000;
const BITS_56: u32 = 0x8000_0000;

const ASKED: u32 = UNICODE | REQUEST_TARGET | NTLM | ALWAYS_SIGN | EXTENDED_SECURITY | VERSION | BITS_128 | BITS_56;
/// Windows 10, as everybody says (section 2.2.2.10).
const OUR_VERSION: [u8; 8] = [10, 0, 0x61, 0x4a, 0, 0, 0, 15];

/// Identifiers of what a proxy tells of itself (section 2.2.2.1).
const AV_END: u16 = 0;
const AV_FLAGS: u16 = 6;
const AV_TIMESTAMP: u16 = 7;
/// In AV_FLAGS: our proof has a MIC.
const HAS_MIC: u32 = 2;

/// The longest challenge that is looked at, in bytes.
pub const MAX_CHALLENGE: usize = 16 * 1024;
/// Where the payload of our proof begins, behind its MIC.
const PAYLOAD: usize = 88;
const MIC_AT: usize = 72;

/// Who we are.
pub struct Login<'a> {
    /// The user alone.
    pub user: &'a str,
    /// The domain; may be empty.
    pub domain: &'a str,
    /// The password.
    pub password: &'a str,
}

impl<'a> Login<'a> {
    /// Reads `DOMAIN\user`; in `user@domain` all of it is the user.
    pub fn new(user: &'a str, password: &'a str) -> Login<'a> {
        let (domain, user) = user.split_once('\\').unwrap_or(("", user));
        Login { user, domain, password }
    }
}

/// What must never be the same twice.
#[derive(Clone, Copy)]
pub struct Moment {
    /// Eight random bytes.
    pub random: [u8; 8],
    /// Tenths of microseconds since 1601.
    pub filetime: u64,
}

/// The first message.
pub fn negotiate() -> Vec<u8> {
    let mut message = header(1);
    message.extend(ASKED.to_le_bytes());
    // neither domain nor workstation
    message.extend([0; 16]);
    message.extend(OUR_VERSION);
    message
}

/// A proxy's answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    nonce: [u8; 8],
    /// What the proxy tells of itself, its end not included.
    info: Vec<u8>,
    timestamp: Option<u64>,
}

impl Challenge {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(message: &[u8]) -> Result<Challenge, &'static str> {
        if message.len() > MAX_CHALLENGE {
            return Err("the NTLM challenge is too long");
        }
        if message.get(..8) != Some(SIGNATURE) || word(message, 8) != Some(2) {
            return Err("no NTLM challenge, which begins with NTLMSSP and a 2");
        }
        let cut = "the NTLM challenge is cut short";
        let nonce = message.get(24..32).and_then(|nonce| nonce.try_into().ok()).ok_or(cut)?;
        let flags = word(message, 20).ok_or(cut)?;
        if flags & UNICODE == 0 {
            return Err("the proxy speaks an NTLM without Unicode");
        }
        let info = if flags & TARGET_INFO == 0 { &[][..] } else { field(message, 40).ok_or(cut)? };
        let mut challenge = Challenge { nonce, info: Vec::new(), timestamp: None };
        let mut rest = info;
        while let [id0, id1, length0, length1, tail @ ..] = rest {
            let id = u16::from_le_bytes([*id0, *id1]);
            let length = usize::from(u16::from_le_bytes([*length0, *length1]));
            let value = tail.get(..length).ok_or(cut)?;
            match id {
                AV_END => return Ok(challenge),
                // we have flags of our own to set
                AV_FLAGS => {}
                _ => challenge.info.extend_from_slice(&rest[..4 + length]),
            }
            if id == AV_TIMESTAMP {
                challenge.timestamp = value.try_into().ok().map(u64::from_le_bytes);
            }
            rest = &tail[length..];
        }
        if rest.is_empty() { Ok(challenge) } else { Err(cut) }
    }
}

/// The last message: the proof that we know the password. `sent` and `came` are the two messages before it.
///
/// # Errors
/// `came` is no challenge.
pub fn authenticate(
    login: &Login<'_>,
    sent: &[u8],
    came: &[u8],
    moment: Moment,
) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let challenge = Challenge::parse(came)?;
    let key = key(login);
    let info = our_info(&challenge);
    let (proof, response) = respond(&key, &challenge, &info, moment);
    let lm = match challenge.timestamp {
        Some(_) => vec![0; 24],
        None => [&mac(&key, &[&challenge.nonce, &moment.random])[..], &moment.random].concat(),
    };
    let [domain, user] = [login.domain, login.user].map(utf16);
    let mut message = Zeroizing::new(header(3));
    let mut at = PAYLOAD;
    let parts: [&[u8]; 6] = [&lm, &response, &domain, &user, &[], &[]];
    for part in parts {
        let length = u16::try_from(part.len()).map_err(|_| "user, domain or challenge is too long for NTLM")?;
        message.extend(length.to_le_bytes());
        message.extend(length.to_le_bytes());
        message.extend(u32::try_from(at).unwrap_or(u32::MAX).to_le_bytes());
        at += part.len();
    }
    let flags = ASKED & !REQUEST_TARGET | TARGET_INFO;
    message.extend(flags.to_le_bytes());
    message.extend(OUR_VERSION);
    message.extend([0; 16]);
    parts.iter().for_each(|part| message.extend_from_slice(part));
    if challenge.timestamp.is_some() {
        let session_key = mac(&key, &[&proof[..]]);
        let mic = mac(&session_key, &[sent, came, &message]);
        message[MIC_AT..PAYLOAD].copy_from_slice(&mic[..]);
    }
    Ok(message)
}

/// NTOWFv2 (section 3.3.2).
fn key(login: &Login<'_>) -> Zeroizing<[u8; 16]> {
    let hash: Zeroizing<[u8; 16]> =
        Zeroizing::new(Md4::digest(Zeroizing::new(utf16(login.password)).as_slice()).into());
    // letter by letter as Windows has it: no letter becomes two
    let upper = login.user.chars().map(|letter| {
        let mut upper = letter.to_uppercase();
        upper.next().filter(|_| upper.len() == 0).unwrap_or(letter)
    });
    let who = utf16(&upper.chain(login.domain.chars()).collect::<String>());
    mac(&hash, &[&who])
}

/// What the proxy told of itself, with our word that there is a MIC where it told the time (section 3.1.5.1.2).
fn our_info(challenge: &Challenge) -> Vec<u8> {
    let mut info = challenge.info.clone();
    if challenge.timestamp.is_some() {
        info.extend(AV_FLAGS.to_le_bytes());
        info.extend(4u16.to_le_bytes());
        info.extend(HAS_MIC.to_le_bytes());
    }
    info.extend([0; 4]);
    info
}

/// NTProofStr, and NTLMv2_RESPONSE, which begins with it.
fn respond(key: &[u8; 16], challenge: &Challenge, info: &[u8], moment: Moment) -> (Zeroizing<[u8; 16]>, Vec<u8>) {
    let mut blob = vec![1, 1, 0, 0, 0, 0, 0, 0];
    blob.extend(challenge.timestamp.unwrap_or(moment.filetime).to_le_bytes());
    blob.extend(moment.random);
    blob.extend([0; 4]);
    blob.extend(info);
    blob.extend([0; 4]);
    let proof = mac(key, &[&challenge.nonce, &blob]);
    let response = [&proof[..], &blob].concat();
    (proof, response)
}

fn mac(key: &[u8; 16], parts: &[&[u8]]) -> Zeroizing<[u8; 16]> {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn header(kind: u32) -> Vec<u8> {
    // as long as it can get without its payload: a buffer that grows leaves copies behind
    let mut message = Vec::with_capacity(4096);
    message.extend(SIGNATURE);
    message.extend(kind.to_le_bytes());
    message
}

fn utf16(text: &str) -> Vec<u8> {
    // as long as it can get: a buffer that grows leaves copies behind
    let mut bytes = Vec::with_capacity(text.len() * 2);
    text.encode_utf16().for_each(|unit| bytes.extend(unit.to_le_bytes()));
    bytes
}

fn word(message: &[u8], at: usize) -> Option<u32> {
    message.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// The part of the payload that the length and offset at `at` tell.
fn field(message: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16::from_le_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let from = usize::try_from(word(message, at + 4)?).ok()?;
    message.get(from..from.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOMENT: Moment = Moment { random: [0xaa; 8], filetime: 0 };

    fn pair(id: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).expect("short");
        [&id.to_le_bytes()[..], &length.to_le_bytes(), value].concat()
    }

    fn challenge(info: &[u8]) -> Vec<u8> {
        let mut message = header(2);
        message.extend([0; 8]);
        message.extend((UNICODE | NTLM | TARGET_INFO | EXTENDED_SECURITY).to_le_bytes());
        message.extend([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        message.extend([0; 8]);
        let length = u16::try_from(info.len()).expect("short");
        message.extend(length.to_le_bytes());
        message.extend(length.to_le_bytes());
        message.extend(56u32.to_le_bytes());
        message.extend(OUR_VERSION);
        message.extend(info);
        message
    }

    /// MS-NLMP section 4.2.4.
    #[test]
    fn the_documented_example_comes_out() {
        let login = Login::new("Domain\\User", "Password");
        let key = key(&login);
        assert_eq!(hex(&key[..]), "0c868a403bfd7a93a3001ef22ef02e3f");
        let info = [pair(2, &utf16("Domain")), pair(1, &utf16("Server")), pair(AV_END, b"")].concat();
        let came = challenge(&info);
        let parsed = Challenge::parse(&came).expect("a challenge");
        let (proof, response) = respond(&key, &parsed, &our_info(&parsed), MOMENT);
        assert_eq!(hex(&proof[..]), "68cd0ab851e51c96aabc927bebef6a1c");
        assert_eq!(hex(&mac(&key, &[&proof[..]])[..]), "8de40ccadbc14a82f15cb0ad0de95ca3");
        let message = authenticate(&login, &negotiate(), &came, MOMENT).expect("a challenge");
        assert_eq!(hex(field(&message, 12).expect("LM")), "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa");
        assert_eq!(field(&message, 20), Some(&response[..]));
        assert_eq!(field(&message, 28), Some(&utf16("Domain")[..]));
        assert_eq!(field(&message, 36), Some(&utf16("User")[..]));
        assert_eq!(message[MIC_AT..PAYLOAD], [0; 16]);
    }

    #[test]
    fn where_the_proxy_tells_the_time_it_is_used_and_all_is_sealed_by_a_mic() {
        let info = [pair(AV_TIMESTAMP, &7u64.to_le_bytes()), pair(AV_FLAGS, &[1, 0, 0, 0]), pair(AV_END, b"")].concat();
        let came = challenge(&info);
        let message = authenticate(&Login::new("me", "geheim"), &negotiate(), &came, MOMENT).expect("a challenge");
        assert_ne!(message[MIC_AT..PAYLOAD], [0; 16]);
        assert_eq!(field(&message, 12), Some(&[0; 24][..]));
        let response = field(&message, 20).expect("the proof");
        assert_eq!(response[24..32], 7u64.to_le_bytes());
        let flags = pair(AV_FLAGS, &[2, 0, 0, 0]);
        assert_eq!(response.windows(flags.len()).filter(|w| *w == flags).count(), 1);
    }

    #[test]
    fn users_grow_upper_case_letter_by_letter() {
        let [upper, lower, sharp, once, twice] =
            ["\u{c4}DA", "\u{e4}da", "wei\u{df}", "weis", "weiss"].map(|user| key(&Login::new(user, "pw")));
        assert_eq!(upper, lower);
        assert!(sharp != once && sharp != twice);
        assert_eq!(sharp, key(&Login::new("WEI\u{df}", "pw")));
    }

    #[test]
    fn users_are_split_at_the_backslash_only() {
        let login = Login::new("CORP\\me", "");
        assert_eq!((login.domain, login.user), ("CORP", "me"));
        let login = Login::new("me@corp.example", "");
        assert_eq!((login.domain, login.user), ("", "me@corp.example"));
    }

    #[test]
    fn every_shorter_challenge_is_refused() {
        let info = [pair(2, &utf16("Domain")), pair(AV_TIMESTAMP, &[0; 8]), pair(AV_END, b"")].concat();
        let came = challenge(&info);
        assert!(Challenge::parse(&came).is_ok());
        for length in 0..came.len() {
            assert!(Challenge::parse(&came[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_challenge_is_read_or_refused(info in proptest::collection::vec(any::<u8>(), 0..60), cut in 0usize..120) {
            let mut came = challenge(&info);
            came.truncate(cut);
            let _ = authenticate(&Login::new("me", "pw"), &negotiate(), &came, MOMENT);
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}
