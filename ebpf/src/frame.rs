//! Bounds-checked reads at an offset of a frame: the only way in which the path sees packet bytes.
//! Implemented for byte slices (host) and for the kernel's context, so that one parser serves both.

/// The farthest offset that is ever read: headers beyond it do not parse. The verifier needs the bound.
pub const OFFSET_MAX: usize = 4_095;

/// Bytes on the wire.
pub trait Frame {
    /// `N` bytes at `offset`; None when any of them is beyond the frame or [`OFFSET_MAX`].
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Bytes of the whole frame, those outside the linear part included.
    fn length_bytes(&self) -> u32;
}

impl Frame for [u8] {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > OFFSET_MAX {
            return None;
        }
        self.get(offset..)?.first_chunk().copied()
    }

    fn length_bytes(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(target_arch = "bpf")]
#[expect(unsafe_code, reason = "reads packet memory between data and data_end")]
mod kernel {
    use aya_ebpf::EbpfContext as _;
    use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
    use aya_ebpf::programs::XdpContext;

    use super::{Frame, OFFSET_MAX};

    impl Frame for XdpContext {
        #[inline(always)]
        fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
            if offset > OFFSET_MAX {
                return None;
            }
            let start = self.data() + offset;
            if start + N > self.data_end() {
                return None;
            }
            // SAFETY: start..start + N lies in data..data_end (checked above, and again by the
            // verifier); the array has alignment 1.
            Some(unsafe { *(start as *const [u8; N]) })
        }

        #[inline(always)]
        fn length_bytes(&self) -> u32 {
            // SAFETY: the context is the one that the kernel passed to this program.
            unsafe { bpf_xdp_get_buff_len(self.as_ptr().cast()) as u32 }
        }
    }
}
