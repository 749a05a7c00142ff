//! How fast one core turns events into rows, and how large the remainder beside the columns is:
//! `cargo run --release -p picket-event --example row_speed`. Prints one JSON object a figure.

#[path = "../tests/samples/mod.rs"]
#[expect(dead_code, reason = "only the full samples are measured")]
mod samples;

use std::{hint::black_box, time::Instant};

use picket_event::{ocsf, row::Row};

const ROUNDS: u32 = 2_000;

fn main() {
    // The kinds that make up nearly all events.
    let all: Vec<_> = samples::full().into_iter().filter(|sample| matches!(sample.stored.event.activity.class().uid(), 1001 | 1007 | 4001)).collect();
    let count = f64::from(ROUNDS) * f64::from(u32::try_from(all.len()).unwrap_or(u32::MAX));
    let start = Instant::now();
    let mut rest_bytes = 0;
    for _ in 0..ROUNDS {
        for sample in &all {
            let row = black_box(Row::from(&sample.stored));
            rest_bytes += row.rest.as_deref().map_or(0, str::len);
        }
    }
    println!("{{\"name\":\"row\",\"value\":{:.0},\"unit\":\"ns/event\"}}", start.elapsed().as_secs_f64() * 1e9 / count);
    println!("{{\"name\":\"rest\",\"value\":{:.0},\"unit\":\"bytes/event\"}}", f64::from(u32::try_from(rest_bytes).unwrap_or(u32::MAX)) / count);
    let start = Instant::now();
    for _ in 0..ROUNDS / 10 {
        for sample in &all {
            black_box(ocsf::to_json(&sample.stored).to_string());
        }
    }
    println!("{{\"name\":\"ocsf_json\",\"value\":{:.0},\"unit\":\"ns/event\"}}", start.elapsed().as_secs_f64() * 1e10 / count);
}
