//! What the fuzz targets share: what must hold for each input, a file a subject; for the packet path
//! also frames made and mutated with knowledge of their headers, and which verdicts were reached.
//! libFuzzer keeps an input that reaches something new.

pub mod frame;

pub mod http1;

pub mod identity;

pub mod laws;

pub mod mutate;

pub mod random;

pub mod reached;
