//! Compiles the `.proto` files with protox, so that no protoc is needed on the building machine.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["kiam.proto", "node/v1/node.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure()
        // A derived `Debug` would print secrets; `lib.rs` writes those that do not.
        .skip_debug([".kiam.Credentials", ".kiam.node.v1.ReviewRequest"])
        .compile_fds(descriptors)?;

    // The services once more, for a server whose credentials are encoded already, and which asks other servers.
    let unary = tonic_prost_build::configure().extern_path(".kiam", "crate::kiam").build_client(false);
    let stream = tonic_prost_build::configure();
    for (file, directory, builder) in [("kiam.proto", "unary", unary), ("node/v1/node.proto", "stream", stream)] {
        let directory = out.join("encoding").join(directory);
        std::fs::create_dir_all(&directory)?;
        builder
            .extern_path(".kiam.Credentials", "crate::EncodedCredentials")
            .extern_path(".kiam.node.v1.ReviewRequest", "crate::node::ReviewRequest")
            .out_dir(directory)
            .compile_fds(protox::compile([file], ["."])?)?;
    }
    Ok(())
}
