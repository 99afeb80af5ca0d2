//! Compiles `proto/inzira.proto` with a compiler written in Rust: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/inzira.proto");
    let descriptors = protox::compile(["proto/inzira.proto"], ["proto"])?;
    prost_build::Config::new()
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .field_attribute("DeadLetter.body", "#[serde(serialize_with = \"crate::event::as_text\")]")
        .compile_fds(descriptors)?;
    Ok(())
}
