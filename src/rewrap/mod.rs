//! rewrap
