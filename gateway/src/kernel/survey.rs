//! `weir xdp status`: what the pins and the kernel say, with the daemon alive or dead. What an
//! attachment was refused with only the keeper knows, and `weir status` says.

use std::io;
use std::net::SocketAddr;

use super::attachments::{Interface, State};
use super::choice::{Choice, choose};
use super::holder::described;
use super::netlink::{Link, links};
use super::{Interfaces, interfaces};
use crate::plane::PinDir;

/// The interfaces that this instance's pins name, and those that are `wanted` beside them; in order of name.
pub fn survey(pins: &PinDir, wanted: Option<(&Interfaces, &[SocketAddr])>) -> io::Result<Vec<Interface>> {
    let (present, pinned) = (links()?, pins.linked_in_any());
    let find = |name: &str| present.iter().find(|link| link.name == name);
    let mut rows: Vec<_> = pinned.iter().map(|name| of_pin(name, find(name))).collect();
    if let Some((wanted, listeners)) = wanted {
        let chosen = choose(&present, wanted, &interfaces::carrying(listeners)?);
        let others = chosen.into_iter().filter(|row| !pinned.contains(&row.name));
        rows.extend(others.map(|row| {
            let (state, why) = of_choice(row.choice, find(&row.name));
            Interface { name: row.name, state, why: Some(why) }
        }));
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

fn of_pin(name: &str, link: Option<&Link>) -> Interface {
    let (state, why) = match link {
        None => (State::Waiting, Some("it is not there any more")),
        Some(Link { attached: Some(attached), .. }) => (State::of(attached.mode), None),
        Some(_) => (State::Detached, Some("its link is pinned, and attached to nothing")),
    };
    Interface { name: name.to_owned(), state, why: why.map(str::to_owned) }
}

fn of_choice(choice: Choice, link: Option<&Link>) -> (State, String) {
    match choice {
        Choice::Wait(why) => (State::Waiting, why),
        Choice::Covered(why) => (State::Covered, why),
        Choice::Left(why) => (State::Left, why),
        Choice::Attach { ifindex, .. } => match link.and_then(|link| link.attached) {
            Some(attached) => (State::Taken, format!("by {}", described(ifindex, attached))),
            None => (
                State::Detached,
                "the program is not on it; `weir status` says what it was refused with".to_owned(),
            ),
        },
    }
}
