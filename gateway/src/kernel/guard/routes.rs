//! The default gateways of this host: next hops of every route to everywhere, of any table (rtnetlink).

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteVia};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Routes of a family that are looked at. A router with a full table has more; its IPv4 default route is
/// the kernel's first.
const ROUTES_MAX: usize = 16_384;
/// Gateways that are guarded.
const GATEWAYS_MAX: usize = 64;

/// A next hop and the interface that leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub address: IpAddr,
    pub interface: String,
}

/// Each once, in the kernel's order.
pub(super) fn default_gateways() -> io::Result<Vec<Gateway>> {
    let mut gateways = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        each_route(family, |route| {
            if route.header.destination_prefix_length != 0 {
                return;
            }
            for gateway in next_hops(&route.attributes) {
                if !gateways.contains(&gateway) && gateways.len() < GATEWAYS_MAX {
                    gateways.push(gateway);
                }
            }
        })?;
    }
    Ok(gateways)
}

/// Asks for every route and shows up to [`ROUTES_MAX`]; the kernel goes on only while it is read.
fn each_route(family: AddressFamily, mut show: impl FnMut(&RouteMessage)) -> io::Result<()> {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message =
        NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetRoute(request)));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let mut shown = 0;
    while shown < ROUTES_MAX {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => show(&route),
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            shown += 1;
            // Messages are aligned to four bytes; the last one's padding may be cut.
            rest = rest.get(length.next_multiple_of(4).max(4)..).unwrap_or_default();
        }
    }
    Ok(())
}

fn next_hops(attributes: &[RouteAttribute]) -> Vec<Gateway> {
    let mut oif = None;
    let mut addresses = Vec::new();
    let mut found = Vec::new();
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => addresses.push(IpAddr::V4(*v4)),
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => addresses.push(IpAddr::V6(*v6)),
            RouteAttribute::Via(RouteVia::Inet(v4)) => addresses.push(IpAddr::V4(*v4)),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => addresses.push(IpAddr::V6(*v6)),
            RouteAttribute::Oif(ifindex) => oif = Some(*ifindex),
            RouteAttribute::MultiPath(hops) => {
                for hop in hops {
                    let of_hop = next_hops(&hop.attributes).into_iter();
                    let interface = name(hop.interface_index);
                    found.extend(of_hop.map(|gateway| Gateway { interface: interface.clone(), ..gateway }));
                }
            }
            _ => {}
        }
    }
    let interface = oif.map(name).unwrap_or_default();
    found.extend(addresses.into_iter().map(|address| Gateway { address, interface: interface.clone() }));
    found
}

fn name(ifindex: u32) -> String {
    let name = nix::net::if_::if_indextoname(ifindex).ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| format!("interface {ifindex}"))
}
