//! Builds the traffic rig's bpf object: generator, ceiling, pass.
fn main() {
    weir_ebpf::build::object("rig", "bpf");
}
