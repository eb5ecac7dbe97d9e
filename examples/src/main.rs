//! The Heartbeat server.

use std::process::ExitCode;

fn main() -> ExitCode {
    heartbeat_examples::main()
}
