//! Which of the fields that HTTP/1 itself reads a head has, noted while it is cut up: most have few, and
//! what is not there is not looked for.

use hyper::header::HeaderName;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u8);

const CONNECTION: u8 = 1;
const FRAMING: u8 = 2;
const EXPECT: u8 = 4;
const OF_ONE_HOP: u8 = 8;

impl Marks {
    pub(super) fn note(&mut self, name: &HeaderName) {
        self.0 |= match name.as_str() {
            "connection" => CONNECTION | OF_ONE_HOP,
            "transfer-encoding" => FRAMING | OF_ONE_HOP,
            "content-length" => FRAMING,
            "expect" => EXPECT,
            name if is_of_one_hop(name) => OF_ONE_HOP,
            _ => 0,
        };
    }

    pub fn has_connection(self) -> bool {
        self.0 & CONNECTION != 0
    }

    /// Content-Length or Transfer-Encoding.
    pub fn has_framing(self) -> bool {
        self.0 & FRAMING != 0
    }

    pub fn has_expect(self) -> bool {
        self.0 & EXPECT != 0
    }

    /// A field that must not go further.
    pub fn has_of_one_hop(self) -> bool {
        self.0 & OF_ONE_HOP != 0
    }
}

/// What must not go further, its name in lower case: RFC 9110 section 7.6.1 and, for credentials of
/// proxies, 11.7; HTTP/2's of RFC 7540 section 3.2.1.
pub fn is_of_one_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "http2-settings"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}
