//! Builds the bpf objects that are no part of the product: the traffic rig and the replay.
fn main() {
    weir_ebpf::build::object("rig", "bpf");
    weir_ebpf::build::object("replay", "bpf");
}
