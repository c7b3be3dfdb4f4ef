//! How a proxy asks for credentials: status 407, with a body of any shape behind it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A challenge for Digest (RFC 7616), without the nonce that makes two of them differ.
pub fn digest(nonce: &str) -> String {
    format!(r#"Digest realm="lab", nonce="{nonce}", qop="auth", algorithm=MD5"#)
}

/// A 407 with these challenges and a short body.
pub fn demand(challenges: &[&str]) -> Vec<u8> {
    demand_with(challenges, "Content-Length: 12\r\n", b"<p>No.</p>\r\n")
}

/// A 407 with these challenges, more fields, and a body.
pub fn demand_with(challenges: &[&str], fields: &str, body: &[u8]) -> Vec<u8> {
    let challenges: String = challenges.iter().map(|c| format!("Proxy-Authenticate: {c}\r\n")).collect();
    let head = format!("HTTP/1.1 407 Proxy Authentication Required\r\n{challenges}{fields}\r\n");
    [head.as_bytes(), body].concat()
}

/// The number of an NTLM message ([MS-NLMP] section 2.2.1) in a field's value.
pub fn ntlm_message(credentials: &str) -> Option<u8> {
    let bytes = STANDARD.decode(credentials.strip_prefix("NTLM ")?).ok()?;
    bytes.strip_prefix(b"NTLMSSP\0")?.first().copied()
}

/// The user in an NTLM message of type 3.
pub fn ntlm_user(credentials: &str) -> String {
    let bytes = STANDARD.decode(credentials.strip_prefix("NTLM ").expect("NTLM")).expect("base64");
    let number = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    // the field of the user name: its length at byte 36, its offset at byte 40
    let (length, offset) = (number(36), number(40));
    let units = bytes[offset..offset + length].chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.expect("UTF-16")).collect()
}

/// The challenge of NTLM, a message of type 2, as a domain's proxy would send it.
pub fn ntlm_challenge() -> String {
    format!("NTLM {}", STANDARD.encode(ntlm_type_2()))
}

/// The same, cut in the middle.
pub fn ntlm_half_a_challenge() -> String {
    let whole = ntlm_type_2();
    format!("NTLM {}", STANDARD.encode(&whole[..whole.len() / 2]))
}

fn ntlm_type_2() -> Vec<u8> {
    const HEAD: u32 = 56;
    let domain = utf16("LAB");
    let mut info = Vec::new();
    // MsvAvNbDomainName, MsvAvNbComputerName, MsvAvEOL
    for (id, value) in [(2_u16, &domain), (1, &utf16("PROXY")), (0, &vec![])] {
        info.extend(id.to_le_bytes());
        info.extend(short(value).to_le_bytes());
        info.extend(value);
    }
    let field = |length: u16, offset: u32| {
        [&length.to_le_bytes()[..], &length.to_le_bytes()[..], &offset.to_le_bytes()[..]].concat()
    };
    let mut message = b"NTLMSSP\0\x02\0\0\0".to_vec();
    message.extend(field(short(&domain), HEAD));
    // unicode, target's name, NTLM, always sign, domain, extended session security, target info, version, 128, 56
    message.extend(0xa289_8205_u32.to_le_bytes());
    message.extend([1, 2, 3, 4, 5, 6, 7, 8]);
    message.extend([0; 8]);
    message.extend(field(short(&info), HEAD + u32::from(short(&domain))));
    // a version, of which nobody makes anything
    message.extend([10, 0, 0, 0, 0, 0, 0, 15]);
    message.extend(&domain);
    message.extend(&info);
    message
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn short(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).expect("a few bytes")
}
