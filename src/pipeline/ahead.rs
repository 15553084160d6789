//! Read-ahead: what the next chunks need is asked of the system before a thread has to wait for it.
//!
//! A thread that touches a page that is not in memory waits for the disk and computes nothing meanwhile. So the tensors are
//! announced span by span in the order of the work, [`AHEAD`] bytes before they are converted: far enough to keep a disk
//! busy, and little beside the memory that the system has for files.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Mutex;

use weightmill_formats::{Source, TensorInfo};

use super::work::Work;
use crate::weights::Weights;

/// Bytes that are announced before they are needed.
const AHEAD: u64 = 64 << 20;

/// Bytes that are announced at once.
const SPAN: u64 = 4 << 20;

pub(super) struct ReadAhead<'a> {
    source: &'a dyn Source,
    spans: Vec<(&'a TensorInfo, Range<u64>)>,
    /// Bytes of all spans, and of the source as the progress counts them: there, a tensor that two are made of may be twice.
    bytes: u64,
    total: u64,
    announced: Mutex<Announced>,
}

#[derive(Default)]
struct Announced {
    spans: usize,
    bytes: u64,
}

impl<'a> ReadAhead<'a> {
    /// For these works, which take `total` bytes of the source.
    pub fn new(works: &[&'a Work<'_>], weights: &'a Weights, total: u64) -> Self {
        let source = weights.source();
        // Several tensors can be made of one that is stored, as of stacked projections.
        let mut known = HashSet::new();
        let mut spans = Vec::new();
        let pieces = works.iter().flat_map(|work| work.tensor.data.pieces());
        for part in pieces.flat_map(|piece| weights.list()[piece.weight].parts()).filter(|part| known.insert(*part)) {
            let tensor = &source.tensors()[part];
            let starts = (0..tensor.bytes).step_by(SPAN as usize);
            spans.extend(starts.map(|start| (tensor, start..tensor.bytes.min(start + SPAN))));
        }
        let bytes = spans.iter().map(|(_, span)| span.end - span.start).sum();
        Self { source, spans, bytes, total, announced: Mutex::default() }
    }

    /// Announces what follows when this many bytes of the source are done. A thread that finds another one at it goes on.
    pub fn after(&self, done: u64) {
        let Ok(mut announced) = self.announced.try_lock() else { return };
        let reached = u128::from(self.bytes) * u128::from(done) / u128::from(self.total.max(1));
        let wanted = (reached as u64).saturating_add(AHEAD);
        while announced.bytes < wanted
            && let Some((tensor, span)) = self.spans.get(announced.spans)
        {
            self.source.prefetch(tensor, span.clone());
            announced.spans += 1;
            announced.bytes += span.end - span.start;
        }
    }
}
