//! OCSF `file` and File System Activity.

use std::path::Path;

use serde_json::{Value, json};

use crate::{File, FileSystemActivity};

use super::object::{Object, long};

pub(super) fn put_activity(activity: &FileSystemActivity, json: &mut Object) {
    json.put("file", file(&activity.file));
    json.put_some("file_result", activity.file_result.as_ref().map(file));
    json.put("access_mask", activity.access.0);
}

pub(super) fn file(file: &File) -> Object {
    let mut json = Object::default();
    // Without a mode the kernel told nothing but the name.
    let known = file.mode != 0;
    let (type_id, caption) = file_type(file.mode);
    put_path(&file.path, &mut json);
    json.put("type_id", type_id);
    json.put("type", caption);
    json.put_some("size", file.size_bytes.map(long));
    json.put_some("uid", (file.inode != 0).then(|| inode_uid(file.device, file.inode)));
    json.put_some("owner", known.then(|| json!({ "uid": file.owner_uid.to_string() })));
    if let Some(ext) = Path::new(&file.path).extension().and_then(|ext| ext.to_str()) {
        json.put("ext", ext);
    }
    json.put_some("hashes", file.sha256.map(|digest| json!([{ "algorithm_id": 3, "algorithm": "SHA-256", "value": digest.to_string() }])));
    json
}

/// The executable of a process.
pub(super) fn executable(path: &str, device: u32, inode: u64) -> Option<Value> {
    if path.is_empty() {
        return None;
    }
    let mut json = Object::default();
    put_path(path, &mut json);
    json.put("type_id", 8);
    json.put("type", "Executable File");
    json.put_some("uid", (inode != 0).then(|| inode_uid(device, inode)));
    Some(json.into())
}

/// Name, which the schema asks for even where there is none, and path.
pub(super) fn put_path(path: &str, json: &mut Object) {
    json.put("name", Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path));
    json.put_text("path", path);
}

/// `major:minor:inode`.
fn inode_uid(device: u32, inode: u64) -> String {
    format!("{}:{}:{inode}", device >> 20, device & 0xf_ffff)
}

const fn file_type(mode: u16) -> (i32, &'static str) {
    match mode & 0o170_000 {
        0o100_000 => (1, "Regular File"),
        0o040_000 => (2, "Folder"),
        0o020_000 => (3, "Character Device"),
        0o060_000 => (4, "Block Device"),
        0o140_000 => (5, "Local Socket"),
        0o010_000 => (6, "Named Pipe"),
        0o120_000 => (7, "Symbolic Link"),
        _ => (0, "Unknown"),
    }
}
