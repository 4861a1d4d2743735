//! The harness: what integration tests, benches and the demo say in a sentence each. Namespaces,
//! processes, peers and traffic that clean up after themselves; bounded in count and time; nothing
//! leaves this machine.

pub mod root;

pub mod wait;

pub mod fd_store;
pub mod netns;

pub mod wire;

pub mod ports;

pub mod process;

pub mod cgroup;
pub mod cpu;

pub mod flow;

pub mod rig;

pub mod sequence;

pub mod frames;

pub mod host_path;

pub mod kernel_path;

pub mod world;

pub mod twin;

pub mod corpus;

pub mod redis;

pub mod replay;

pub mod accuracy;

pub mod fleet;

pub mod http;

pub mod h2;

pub mod h2_echo;

pub mod recorder;

pub mod pki;

pub mod tls;

pub mod jose;

pub mod issuer;

pub mod load;

pub mod nft;

pub mod front;
pub mod haproxy;
pub mod nginx;
pub mod websocket;

pub mod table;

pub mod stack;

pub mod svg;

pub mod bpffs;

pub mod weir;

pub mod pinned;

pub mod bench;

pub mod demo;
