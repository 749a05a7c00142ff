//! What is scanned. Elements of tensors are zeros that take no room on disk: no scanner here reads those of an archive, and the one that reads those of
//! a safetensors file is favoured by it.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use picket_bounded::crc32;

/// Files of one kind.
pub(super) struct Corpus {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) what: &'static str,
    /// The others that judge such files at all; one that passes them over has no speed.
    pub(super) judged_by: &'static [&'static str],
}

const EVERYBODY: &[&str] = &["picklescan", "modelscan", "fickling", "modelaudit"];

pub(super) fn write(folder: &Path) -> Result<Vec<Corpus>> {
    let (archives, pickles) = (folder.join("archives"), folder.join("pickles"));
    fs::create_dir(&archives)?;
    fs::create_dir(&pickles)?;
    for number in 0..200 {
        torch_zip(&archives.join(format!("model-{number:03}.pt")), 72, 173_611)?;
    }
    let (zip, safetensors) = (folder.join("large.pt"), folder.join("large.safetensors"));
    torch_zip(&zip, 256, 3_900_000)?;
    large_safetensors(&safetensors)?;
    for number in 0..5000_u32 {
        fs::write(pickles.join(format!("sample-{number:04}.pkl")), small_pickle(number))?;
    }
    let corpus = |name, path: PathBuf, what, judged_by| -> Result<Corpus> {
        let sizes: Vec<u64> = if path.is_dir() {
            fs::read_dir(&path)?.map(|entry| Ok(entry?.metadata()?.len())).collect::<Result<_>>()?
        } else {
            vec![fs::metadata(&path)?.len()]
        };
        Ok(Corpus { name, path, files: sizes.len() as u64, bytes: sizes.iter().sum(), what, judged_by })
    };
    Ok(vec![
        corpus("torch_200x50MB", archives, "200 PyTorch archives of 72 tensors, 50 MB each, sparse, page cache warm", EVERYBODY)?,
        corpus("torch_4GB", zip, "one PyTorch archive of 256 tensors, 4 GB, sparse, page cache warm", EVERYBODY)?,
        corpus(
            "safetensors_4GB",
            safetensors,
            "one safetensors file of 256 tensors, 4.3 GB, sparse, page cache warm; three others pass it over",
            &["modelaudit"],
        )?,
        corpus("pickles_5000", pickles, "5,000 pickles of 2.5 kB, page cache warm", EVERYBODY)?,
    ])
}

/// A state dictionary as `torch.save` pickles one.
fn torch_pickle(tensors: u32, elements: u32) -> Vec<u8> {
    let text = |text: &str| [&b"X"[..], &u32::try_from(text.len()).unwrap_or(0).to_le_bytes(), text.as_bytes()].concat();
    let number = |number: u32| [&b"J"[..], &number.to_le_bytes()].concat();
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    for tensor in 0..tensors {
        pickle.extend(text(&format!("layers.{tensor}.weight")));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle.extend(text("storage"));
        pickle.extend(b"ctorch\nFloatStorage\n");
        pickle.extend([text(&tensor.to_string()), text("cpu"), number(elements)].concat());
        pickle.extend(b"tQK\x00");
        pickle.extend(number(elements));
        pickle.extend(b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.extend(b"u.");
    pickle
}

/// An archive as `torch.save` writes one, without its padding.
fn torch_zip(path: &Path, tensors: u32, elements: u32) -> Result<()> {
    let mut archive = Archive { file: File::create(path)?, directory: Vec::new(), count: 0 };
    archive.member("archive/data.pkl", &torch_pickle(tensors, elements))?;
    archive.member("archive/version", b"3\n")?;
    let zeros = vec![0; usize::try_from(elements * 4)?];
    let checksum = crc32(&zeros);
    for tensor in 0..tensors {
        archive.head(&format!("archive/data/{tensor}"), elements * 4, checksum)?;
        archive.file.seek(SeekFrom::Current((elements * 4).into()))?;
    }
    archive.end()
}

struct Archive {
    file: File,
    directory: Vec<u8>,
    count: u16,
}

impl Archive {
    fn member(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.head(name, u32::try_from(content.len())?, crc32(content))?;
        Ok(self.file.write_all(content)?)
    }

    /// The header of a stored member, whose content follows.
    fn head(&mut self, name: &str, size: u32, crc: u32) -> Result<()> {
        let start = u32::try_from(self.file.stream_position()?).context("the archive is larger than its offsets")?;
        let name_len = u16::try_from(name.len())?.to_le_bytes();
        let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &crc.to_le_bytes(), &size.to_le_bytes(), &size.to_le_bytes(), &name_len].concat();
        self.file.write_all(&[b"PK\x03\x04", common.as_slice(), &[0, 0], name.as_bytes()].concat())?;
        self.directory.extend([b"PK\x01\x02", &[20, 0][..], &common, &[0; 12], &start.to_le_bytes(), name.as_bytes()].concat());
        self.count += 1;
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        let at = u32::try_from(self.file.stream_position()?).context("the archive is larger than its offsets")?;
        let length = u32::try_from(self.directory.len())?;
        self.file.write_all(&self.directory)?;
        let count = self.count.to_le_bytes();
        Ok(self.file.write_all(&[b"PK\x05\x06", &[0; 4][..], &count, &count, &length.to_le_bytes(), &at.to_le_bytes(), &[0, 0]].concat())?)
    }
}

fn large_safetensors(path: &Path) -> Result<()> {
    const TENSORS: u64 = 256;
    const BYTES: u64 = 16 << 20;
    let entries = (0..TENSORS).map(|tensor| {
        format!(r#""layers.{tensor}.weight":{{"dtype":"F32","shape":[2048,2048],"data_offsets":[{},{}]}}"#, tensor * BYTES, (tensor + 1) * BYTES)
    });
    let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    let mut file = File::create(path)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    file.set_len(8 + header.len() as u64 + TENSORS * BYTES)?;
    Ok(())
}

/// A dictionary with a list of 500 numbers.
fn small_pickle(seed: u32) -> Vec<u8> {
    let mut pickle = b"\x80\x02}(X\x02\x00\x00\x00idJ".to_vec();
    pickle.extend(seed.to_le_bytes());
    pickle.extend(b"X\x06\x00\x00\x00values](");
    for value in 0..500_u32 {
        pickle.push(b'J');
        pickle.extend((value.wrapping_mul(seed) & 0x7fff_ffff).to_le_bytes());
    }
    pickle.extend(b"eu.");
    pickle
}
