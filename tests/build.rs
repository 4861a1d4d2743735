//! Builds the bpf objects that are no part of the product: the traffic rig, numbered traffic, the replay.
fn main() {
    weir_ebpf::build::object("rig", "bpf");
    weir_ebpf::build::object("sequence", "bpf");
    weir_ebpf::build::object("replay", "bpf");
}
