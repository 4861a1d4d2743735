//! Asks the kernel which interfaces there are and what runs on them, and hears when that changes
//! (rtnetlink). Only what is used is read, attribute by attribute: an interface that a newer kernel
//! describes in another way is still listed.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use netlink_packet_core::{
    NLA_HEADER_SIZE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkMessage, LinkMessageBuffer};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::Mode;

/// An interface as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub ifindex: u32,
    pub name: String,
    /// `vlan`, `veth`, `bridge`, ...; empty for a card's.
    pub kind: String,
    pub is_up: bool,
    pub is_loopback: bool,
    /// Whether frames have an Ethernet header: not on tunnels of layer 3.
    pub is_ethernet: bool,
    /// What it is a port of: a bond, a bridge.
    pub master: Option<u32>,
    /// What it stands on (a VLAN's card); the other end of a veth in this namespace.
    pub lower: Option<u32>,
    pub attached: Option<Attached>,
}

/// An attached XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    pub mode: Mode,
    pub program_id: u32,
}

impl Link {
    /// How far above the cards it stands: a tunnel may stand on any of the others without saying so here.
    pub fn storey(&self) -> u8 {
        match self.kind.as_str() {
            "" | "veth" | "tun" => 0,
            "bond" | "team" => 1,
            "bridge" => 2,
            _ => 3,
        }
    }
}

/// Largest answer that the kernel puts into one datagram.
const DATAGRAM_BYTES: usize = 1 << 16;
/// How long an answer is waited for.
const ANSWER_SECONDS: i64 = 2;
/// A list that changed while it was read is read again so often.
const TRIES: usize = 4;

// linux/if_link.h, linux/if_arp.h and linux/rtnetlink.h.
const RTM_NEWLINK: u16 = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const XDP_ATTACHED_DRV: u8 = 1;
const XDP_ATTACHED_HW: u8 = 3;
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;

/// Every interface of this namespace.
pub(super) fn links() -> io::Result<Vec<Link>> {
    for _ in 0..TRIES {
        if let Some(links) = dump()? {
            return Ok(links);
        }
    }
    Err(io::Error::other("the list of interfaces changed each time that it was read"))
}

/// One reading; None where the list changed meanwhile.
fn dump() -> io::Result<Option<Vec<Link>>> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let payload = NetlinkPayload::from(RouteNetlinkMessage::GetLink(LinkMessage::default()));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut request = vec![0; message.buffer_len()];
    message.serialize(&mut request);
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
    socket.send(&request, 0)?;
    let (mut datagram, mut links, mut is_whole) = (vec![0; DATAGRAM_BYTES], Vec::new(), true);
    loop {
        let length = recv(socket.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
        let mut rest = datagram.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            is_whole &= message.flags() & NLM_F_DUMP_INTR == 0;
            match message.message_type() {
                NLMSG_DONE => return Ok(is_whole.then_some(links)),
                NLMSG_ERROR => return Err(io::Error::other("the kernel refused to list interfaces")),
                RTM_NEWLINK => links.extend(link_of(message.payload())),
                _ => {}
            }
            let aligned = usize::try_from(message.length()).unwrap_or(rest.len()).next_multiple_of(4);
            rest = rest.get(aligned..).unwrap_or_default();
        }
    }
}

fn link_of(payload: &[u8]) -> Option<Link> {
    let header = LinkMessageBuffer::new_checked(payload).ok()?;
    let (arphrd, flags) = (header.link_layer_type(), header.flags());
    let mut link = Link {
        ifindex: header.link_index(),
        is_up: flags & IFF_UP != 0,
        is_loopback: flags & IFF_LOOPBACK != 0,
        is_ethernet: arphrd == ARPHRD_ETHER || arphrd == ARPHRD_LOOPBACK,
        ..Link::default()
    };
    let mut is_elsewhere = false;
    for (kind, value) in attributes(header.payload()) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_LINK => link.lower = number(value),
            IFLA_MASTER => link.master = number(value),
            IFLA_LINK_NETNSID => is_elsewhere = true,
            IFLA_LINKINFO => link.kind = nested(value, IFLA_INFO_KIND).map(text).unwrap_or_default(),
            IFLA_XDP => link.attached = attached_of(value),
            _ => {}
        }
    }
    if is_elsewhere {
        link.lower = None;
    }
    Some(link)
}

fn attached_of(value: &[u8]) -> Option<Attached> {
    let mode = match nested(value, IFLA_XDP_ATTACHED)?.first()? {
        0 => return None,
        &XDP_ATTACHED_DRV | &XDP_ATTACHED_HW => Mode::Native,
        _ => Mode::Generic,
    };
    Some(Attached { mode, program_id: nested(value, IFLA_XDP_PROG_ID).and_then(number).unwrap_or(0) })
}

/// Types and values up to the first that is malformed.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).filter_map(|attribute| {
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        Some((kind, attribute.into_inner().get(NLA_HEADER_SIZE..length)?))
    })
}

fn nested(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// Hears that interfaces or addresses changed. What changed is not read from the news: they may be
/// lost when many come at once, so whoever hears reads everything again.
pub(super) struct Monitor {
    socket: Socket,
}

/// News taken from the socket at once; what is left wakes the next wait.
const NEWS_AT_ONCE: usize = 4_096;

impl Monitor {
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        for group in [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR] {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(Self { socket })
    }

    /// Takes the news that wait.
    pub fn drain(&self) {
        let mut first_bytes = [0; 1];
        for _ in 0..NEWS_AT_ONCE {
            match recv(self.socket.as_raw_fd(), &mut first_bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::EINTR) => {}
                // The socket's buffer was full: what was lost is read with everything else.
                Err(Errno::ENOBUFS) => {
                    tracing::warn!("news of interfaces and addresses were lost, reading all anew")
                }
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::{Attached, link_of};
    use crate::kernel::Mode;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).expect("short");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(arphrd: u16, ifindex: u32, flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0, 0];
        bytes.extend(arphrd.to_ne_bytes());
        for word in [ifindex, flags, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(attributes.concat());
        bytes
    }

    #[test]
    fn a_link_is_read_and_what_is_not_known_is_left() {
        let info = attribute(18, &attribute(1, b"vlan\0"));
        let xdp = attribute(43, &[attribute(2, &[2]), attribute(4, &7_u32.to_ne_bytes())].concat());
        let strange = attribute(999, &[1, 2, 3]);
        let name = attribute(3, b"eth0.5\0");
        let lower = attribute(5, &2_u32.to_ne_bytes());
        let link = link_of(&message(1, 9, 1, &[strange, name, lower, info, xdp])).expect("whole");
        assert_eq!((link.ifindex, link.name.as_str(), link.kind.as_str()), (9, "eth0.5", "vlan"));
        assert_eq!((link.is_up, link.is_ethernet, link.lower), (true, true, Some(2)));
        assert_eq!(link.attached, Some(Attached { mode: Mode::Generic, program_id: 7 }));
    }

    #[test]
    fn another_namespaces_interface_is_no_lower_one_and_half_a_message_none() {
        let far = [attribute(5, &2_u32.to_ne_bytes()), attribute(37, &0_u32.to_ne_bytes())];
        assert_eq!(link_of(&message(1, 9, 0, &far)).expect("whole").lower, None);
        assert!(!link_of(&message(65_534, 9, 0, &[])).expect("whole").is_ethernet);
        assert_eq!(link_of(&[0; 15]), None);
        let cut = message(1, 9, 1, &[attribute(3, b"eth0\0")]);
        assert_eq!(link_of(&cut[..20]).expect("a header").name, "");
    }
}
