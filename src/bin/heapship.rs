//! The webhook and the command line.

fn main() {}
