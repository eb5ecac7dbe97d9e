//! The Heartbeat server.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A heartbeat is allocated in one thread and freed in another, which this allocator does faster than the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    heartbeat_examples::main()
}
