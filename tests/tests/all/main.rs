//! The one integration binary, a module for each topic.

mod bad_days;
mod lifecycle;
mod packets;
mod planes;
mod rig;

mod peers;
