//! What HTTP/1 itself reads of a head's fields, noted while it is cut up. The usual form of a field that
//! is between two hops is noted whole and goes no further; what is odd about one stays among the fields,
//! for those to judge who have to.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    noted: u8,
    length: Option<u64>,
}

const CLOSE: u8 = 1;
const KEEP_ALIVE: u8 = 2;
const CHUNKED: u8 = 4;
const EXPECT: u8 = 8;
/// Among the fields there is a Connection.
const CONNECTION: u8 = 16;
/// Among the fields there is a Content-Length or a Transfer-Encoding: a second one, or one that is none.
const FRAMING: u8 = 32;
const OF_ONE_HOP: u8 = 64;

impl Marks {
    /// Whether the field is noted whole, and need not stand among the fields.
    /// Its name is in lower case.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) -> bool {
        let (noted, whole) = match name {
            b"connection" if value.eq_ignore_ascii_case(b"close") => (CLOSE, true),
            b"connection" if value.eq_ignore_ascii_case(b"keep-alive") => (KEEP_ALIVE, true),
            b"connection" => (CONNECTION | OF_ONE_HOP, false),
            b"transfer-encoding" if !self.has(CHUNKED) && value.eq_ignore_ascii_case(b"chunked") => {
                (CHUNKED, true)
            }
            b"transfer-encoding" => (FRAMING | OF_ONE_HOP, false),
            b"content-length" if self.length.is_none() => {
                self.length = decimal(value);
                if self.length.is_some() { (0, true) } else { (FRAMING, false) }
            }
            b"content-length" => (FRAMING, false),
            b"expect" => (EXPECT, false),
            name if is_of_one_hop(name) => (OF_ONE_HOP, false),
            _ => (0, false),
        };
        self.noted |= noted;
        whole
    }

    pub fn length(self) -> Option<u64> {
        self.length
    }

    pub fn is_chunked(self) -> bool {
        self.has(CHUNKED)
    }

    pub fn has_odd_framing(self) -> bool {
        self.has(FRAMING)
    }

    pub fn says_close(self) -> bool {
        self.has(CLOSE)
    }

    pub fn says_keep_alive(self) -> bool {
        self.has(KEEP_ALIVE)
    }

    /// A Connection that says something else, or more.
    pub fn has_connection(self) -> bool {
        self.has(CONNECTION)
    }

    pub fn has_expect(self) -> bool {
        self.has(EXPECT)
    }

    /// A field that must not go further.
    pub fn has_of_one_hop(self) -> bool {
        self.has(OF_ONE_HOP)
    }

    fn has(self, mark: u8) -> bool {
        self.noted & mark != 0
    }
}

/// Digits and nothing else.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    let digits = (!value.is_empty() && value.iter().all(u8::is_ascii_digit)).then_some(value)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What must not go further, its name in lower case: RFC 9110 section 7.6.1 and, for credentials of
/// proxies, 11.7; HTTP/2's of RFC 7540 section 3.2.1.
pub fn is_of_one_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"http2-settings"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
    )
}
