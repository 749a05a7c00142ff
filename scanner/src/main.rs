//! The process that opens artifacts for the agent.

use landlock as _;
use seccompiler as _;

fn main() {}
