//! The lists of system calls: what Rust's library, tokio, glibc (its resolver, its allocator, jemalloc
//! too), files that are watched, sockets and maps need. Found by reading those and by running all tests
//! under them; what a newer library adds fails with ENOSYS until it stands here.

use nix::libc;

use super::filter::{Call, Rule};

/// Memory, files, sockets, threads and clocks: of both processes.
#[rustfmt::skip]
const BOTH: &[Call] = &[
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_membarrier,
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_close, libc::SYS_close_range, libc::SYS_dup, libc::SYS_dup3,
    libc::SYS_fcntl, libc::SYS_lseek, libc::SYS_sendfile, libc::SYS_splice, libc::SYS_copy_file_range,
    libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_ftruncate, libc::SYS_flock,
    libc::SYS_openat, libc::SYS_newfstatat, libc::SYS_fstat, libc::SYS_statx, libc::SYS_statfs,
    libc::SYS_fstatfs, libc::SYS_readlinkat, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_getdents64,
    libc::SYS_getcwd, libc::SYS_unlinkat, libc::SYS_renameat2, libc::SYS_mkdirat, libc::SYS_fchmod,
    libc::SYS_fchmodat, libc::SYS_umask,
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2,
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_eventfd2, libc::SYS_pipe2, libc::SYS_signalfd4,
    libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_timerfd_gettime,
    libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    libc::SYS_socketpair, libc::SYS_bind, libc::SYS_connect, libc::SYS_accept, libc::SYS_accept4,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_setsockopt, libc::SYS_getsockopt,
    libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg,
    libc::SYS_recvmmsg, libc::SYS_shutdown,
    libc::SYS_exit, libc::SYS_exit_group, libc::SYS_futex, libc::SYS_futex_waitv, libc::SYS_set_robust_list,
    libc::SYS_get_robust_list, libc::SYS_rseq, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity, libc::SYS_gettid, libc::SYS_getpid, libc::SYS_getppid, libc::SYS_getuid,
    libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getcpu, libc::SYS_restart_syscall,
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    libc::SYS_gettimeofday, libc::SYS_times,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getrusage, libc::SYS_getrandom, libc::SYS_capget,
];

/// Older names of the same, which other architectures never had.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER: &[Call] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_poll, libc::SYS_select,
    libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_pipe, libc::SYS_eventfd, libc::SYS_dup2,
    libc::SYS_readlink, libc::SYS_unlink, libc::SYS_rename, libc::SYS_renameat, libc::SYS_mkdir,
    libc::SYS_chmod, libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[Call] = &[];

/// What the keeper does beside it: programs, links and maps; a child; and what that child needs until it
/// has a list of its own, since it keeps this one.
#[rustfmt::skip]
const KEEPER: &[Call] = &[
    libc::SYS_bpf, libc::SYS_socket, libc::SYS_ioctl, libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_prctl,
    libc::SYS_prlimit64, libc::SYS_capset, libc::SYS_seccomp, libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self,
    libc::SYS_execve, libc::SYS_clone, libc::SYS_clone3, libc::SYS_wait4, libc::SYS_waitid, libc::SYS_kill,
    libc::SYS_tgkill, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal, libc::SYS_set_tid_address,
    libc::SYS_listen,
];

#[cfg(target_arch = "x86_64")]
const LOADER: &[Call] = &[libc::SYS_arch_prctl, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const LOADER: &[Call] = &[];

/// Nothing in the gateway asks for these, ever: who does is an attacker, and the process ends.
#[rustfmt::skip]
pub(super) const FATAL: &[Call] = &[
    libc::SYS_execve, libc::SYS_execveat, libc::SYS_ptrace, libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd, libc::SYS_init_module, libc::SYS_finit_module,
    libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_kexec_file_load, libc::SYS_mount,
    libc::SYS_umount2, libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_open_tree, libc::SYS_pivot_root,
    libc::SYS_chroot, libc::SYS_setns, libc::SYS_unshare, libc::SYS_open_by_handle_at,
];

/// Commands of bpf(): entries, and the program `charge`. Nothing is made, loaded, attached, or opened by
/// its id; by its pin only what its user may open (linux/bpf.h).
const MAP_COMMANDS: [u64; 7] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    7,  // BPF_OBJ_GET: maps that a reload made anew
    10, // BPF_PROG_TEST_RUN
    15, // BPF_OBJ_GET_INFO_BY_FD
];

const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

const IOCTLS: [u64; 7] = [
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    libc::TCGETS,
    libc::TIOCGWINSZ,
    // if_indextoname and if_nametoindex (linux/sockios.h).
    0x8910,
    0x8933,
];

/// Threads and mappings have names.
const PRCTLS: [i32; 3] = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];

pub(super) fn keeper() -> Vec<Rule> {
    [BOTH, OLDER, KEEPER, LOADER].into_iter().flatten().copied().map(Rule::Always).collect()
}

pub(super) fn gateway() -> Vec<Rule> {
    let own = u64::from(std::process::id());
    let executable = bits(libc::PROT_EXEC);
    let mut rules: Vec<_> = [BOTH, OLDER].into_iter().flatten().copied().map(Rule::Always).collect();
    rules.extend([
        Rule::OneOf(libc::SYS_bpf, 0, MAP_COMMANDS.into()),
        Rule::OneOf(libc::SYS_socket, 0, FAMILIES.map(bits).into()),
        Rule::OneOf(libc::SYS_ioctl, 1, IOCTLS.into()),
        Rule::OneOf(libc::SYS_prctl, 0, PRCTLS.map(bits).into()),
        // Its own limits: 0 is the caller.
        Rule::OneOf(libc::SYS_prlimit64, 0, vec![0, own]),
        // The threads that check passwords give way; 0 is the caller.
        Rule::OneOf(libc::SYS_setpriority, 1, vec![0]),
        // abort(), and no other process.
        Rule::OneOf(libc::SYS_kill, 0, vec![own]),
        Rule::OneOf(libc::SYS_tgkill, 0, vec![own]),
        // Code comes from files: the resolver's modules are loaded when they are first wanted.
        Rule::Without(libc::SYS_mmap, vec![(2, executable), (3, bits(libc::MAP_ANONYMOUS))]),
        Rule::Without(libc::SYS_mprotect, vec![(2, executable)]),
        // Threads, no processes. clone3 keeps its flags where no filter can look: glibc takes ENOSYS and
        // comes back with clone.
        Rule::With(libc::SYS_clone, 0, bits(libc::CLONE_THREAD)),
    ]);
    rules
}

fn bits(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}
