//! Packs made on the spot.

use flate2::Compression;
use flate2::write::GzEncoder;

/// A pack as it is sent to the server, from paths and contents; what begins like a script is executable.
pub fn archive(files: &[(&str, &str)]) -> anyhow::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(if content.starts_with("#!") { 0o755 } else { 0o644 });
        header.set_cksum();
        archive.append_data(&mut header, path, content.as_bytes())?;
    }
    Ok(archive.into_inner()?.finish()?)
}
