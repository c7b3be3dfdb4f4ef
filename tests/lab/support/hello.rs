//! ClientHellos to order: with any server name, or none, of any size, in records of any size.
//!
//! RFC 8446 section 4.1.2 for the message, RFC 6066 section 3 for the name, section 5.1 for the records.

const SERVER_NAME: u16 = 0;
const PADDING: u16 = 21;
const KEY_SHARE: u16 = 51;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const GREASE: u16 = 0x0a0a;
const X25519_MLKEM768: u16 = 0x11ec;

/// A ClientHello; its extensions come in the order in which they are asked for.
#[derive(Clone, Default)]
pub struct Hello {
    extensions: Vec<u8>,
}

impl Hello {
    /// A plain one for this name.
    pub fn to(name: impl AsRef<[u8]>) -> Self {
        Self::default().name(name)
    }

    /// One that names nobody.
    pub fn nameless() -> Self {
        Self::default().extension(10, &[0, 2, 0, 29])
    }

    /// A server name, of any bytes.
    pub fn name(self, name: impl AsRef<[u8]>) -> Self {
        self.names(&[(0, name.as_ref())])
    }

    /// A list of server names, each with its type.
    pub fn names(self, names: &[(u8, &[u8])]) -> Self {
        let mut list = Vec::new();
        for (kind, name) in names {
            list.push(*kind);
            list.extend(long(name));
        }
        self.extension(SERVER_NAME, &long(&list))
    }

    /// So many bytes of padding.
    pub fn padding(self, count: usize) -> Self {
        self.extension(PADDING, &vec![0; count])
    }

    /// A key share of the size of X25519MLKEM768, which makes the hello longer than a segment.
    pub fn post_quantum(self) -> Self {
        let share = [&X25519_MLKEM768.to_be_bytes()[..], &long(&[0x5a; 1216])].concat();
        self.extension(KEY_SHARE, &long(&share))
    }

    /// An encrypted hello, so that the name outside is only a cover.
    pub fn encrypted(self) -> Self {
        self.extension(ENCRYPTED_CLIENT_HELLO, &[0xec; 200])
    }

    /// An extension that nobody knows (RFC 8701).
    pub fn grease(self) -> Self {
        self.extension(GREASE, &[])
    }

    /// Any extension.
    pub fn extension(mut self, kind: u16, body: &[u8]) -> Self {
        self.extensions.extend(kind.to_be_bytes());
        self.extensions.extend(long(body));
        self
    }

    /// The hello in one record.
    pub fn bytes(&self) -> Vec<u8> {
        self.records(usize::from(u16::MAX))
    }

    /// The hello in records of at most so many bytes of payload.
    pub fn records(&self, payload: usize) -> Vec<u8> {
        let message = self.message();
        message.chunks(payload).flat_map(record).collect()
    }

    fn message(&self) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        // a session id, three ciphers, no compression
        body.push(32);
        body.extend([9; 32]);
        body.extend(long(&[0x0a, 0x0a, 0x13, 0x01, 0x13, 0x02]));
        body.extend([1, 0]);
        body.extend(long(&self.extensions));
        let length = u32::try_from(body.len()).expect("a hello of a test is small");
        let mut message = vec![1];
        message.extend(&length.to_be_bytes()[1..]);
        message.extend(body);
        message
    }
}

/// A handshake record.
pub fn record(payload: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &long(payload)].concat()
}

/// Bytes behind their length in two bytes.
fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a hello of a test is small");
    [&length.to_be_bytes()[..], bytes].concat()
}
