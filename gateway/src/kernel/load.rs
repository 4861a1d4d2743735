//! Creates or takes over the pinned maps and loads the programs into the kernel.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use aya::maps::{MapError, MapInfo, MapType};
use aya::pin::PinError;
use aya::programs::{ProgramError, RawTracePoint, SockOps, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use caps::{CapSet, Capability};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use weir_ebpf::abi::{self, maps, programs};

use super::Config;
use super::object::OBJECT;
use super::probe;
use super::resize::Capacities;
use super::slots::{fill_slots, make_maps};
use super::takeover::adopt_maps;
use crate::plane::PinDir;

/// The object in the kernel: maps pinned, programs loaded and pinned, nothing attached.
pub struct Loaded {
    ebpf: Ebpf,
}

impl Loaded {
    pub fn packets(&mut self) -> Result<&mut Xdp, LoadError> {
        program(&mut self.ebpf, programs::PACKETS)
    }

    pub(super) fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    pub fn proof(&mut self) -> Result<&mut SockOps, LoadError> {
        program(&mut self.ebpf, programs::PROOF)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("no permission to use BPF: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON ({0})")]
    Permission(String),
    #[error("no BPF file system at {0}: mount one by `mount -t bpf bpf {0}`")]
    NoBpffs(PathBuf),
    #[error("the pin folder {path} cannot be made: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "user {user} may not make or reach the pin folder {path}: root makes it by `install -d -o {user} -m 700` of the folder above it, and BPF file systems are often root's: `chmod 711 /sys/fs/bpf`"
    )]
    NotReached { path: PathBuf, user: u32 },
    #[error(
        "the pin folder {path} belongs to user {owner}, who could take limits off: remove it, or choose another [kernel] pin_dir"
    )]
    Strange { path: PathBuf, owner: u32 },
    #[error(
        "the kernel refused memory for a map ({0}): lower [kernel] clients or bans, or raise the memory limit"
    )]
    Memory(String),
    #[error(
        "the pinned map {path} is not this version's ({difference}): remove it by `weir xdp detach --pin-dir {folder}`"
    )]
    Foreign { path: PathBuf, folder: PathBuf, difference: String },
    #[error(
        "{bans} bans are an operator's and do not fit [kernel] bans = {capacity}: lift some by `weir bans rm`, or raise it"
    )]
    OperatorBans { bans: usize, capacity: u32 },
    #[error(
        "this kernel cannot run the program: {0}; Weir needs Linux 6.1 or newer (`weir xdp probe` lists what it asks for)"
    )]
    Kernel(String),
}

/// The root of BPF file systems.
const BPFFS: &str = "/sys/fs/bpf";

/// Loads into `pins`, over what a predecessor left there; attaches nothing.
pub fn load(pins: &PinDir, config: &Config) -> Result<Loaded, LoadError> {
    if !may_use_bpf() {
        // Before anything is made: the root of a BPF file system is writable to everybody.
        return Err(LoadError::Permission("CAP_BPF is missing".to_owned()));
    }
    make_folder(pins.path())?;
    adopt_maps(pins)?;
    make_maps(pins, Capacities::of(config))?;
    let mut loader = EbpfLoader::new();
    for name in maps::ALL {
        check_pin(pins, name)?;
        loader.map_pin_path(name, pins.map(name));
    }
    let mut ebpf = loader.load(OBJECT).map_err(refused_object)?;
    fill_slots(pins)?;
    let charge: &mut RawTracePoint = program(&mut ebpf, programs::CHARGE)?;
    charge.load().map_err(refused_program)?;
    pin_program(pins, programs::CHARGE, |path| charge.pin(path))?;
    let packets: &mut Xdp = program(&mut ebpf, programs::PACKETS)?;
    packets.load().map_err(refused_program)?;
    pin_program(pins, programs::PACKETS, |path| packets.pin(path))?;
    let proof: &mut SockOps = program(&mut ebpf, programs::PROOF)?;
    proof.load().map_err(refused_program)?;
    Ok(Loaded { ebpf })
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or_else(|| LoadError::Kernel(format!("no program `{name}`")))?;
    program.try_into().map_err(|error| LoadError::Kernel(format!("program `{name}`: {error}")))
}

/// The pin folder, only the owner's; on a BPF file system that is mounted here if it may be.
fn make_folder(path: &Path) -> Result<(), LoadError> {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let is_bpffs = |folder: &Path| statfs(folder).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    if !is_bpffs(existing) {
        let mountable = path.starts_with(BPFFS) && Path::new(BPFFS).is_dir();
        let mounted =
            mountable && mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>).is_ok();
        if !mounted {
            return Err(LoadError::NoBpffs(PathBuf::from(BPFFS)));
        }
        tracing::info!(path = BPFFS, "mounted the BPF file system");
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            LoadError::NotReached { path: path.to_owned(), user: nix::unistd::geteuid().as_raw() }
        }
        _ => LoadError::Folder { path: path.to_owned(), source },
    })?;
    for folder in path.ancestors().take_while(|folder| is_bpffs(folder) && *folder != Path::new(BPFFS)) {
        refuse_stranger(folder)?;
    }
    Ok(())
}

/// Who owns a folder can remove what others pin in it.
fn refuse_stranger(folder: &Path) -> Result<(), LoadError> {
    let path = || folder.to_owned();
    let found =
        std::fs::symlink_metadata(folder).map_err(|source| LoadError::Folder { path: path(), source })?;
    let (owner, us) = (found.uid(), nix::unistd::geteuid());
    if owner == us.as_raw() { Ok(()) } else { Err(LoadError::Strange { path: path(), owner }) }
}

/// CAP_BPF, or what implied it before Linux 5.8.
fn may_use_bpf() -> bool {
    [Capability::CAP_BPF, Capability::CAP_SYS_ADMIN]
        .into_iter()
        .any(|capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false))
}

/// aya reuses whatever is pinned under a name; a map of another type or size would be read beyond its end.
pub(super) fn check_pin(pins: &PinDir, name: &'static str) -> Result<(), LoadError> {
    let path = pins.map(name);
    if !path.exists() {
        return Ok(());
    }
    match difference(&path, name)? {
        None => Ok(()),
        Some(difference) => {
            let folder = pins.path().parent().unwrap_or(pins.path()).to_owned();
            Err(LoadError::Foreign { path, folder, difference })
        }
    }
}

/// In what a pinned map differs from ours of that name.
pub(super) fn difference(path: &Path, name: &str) -> Result<Option<String>, LoadError> {
    let info = MapInfo::from_pin(path).map_err(|error| LoadError::Permission(error.to_string()))?;
    let found = (info.map_type().map(|kind| kind as u32).unwrap_or(0), info.key_size(), info.value_size());
    let (kind, key, value) = shape(name);
    if found == (kind as u32, key, value) {
        return Ok(None);
    }
    Ok(Some(format!("type, key and value bytes are {found:?}, not {:?}", (kind as u32, key, value))))
}

/// Type, key and value bytes of each map, as `maps.rs` of weir-ebpf declares them.
pub(super) fn shape(name: &str) -> (MapType, u32, u32) {
    let bytes = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    match name {
        maps::RULES => (MapType::Array, 4, bytes(size_of::<abi::Rules>())),
        maps::PORTS => (MapType::Array, 4, bytes(size_of::<abi::PortRow>())),
        maps::OWN => (MapType::Hash, 8, 8),
        maps::LISTS4 => (MapType::LpmTrie, 12, 4),
        maps::LISTS6 => (MapType::LpmTrie, 24, 4),
        maps::LISTED => (MapType::PerCpuArray, 4, bytes(size_of::<abi::Count>())),
        maps::NAMES => (MapType::Array, 4, bytes(abi::NAME_BYTES)),
        maps::ADDED => (MapType::Hash, bytes(size_of::<abi::AddedKey>()), 8),
        maps::LEASES => (MapType::Array, 4, bytes(size_of::<abi::Leases>())),
        maps::BANS => (MapType::Hash, 8, bytes(size_of::<abi::Ban>())),
        maps::CLIENTS | maps::CLIENTS_BEFORE => (MapType::LruHash, 8, bytes(size_of::<abi::ClientEntry>())),
        maps::LISTENERS => (MapType::LruHash, 8, 8),
        maps::BUDGET => (MapType::PerCpuArray, 4, bytes(size_of::<abi::Budget>())),
        maps::COUNTERS => (MapType::PerCpuArray, 4, bytes(size_of::<abi::Count>())),
        maps::FRONT => (MapType::Array, 4, 64),
        maps::EVENTS => (MapType::RingBuf, 0, 0),
        maps::AGGREGATES => (MapType::LruHash, bytes(size_of::<abi::AggregateKey>()), 8),
        maps::AGGREGATE_ROWS => (MapType::Array, 4, bytes(size_of::<abi::AggregateRow>())),
        maps::CLIENTS_SLOTS | maps::BANS_SLOTS | maps::AGGREGATE_SLOTS => (MapType::ArrayOfMaps, 4, 4),
        _ => (MapType::Array, 4, 8),
    }
}

/// The pin of a program is the present one's: who opens it later gets what runs.
fn pin_program(
    pins: &PinDir,
    name: &str,
    pin: impl FnOnce(PathBuf) -> Result<(), PinError>,
) -> Result<(), LoadError> {
    let path = pins.program(name);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(LoadError::Folder { path, source });
        }
        Ok(()) | Err(_) => {}
    }
    pin(path).map_err(|error| LoadError::Kernel(error.to_string()))
}

fn refused_object(error: EbpfError) -> LoadError {
    match error {
        EbpfError::MapError(error) => refused_map(error),
        _ => LoadError::Kernel(with_sources(&error)),
    }
}

pub(super) fn refused_map(error: MapError) -> LoadError {
    match &error {
        MapError::CreateError { name, io_error } => refused(io_error, name),
        MapError::SyscallError(call) => refused(&call.io_error, call.call),
        _ => LoadError::Kernel(with_sources(&error)),
    }
}

fn refused_program(error: ProgramError) -> LoadError {
    match &error {
        ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(EPERM) => {
            LoadError::Permission(io_error.to_string())
        }
        // A verifier's log helps nobody whose kernel is simply too old.
        _ => LoadError::Kernel(probe::lacks().unwrap_or_else(|| with_sources(&error))),
    }
}

const EPERM: i32 = nix::errno::Errno::EPERM as i32;
const ENOMEM: i32 = nix::errno::Errno::ENOMEM as i32;
const E2BIG: i32 = nix::errno::Errno::E2BIG as i32;

fn refused(error: &io::Error, what: &str) -> LoadError {
    match error.raw_os_error() {
        Some(EPERM) => LoadError::Permission(error.to_string()),
        Some(ENOMEM | E2BIG) => LoadError::Memory(format!("{what}: {error}")),
        _ => LoadError::Kernel(format!("{what}: {error}")),
    }
}

/// The error and what caused it, in one line.
pub(super) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
