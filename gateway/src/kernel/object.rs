//! The compiled kernel side.

/// The object that build.rs made of weir-ebpf's bin `xdp`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xdp.o"));
