//! The one integration binary, a module for each topic.

mod rig;

mod peers;
