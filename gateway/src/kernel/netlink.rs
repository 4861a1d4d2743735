//! Asks the kernel which XDP program an interface runs (rtnetlink, IFLA_XDP).

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::Mode;

/// An attached XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    pub mode: Mode,
    pub program_id: u32,
}

impl Attached {
    /// `program "NAME" (id N, native)`, for messages.
    pub fn describe(&self) -> String {
        let name = aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .find(|info| info.id() == self.program_id)
            .and_then(|info| info.name_as_str().map(str::to_owned));
        let name = name.unwrap_or_else(|| "unnamed".to_owned());
        format!("program \"{name}\" (id {}, {})", self.program_id, self.mode)
    }
}

/// What runs on the interface now.
pub fn attached(ifindex: u32) -> io::Result<Option<Attached>> {
    let mut request = LinkMessage::default();
    request.header.index = ifindex;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let payload = NetlinkPayload::from(RouteNetlinkMessage::GetLink(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(xdp_of(&link)),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::Error::other("unexpected answer to RTM_GETLINK")),
    }
}

fn xdp_of(link: &LinkMessage) -> Option<Attached> {
    let attributes = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(attributes) => Some(attributes),
        _ => None,
    })?;
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware) => Some(Mode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer | XdpAttached::Multiple) => Some(Mode::Generic),
        _ => None,
    })?;
    let program_id = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    });
    Some(Attached { mode, program_id: program_id.unwrap_or(0) })
}
