//! What the fuzz targets share: frames made and mutated with knowledge of their headers, what must
//! hold for each, and which verdicts were reached. libFuzzer keeps a frame that reaches something new.

pub mod frame;

pub mod laws;

pub mod mutate;

pub mod random;

pub mod reached;
