//! Whom the fleet counts: a client, or the key of a `limits` row. Its name in the store is the same on
//! every node.

use std::fmt;
use std::net::IpAddr;

use crate::model::ClientKey;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    Client(ClientKey),
    /// The hash of a row's name and whom it counts.
    Row(u64),
}

impl Subject {
    /// Of its hash tag, of `tags`: the client's, never a namespace's, so that load spreads.
    pub fn tag(self, tags: u16) -> u16 {
        let (Self::Client(ClientKey(word)) | Self::Row(word)) = self;
        // The finaliser of splitmix64: addresses next to each other spread too.
        let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let tag = (word ^ (word >> 31)) % u64::from(tags.max(1));
        u16::try_from(tag).unwrap_or(0)
    }

    /// As [`Subject`]'s `Display` writes it.
    pub fn parse(name: &str) -> Option<Self> {
        match name.split_once(':')? {
            ("c", client) => {
                let address = client.strip_suffix("/64").unwrap_or(client).parse::<IpAddr>().ok()?;
                Some(Self::Client(ClientKey::of(address)))
            }
            ("r", row) => u64::from_str_radix(row, 16).ok().map(Self::Row),
            _ => None,
        }
    }
}

/// `c:192.0.2.1`, `c:2001:db8::/64`, `r:0123456789abcdef`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(key) => write!(f, "c:{key}"),
            Self::Row(hash) => write!(f, "r:{hash:016x}"),
        }
    }
}
