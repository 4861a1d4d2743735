//! Why a driver refuses XDP, in its own words. A link's refusal is an errno only; the older way to
//! attach, by rtnetlink, answers with a sentence. So it is asked that way too, once it has refused.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya::programs::XdpMode;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// How long an answer is waited for: drivers may stop and start their queues for it.
const ANSWER_SECONDS: i64 = 5;
/// An answer is a header, an errno, the request's header and a sentence.
const ANSWER_BYTES: usize = 4_096;

// linux/if_link.h, linux/rtnetlink.h and linux/netlink.h.
const RTM_SETLINK: u16 = 19;
const IFLA_XDP: u16 = 43;
const NLA_F_NESTED: u16 = 1 << 15;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_EXPECTED_FD: u16 = 8;
const UPDATE_IF_NOEXIST: u32 = 1;
const SKB_MODE: u32 = 1 << 1;
const DRV_MODE: u32 = 1 << 2;
const REPLACE: u32 = 1 << 4;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Header of a message, and what of an answer stands before its attributes: errno and the request's header.
const HEADER_BYTES: usize = 16;
const ANSWER_HEADER_BYTES: usize = 4 + HEADER_BYTES;

/// What is said to attaching `program` to the interface; None where nothing is said, or nothing refused:
/// then it is taken off again.
pub(super) fn words(ifindex: u32, program: BorrowedFd<'_>, mode: XdpMode) -> Option<String> {
    let mode = if matches!(mode, XdpMode::Skb) { SKB_MODE } else { DRV_MODE };
    let fd = program.as_raw_fd();
    let attach =
        [(IFLA_XDP_FD, fd.to_ne_bytes()), (IFLA_XDP_FLAGS, (mode | UPDATE_IF_NOEXIST).to_ne_bytes())];
    match set(ifindex, &attach) {
        Ok(Answer::Refused(words)) => words,
        Ok(Answer::Done) => {
            let take_off = [
                (IFLA_XDP_FD, (-1_i32).to_ne_bytes()),
                (IFLA_XDP_EXPECTED_FD, fd.to_ne_bytes()),
                (IFLA_XDP_FLAGS, (mode | REPLACE).to_ne_bytes()),
            ];
            if let Err(error) = set(ifindex, &take_off) {
                tracing::warn!(ifindex, %error, "a program that should not be there may be attached");
            }
            None
        }
        Err(error) => {
            tracing::debug!(ifindex, %error, "why XDP was refused cannot be asked");
            None
        }
    }
}

enum Answer {
    Done,
    /// With what the driver or the kernel said.
    Refused(Option<String>),
}

fn set(ifindex: u32, attributes: &[(u16, [u8; 4])]) -> io::Result<Answer> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
    socket.send(&request(ifindex, attributes), 0)?;
    let mut datagram = [0; ANSWER_BYTES];
    let length = recv(socket.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
    answer(datagram.get(..length).unwrap_or_default())
}

/// A message that sets what is given in IFLA_XDP.
fn request(ifindex: u32, attributes: &[(u16, [u8; 4])]) -> Vec<u8> {
    let length_of = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_ne_bytes();
    let mut xdp = Vec::new();
    for (kind, value) in attributes {
        xdp.extend([length_of(8), kind.to_ne_bytes()].concat());
        xdp.extend(value);
    }
    // struct ifinfomsg: family, type, index, flags, change.
    let mut payload = vec![0; 4];
    payload.extend(ifindex.to_ne_bytes());
    payload.extend([0; 8]);
    payload.extend([length_of(4 + xdp.len()), (IFLA_XDP | NLA_F_NESTED).to_ne_bytes()].concat());
    payload.extend(xdp);
    let length = u32::try_from(HEADER_BYTES + payload.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(RTM_SETLINK.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(payload);
    message
}

fn answer(datagram: &[u8]) -> io::Result<Answer> {
    let message = NetlinkBuffer::new_checked(datagram).map_err(io::Error::other)?;
    let Some(errno) = message.payload().first_chunk().filter(|_| message.message_type() == NLMSG_ERROR)
    else {
        return Err(io::Error::other("unexpected answer to RTM_SETLINK"));
    };
    if i32::from_ne_bytes(*errno) == 0 {
        return Ok(Answer::Done);
    }
    if message.flags() & NLM_F_ACK_TLVS == 0 {
        return Ok(Answer::Refused(None));
    }
    let attributes = message.payload().get(ANSWER_HEADER_BYTES..).unwrap_or_default();
    let said =
        NlasIterator::new(attributes).map_while(Result::ok).find(|said| said.kind() == NLMSGERR_ATTR_MSG);
    let words = said.map(|said| String::from_utf8_lossy(said.value()).trim_end_matches('\0').to_owned());
    Ok(Answer::Refused(words.filter(|words| !words.is_empty())))
}
