//! What kernel and user space both see of port rules: classes, numbers, rows.

/// Budget classes of the unproved.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Syn = 0,
    /// Any other segment: without an entry and without a socket an ACK or RST out of nowhere.
    Tcp = 1,
    Udp = 2,
    /// ICMP echo requests.
    Echo = 3,
    Fragment = 4,
    /// What port rules put apart from their kind.
    Apart = 5,
}

/// Number of [`Class`]es.
pub const CLASSES: usize = 6;

/// Numbers of port rules: 0 is "not protected", 1 the rule of ports that no other names.
pub const PORT_RULES: u32 = 64;
pub const PORT_RULE_DEFAULT: u8 = 1;

/// What one port rule says; a row of `PORTS`, of which each generation of SCOPE has [`PORT_RULES`].
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRow {
    /// Units that a packet costs, for each [`Class`] that it is of by itself.
    pub weights: [u8; CLASSES],
    /// Number of the [`Class`] that unproved packets draw on, plus 1; 0: the packet's own.
    pub class: u8,
    /// Bits of `flags`: only [`super::flags::OBSERVE`].
    pub flags: u8,
}

impl PortRow {
    /// All of it in one word, as it lies in memory: the packet path has no stack to spare.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        let [a, b, c, d, e, f] = self.weights;
        u64::from_le_bytes([a, b, c, d, e, f, self.class, self.flags])
    }
}

impl Default for PortRow {
    fn default() -> Self {
        Self { weights: [1; CLASSES], class: 0, flags: 0 }
    }
}
