//! An entry of a transparency log: that it was promised and included (RFC 6962, 2.1), and that it is about this signature.

use crate::SigningError;
use crate::bundle::{Signed, base64};
use crate::key::{Hash, PublicKey, pem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Steps of an inclusion proof: a tree of 2^64 leaves has 64.
const PROOF_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    log_index: String,
    log_id: LogId,
    #[serde(default)]
    integrated_time: Option<String>,
    #[serde(default)]
    inclusion_promise: Option<Promise>,
    #[serde(default)]
    inclusion_proof: Option<Proof>,
    #[serde(default)]
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogId {
    pub(crate) key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promise {
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proof {
    log_index: String,
    root_hash: String,
    tree_size: String,
    hashes: Vec<String>,
    checkpoint: Checkpoint,
}

#[derive(Deserialize)]
struct Checkpoint {
    envelope: String,
}

fn refused<T>(why: &str) -> Result<T, SigningError> {
    Err(SigningError::Refused(format!("the log entry: {why}")))
}

fn number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, SigningError> {
    text.parse().map_err(|_| SigningError::Bundle(format!("{what} is no number")))
}

impl Entry {
    /// The log's identifier, as bytes.
    pub(crate) fn log(&self) -> Result<Vec<u8>, SigningError> {
        base64(&self.log_id.key_id, "the log's identifier")
    }

    /// When the log says it took the entry; only worth something once [`Self::verify`] has passed.
    pub(crate) fn time(&self) -> Result<i64, SigningError> {
        match &self.integrated_time {
            Some(time) => number(time, "the time of the log entry"),
            None => Err(SigningError::Unsupported("log entries without a time, which need a timestamp authority".to_owned())),
        }
    }

    /// Checks the log's promise, the proof of inclusion and that the entry is of this signature by this certificate.
    pub(crate) fn verify(&self, key: &PublicKey, signed: &Signed, certificate: &[u8]) -> Result<(), SigningError> {
        self.promise(key)?;
        self.included(key)?;
        self.is_about(signed, certificate)
    }

    /// The time is vouched for by the promise alone, so that it is asked for.
    fn promise(&self, key: &PublicKey) -> Result<(), SigningError> {
        let Some(promise) = &self.inclusion_promise else { return refused("the log does not vouch for its time") };
        let index: i64 = number(&self.log_index, "the index of the log entry")?;
        // The canonical form of four members, whose values need no escapes.
        let message = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{index}}}"#,
            STANDARD.encode(base64(&self.canonicalized_body, "the body of the log entry")?),
            self.time()?,
            hex::encode(self.log()?)
        );
        let signature = base64(&promise.signed_entry_timestamp, "the log's promise")?;
        key.verify(Hash::Sha256, message.as_bytes(), &signature).or_else(|_| refused("the log's promise does not verify"))
    }

    fn included(&self, key: &PublicKey) -> Result<(), SigningError> {
        let Some(proof) = &self.inclusion_proof else { return refused("there is no proof that the log includes it") };
        if proof.hashes.len() > PROOF_MAX {
            return refused("the proof of inclusion is longer than any");
        }
        let (index, size): (u64, u64) = (number(&proof.log_index, "an index")?, number(&proof.tree_size, "a tree's size")?);
        let hashes = proof.hashes.iter().map(|hash| base64(hash, "a hash")).collect::<Result<Vec<_>, _>>()?;
        let leaf = Sha256::new_with_prefix([0]).chain_update(base64(&self.canonicalized_body, "the body of the log entry")?).finalize();
        let root = base64(&proof.root_hash, "the root")?;
        if root_of(leaf.to_vec(), index, size, &hashes).as_ref() != Some(&root) {
            return refused("the proof of inclusion does not lead to the tree's root");
        }
        checkpoint(&proof.checkpoint.envelope, key, size, &root)
    }

    fn is_about(&self, signed: &Signed, certificate: &[u8]) -> Result<(), SigningError> {
        #[derive(Deserialize)]
        struct Body {
            kind: String,
            spec: Spec,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec {
            payload_hash: Option<Value>,
            #[serde(default)]
            signatures: Vec<Made>,
        }
        #[derive(Deserialize)]
        struct Value {
            algorithm: String,
            value: String,
        }
        #[derive(Deserialize)]
        struct Made {
            signature: String,
            verifier: String,
        }
        let body = base64(&self.canonicalized_body, "the body of the log entry")?;
        let body: Body = serde_json::from_slice(&body).map_err(|error| SigningError::Unsupported(format!("a log entry of another kind: {error}")))?;
        if body.kind != "dsse" {
            return Err(SigningError::Unsupported(format!("log entries of the kind {}", body.kind)));
        }
        let payload = body.spec.payload_hash.is_some_and(|hash| hash.algorithm == "sha256" && hash.value == hex::encode(Sha256::digest(&signed.payload)));
        if !payload {
            return refused("it is of another statement");
        }
        let verifier = STANDARD.encode(pem(certificate, "CERTIFICATE"));
        let signature = STANDARD.encode(&signed.signature);
        match body.spec.signatures.as_slice() {
            [made] if made.signature == signature && made.verifier == verifier => Ok(()),
            _ => refused("it is of another signature or certificate"),
        }
    }
}

/// The root that a path of hashes leads to (RFC 9162, 2.1.3.2).
fn root_of(leaf: Vec<u8>, index: u64, size: u64, hashes: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (mut node, mut last) = (index, size.checked_sub(1).filter(|last| index <= *last)?);
    let join = |left: &[u8], right: &[u8]| Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().to_vec();
    let mut hash = leaf;
    for sibling in hashes {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = join(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = join(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

/// A signed note: origin, size and root, an empty line, then signatures.
fn checkpoint(note: &str, key: &PublicKey, size: u64, root: &[u8]) -> Result<(), SigningError> {
    let Some((text, signatures)) = note.split_once("\n\n") else { return refused("its checkpoint is no signed note") };
    let mut lines = text.lines().skip(1);
    if lines.next().and_then(|line| line.parse().ok()) != Some(size) || lines.next() != Some(STANDARD.encode(root).as_str()) {
        return refused("its checkpoint is of another tree");
    }
    let message = format!("{text}\n");
    let holds = signatures.lines().filter_map(|line| line.strip_prefix("\u{2014} ")?.rsplit_once(' ')).any(|(_, signature)| {
        // Four bytes name the key.
        let signature = STANDARD.decode(signature).unwrap_or_default();
        signature.get(4..).is_some_and(|signature| key.verify(Hash::Sha256, message.as_bytes(), signature).is_ok())
    });
    if holds { Ok(()) } else { refused("its checkpoint is not signed by the log") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tree and path by the definition, for every index of small trees.
    #[test]
    fn paths_lead_to_roots() {
        fn tree(leaves: &[Vec<u8>]) -> Vec<u8> {
            match leaves {
                [one] => one.clone(),
                _ => {
                    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                    Sha256::new_with_prefix([1]).chain_update(tree(left)).chain_update(tree(right)).finalize().to_vec()
                }
            }
        }
        fn path(leaves: &[Vec<u8>], index: usize) -> Vec<Vec<u8>> {
            if leaves.len() == 1 {
                return Vec::new();
            }
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let (mut below, sibling) = if index < left.len() { (path(left, index), tree(right)) } else { (path(right, index - left.len()), tree(left)) };
            below.push(sibling);
            below
        }
        for size in 1..=17_u64 {
            let leaves: Vec<Vec<u8>> = (0..size).map(|leaf| Sha256::digest(leaf.to_be_bytes()).to_vec()).collect();
            for (index, leaf) in leaves.iter().enumerate() {
                let proof = path(&leaves, index);
                assert_eq!(root_of(leaf.clone(), index as u64, size, &proof), Some(tree(&leaves)), "{index} of {size}");
                assert_ne!(root_of(vec![0; 32], index as u64, size, &proof), Some(tree(&leaves)));
            }
        }
        assert_eq!(root_of(vec![0; 32], 5, 5, &[]), None);
    }
}
