//! The packet path's parts, in the order a packet meets them. Everything here is `no_std`, free of
//! clocks and maps, and runs on a host as it runs in the kernel: `main.rs` (bpf only) joins it to
//! the maps. The ABI that user space shares is in `abi`.
#![cfg_attr(not(any(test, feature = "build")), no_std)]
#![deny(unsafe_code)]

pub mod frame;

pub mod packet;

pub mod gcra;

pub mod scope;

pub mod gate;

pub mod seen;

pub mod hot;

pub mod front;

pub mod budget;

pub mod aggregate;

pub mod reply;

pub mod verdict;

pub mod path;

#[cfg_attr(feature = "user", expect(unsafe_code, reason = "Pod: maps copy these types as plain bytes"))]
pub mod abi;

#[cfg(feature = "build")]
pub mod build;
