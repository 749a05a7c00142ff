//! Compiles the contracts in `picket/v1` without an external protoc: protox parses them, prost and tonic write the Rust, and the
//! descriptor set is kept beside it for the JSON bridge and the docs.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const SOURCES: [&str; 3] = ["picket/v1/agent.proto", "picket/v1/api.proto", "picket/v1/event.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let descriptors = protox::compile(SOURCES, ["."])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("picket.fds.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // A frame is forwarded as it came: shared, not copied.
        .bytes(".picket.v1.EventBatch.frame_zstd")
        .compile_fds(descriptors)?;
    Ok(())
}
