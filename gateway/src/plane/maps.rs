//! Handles of the pinned maps.

/// The folder of one instance's pins: `[kernel] pin_dir` with the layout version.
pub struct PinDir;

pub struct Maps;

#[derive(Debug, thiserror::Error)]
pub enum MapsError {}
