//! Makes an array of maps whose template is a map of ours. aya's template carries type information,
//! which ours do not, and before Linux 6.3 no map may stand where the template differs in that.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use aya::maps::{MapData, MapType};
use nix::libc;

const BPF_MAP_CREATE: libc::c_long = 0;
const NAME_BYTES: usize = 16;

/// The head of the kernel's `union bpf_attr` for that command; what is left out is 0.
#[repr(C)]
struct Attributes {
    map_type: u32,
    key_bytes: u32,
    value_bytes: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: RawFd,
    numa_node: u32,
    name: [u8; NAME_BYTES],
}

/// An array of `entries` maps like `template`, whatever their capacity.
pub(super) fn create(name: &str, entries: u32, template: &MapData) -> io::Result<OwnedFd> {
    let mut attributes = Attributes {
        map_type: MapType::ArrayOfMaps as u32,
        key_bytes: 4,
        value_bytes: 4,
        max_entries: entries,
        map_flags: 0,
        inner_map_fd: template.fd().as_fd().as_raw_fd(),
        numa_node: 0,
        name: [0; NAME_BYTES],
    };
    // The last byte stays 0.
    for (to, from) in attributes.name.iter_mut().zip(name.bytes().take(NAME_BYTES - 1)) {
        *to = from;
    }
    // SAFETY: the command reads so many bytes of the attributes, which live until it returns.
    let made = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, &raw const attributes, size_of::<Attributes>())
    };
    let fd = RawFd::try_from(made).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made the descriptor, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
