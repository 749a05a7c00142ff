//! The corpus, damaged: cut, overwritten, spliced and repeated by a fixed sequence. Nothing panics, every scan ends, and what
//! was given up on is never clean. Fuzzing finds more (fuzz/); this is the part that always runs.

use crate::alone;
use crate::corpus::{self, Case};
use picket_artifact::{Format, ScanOptions, Verdict, scan, scan_as};
use picket_bounded::Limits;
use std::time::Duration;

/// Files that are larger tell nothing more and cost time.
const BYTES_MAX: usize = 64 << 10;
/// Damaged copies of each file.
const COPIES: u32 = 24;

/// A fixed sequence of numbers (xorshift64*).
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }
}

/// Values at which sizes and counts break.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX, 0x8000_0000];

fn damaged(bytes: &[u8], other: &[u8], sequence: &mut Sequence) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=sequence.below(3) {
        let at = sequence.below(out.len());
        match sequence.below(7) {
            0 => out.truncate(at),
            1 => out.iter_mut().skip(at).take(1).for_each(|byte| *byte = sequence.next().to_le_bytes()[0]),
            2 => {
                let edge = EDGES[sequence.below(EDGES.len())].to_le_bytes();
                let width = 1 << sequence.below(4);
                out.iter_mut().skip(at).zip(&edge[..width]).for_each(|(byte, edge)| *byte = *edge);
            }
            3 => out.extend(other.iter().skip(sequence.below(other.len())).take(4096)),
            4 => drop(out.drain(at..(at + sequence.below(64)).min(bytes.len().min(out.len())).max(at))),
            5 => {
                let piece: Vec<u8> = out.iter().skip(at).take(sequence.below(256)).copied().collect();
                out.splice(at..at, piece);
            }
            _ => out.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (sequence_bit(at))),
        }
    }
    out
}

fn sequence_bit(at: usize) -> u32 {
    u32::try_from(at % 8).unwrap()
}

fn options() -> ScanOptions {
    let limits = Limits { steps: 3_000_000, inflated_bytes: 32 << 20, member_bytes: 8 << 20, held_bytes: 16 << 20, ..Limits::default() };
    ScanOptions { limits, time_max: Some(Duration::from_secs(20)), ..ScanOptions::default() }
}

fn small() -> Vec<Case> {
    corpus::all().into_iter().filter(|case| case.bytes.len() <= BYTES_MAX).collect()
}

#[test]
fn damaged_files_end_and_are_not_clean_by_being_given_up_on() {
    let _alone = alone();
    let (cases, options) = (small(), options());
    assert!(cases.len() > 400, "{}", cases.len());
    let mut sequence = Sequence(0x9e37_79b9_7f4a_7c15);
    for case in &cases {
        for _ in 0..COPIES {
            let other = &cases[sequence.below(cases.len())].bytes;
            let bytes = damaged(&case.bytes, other, &mut sequence);
            let report = scan(&bytes.as_slice(), &case.file, &options);
            assert!(report.verdict != Verdict::Clean || report.incomplete.is_empty(), "{}: {report:#?}", case.name);
        }
    }
}

/// Every parser gets every file, as if a loader had been told a wrong format.
#[test]
fn every_parser_takes_every_file() {
    let _alone = alone();
    let (cases, options) = (small(), options());
    for case in cases.iter().step_by(3) {
        for format in Format::ALL {
            let report = scan_as(&case.bytes.as_slice(), &case.file, *format, &options);
            assert!(report.verdict != Verdict::Clean || report.incomplete.is_empty(), "{} as {format}: {report:#?}", case.name);
        }
    }
}
