//! Values that outlive a request: in this version none; keys come from files by config/.
