use futures::Stream;
use picket_event::{DeviceUid, SpoolUid};

use crate::{Appended, Batch, LakeConfig, LakeError, LakeStats, SearchPage, SearchQuery, SqlQuery, SqlResult, Tailed};

/// The lake. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Lake {}

#[expect(clippy::todo, clippy::unused_async, missing_docs, unused_variables, reason = "signatures first")]
impl Lake {
    pub fn open(config: LakeConfig) -> Result<Self, LakeError> {
        todo!()
    }
    pub async fn append(&self, batch: Batch) -> Result<Appended, LakeError> {
        todo!()
    }
    pub async fn skip(&self, device: DeviceUid, spool: SpoolUid, first_seq: u64, count: u64) -> Result<Appended, LakeError> {
        todo!()
    }
    pub fn watermark(&self, device: DeviceUid, spool: SpoolUid) -> u64 {
        todo!()
    }
    pub fn events_stored(&self, device: DeviceUid) -> u64 {
        todo!()
    }
    pub async fn search(&self, query: SearchQuery) -> Result<SearchPage, LakeError> {
        todo!()
    }
    pub async fn tail(&self, query: &str, last: usize) -> Result<impl Stream<Item = Result<Tailed, LakeError>> + Send + use<>, LakeError> {
        Ok(futures::stream::pending())
    }
    pub async fn sql(&self, query: SqlQuery) -> Result<SqlResult, LakeError> {
        todo!()
    }
    pub fn stats(&self) -> LakeStats {
        todo!()
    }
    pub async fn flush(&self) -> Result<(), LakeError> {
        todo!()
    }
    pub async fn compact(&self, day: &str) -> Result<(), LakeError> {
        todo!()
    }
    pub async fn expire(&self) -> Result<(), LakeError> {
        todo!()
    }
    pub async fn shutdown(&self) {
        todo!()
    }
}
