//! Builds the XDP object that kernel/object.rs embeds.
fn main() {
    let features = if std::env::var_os("CARGO_FEATURE_KERNEL_LOG").is_some() { "bpf,log" } else { "bpf" };
    weir_ebpf::build::object("xdp", features);
}
