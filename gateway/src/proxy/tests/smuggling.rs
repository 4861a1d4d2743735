//! Request smuggling and response splitting, as tables over raw sockets: RFC 9110 and 9112 by section.
//! A request is refused, with the connection closed and nothing sent to the upstream, or forwarded in
//! one normal form, which the row gives whole.

mod row;

mod recorder;

mod wire;

mod lengths;

mod codings;

mod chunks;

mod lines;

mod versions;

mod targets;

mod hosts;

mod sizes;

mod hops;

mod expectations;

mod answer;

mod answers;

mod unread;
