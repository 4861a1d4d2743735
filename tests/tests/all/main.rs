//! The one integration binary, a module for each topic.

mod packets;
mod planes;
mod rig;

mod peers;
