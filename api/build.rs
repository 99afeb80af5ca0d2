//! Makes sure that there is a folder of pages to embed.
//!
//! In:    `web/dist`, if the pages were built.
//! Out:   `web/dist/index.html` that says how to build them, if not.
//! Never: touches built pages.

use std::path::Path;

const PLACEHOLDER: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
    <title>Inzira</title>\n<p>The pages are not built. Run <code>npm ci &amp;&amp; npm run \
    build</code> in <code>api/web</code>, then build again.\n</html>\n";

fn main() {
    let dist = Path::new("web/dist");
    if !dist.join("index.html").exists() {
        let made = std::fs::create_dir_all(dist)
            .and_then(|()| std::fs::write(dist.join("index.html"), PLACEHOLDER));
        if let Err(error) = made {
            println!("cargo:warning=the pages' placeholder could not be written: {error}");
        }
    }
    println!("cargo:rerun-if-changed=web/dist");
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=messages");
}
