//! Log lines: lowercase, facts as fields, to standard error.
