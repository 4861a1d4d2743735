//! The one integration binary, a module for each topic.
#![expect(clippy::indexing_slicing, reason = "a test that reaches beyond its own bytes should fail")]

mod accuracy;
mod aggregates;
mod apply;
mod auth;
mod bad_days;
mod cookies;
mod corpus;
mod fleet;
mod fleet_sim;
mod gate;
mod guard;
mod http2;
mod idle;
mod interfaces;
mod jwt;
mod lifecycle;
mod lists;
mod overrides;
mod packets;
mod planes;
mod ports;
mod privileges;
mod proxy_protocol;
mod replace;
mod resize;
mod restarts;
mod rig;
mod store;
mod tls;
mod unattended;
mod upstream_http2;
mod upstream_tls;
mod upstreams;
mod verifier;

mod peers;
