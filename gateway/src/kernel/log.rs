//! Log lines of the kernel side, where they were compiled in (feature `kernel-log`): read by a thread
//! of the keeper. Without the feature there is nothing to read and nothing here.

#[cfg(feature = "kernel-log")]
pub use enabled::KernelLog;

#[cfg(not(feature = "kernel-log"))]
pub use disabled::KernelLog;

#[cfg(not(feature = "kernel-log"))]
mod disabled {
    //! The face without the feature.

    /// Nothing.
    pub struct KernelLog;

    impl KernelLog {
        pub(in crate::kernel) fn of(_: &mut aya::Ebpf) -> Self {
            Self
        }

        pub(in crate::kernel) fn start(&mut self) {}
    }
}

#[cfg(feature = "kernel-log")]
mod enabled {
    //! The face with the feature.

    use std::os::fd::{AsRawFd as _, BorrowedFd};

    use aya_log::EbpfLogger;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    /// The reading end; None where the object has no log.
    pub struct KernelLog(Option<EbpfLogger<ToTracing>>);

    impl KernelLog {
        pub(in crate::kernel) fn of(ebpf: &mut aya::Ebpf) -> Self {
            let logger = EbpfLogger::init_with_logger(ebpf, ToTracing);
            Self(logger.inspect_err(|error| tracing::warn!(%error, "no log lines from the kernel side")).ok())
        }

        /// Reads from now on. To be called with the keeper's signals blocked: a thread inherits the mask.
        pub(in crate::kernel) fn start(&mut self) {
            let Some(mut logger) = self.0.take() else { return };
            std::thread::spawn(move || {
                loop {
                    // SAFETY: the logger owns the descriptor and lives as long as this loop.
                    let fd = unsafe { BorrowedFd::borrow_raw(logger.as_raw_fd()) };
                    if poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::NONE).is_err() {
                        return;
                    }
                    logger.flush();
                }
            });
        }
    }

    /// Hands records of the `log` crate on.
    pub struct ToTracing;

    impl log::Log for ToTracing {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            tracing::info!(level = %record.level(), "kernel: {}", record.args());
        }

        fn flush(&self) {}
    }
}
