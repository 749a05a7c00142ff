//! How much stack a program and what it calls take. Verifiers before 6.13 allow 512 bytes along a chain of calls, this machine's may allow more, and a
//! guest with an older kernel is not booted by every run of the tests: so it is counted here as those verifiers count.

use std::collections::{BTreeMap, BTreeSet};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};

const OBJECTS: [&str; 12] =
    ["syscalls", "process", "access", "privilege", "mapping", "kernel", "file", "network", "datagram", "endpoint", "functions", "iterators"];
const STACK_MAX: u32 = 512;
/// Every frame is rounded up.
const FRAME_STEP: u32 = 32;

const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
const MOVE_REGISTER: u8 = 0xbf;
const ADD_CONSTANT: u8 = 0x07;
const CALL: u8 = 0x85;
const LOAD_ADDRESS: u8 = 0x18;
const STACK_POINTER: u8 = 10;

/// Where a function lies: section and byte.
type Place = (usize, u64);

#[derive(Debug)]
struct Function {
    name: String,
    frame: u32,
    calls: BTreeSet<Place>,
}

/// The functions of an object, with those that they call or hand to the kernel to call.
fn functions(bytes: &[u8]) -> BTreeMap<Place, Function> {
    let file = object::File::parse(bytes).expect("an object");
    let mut found = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let section = file.section_by_index(symbol.section_index().expect("in a section")).expect("there");
        let code = section.data_range(symbol.address(), symbol.size()).expect("readable").expect("within");
        let relocations: BTreeMap<u64, Place> = section
            .relocations()
            .filter_map(|(at, relocation)| match relocation.target() {
                RelocationTarget::Symbol(index) => {
                    let target = file.symbol_by_index(index).ok()?;
                    Some((at, (target.section_index()?.0, target.address())))
                }
                _ => None,
            })
            .collect();
        let mut function = Function { name: symbol.name().expect("text").to_owned(), frame: 0, calls: BTreeSet::new() };
        let mut stack_pointers = BTreeSet::from([STACK_POINTER]);
        let (instructions, _) = code.as_chunks::<8>();
        for (at, [operation, registers, low, high, constant @ ..]) in (symbol.address()..).step_by(8).zip(instructions) {
            let (operation, to, from) = (*operation, registers & 15, registers >> 4);
            let (offset, constant) = (i16::from_le_bytes([*low, *high]), i32::from_le_bytes(*constant));
            let mut reaches = |below: i32| function.frame = function.frame.max(if below < 0 { below.unsigned_abs() } else { 0 });
            match operation {
                MOVE_REGISTER if stack_pointers.contains(&from) => drop(stack_pointers.insert(to)),
                ADD_CONSTANT if stack_pointers.contains(&to) => reaches(constant),
                CALL if from == 1 => {
                    // Of a function in the same section there is no relocation.
                    let near = (section.index().0, at.wrapping_add_signed(i64::from(constant) * 8 + 8));
                    let far = relocations.get(&at).map(|(section, base)| (*section, base.wrapping_add_signed(i64::from(constant) * 8 + 8)));
                    function.calls.insert(far.unwrap_or(near));
                }
                LOAD_ADDRESS => {
                    if let Some((section, base)) = relocations.get(&at) {
                        function.calls.insert((*section, base.wrapping_add_signed(i64::from(constant))));
                    }
                    stack_pointers.remove(&to);
                }
                _ if operation & 7 == LDX && from == STACK_POINTER => reaches(i32::from(offset)),
                _ if matches!(operation & 7, ST | STX) && to == STACK_POINTER => reaches(i32::from(offset)),
                _ if to != STACK_POINTER && matches!(operation & 7, 0 | 1 | 4 | 7) && operation != ADD_CONSTANT => drop(stack_pointers.remove(&to)),
                _ => {}
            }
        }
        found.insert((section.index().0, symbol.address()), function);
    }
    found
}

/// The deepest chain from a function, with its names.
fn deepest(all: &BTreeMap<Place, Function>, from: Place) -> (u32, Vec<&str>) {
    let Some(function) = all.get(&from) else { return (0, Vec::new()) };
    let (below, mut names) = function.calls.iter().map(|call| deepest(all, *call)).max().unwrap_or_default();
    names.insert(0, &function.name);
    (function.frame.max(1).next_multiple_of(FRAME_STEP) + below, names)
}

#[test]
fn no_chain_of_calls_takes_more_stack_than_the_oldest_verifier_allows() {
    let mut seen = BTreeMap::new();
    for name in OBJECTS {
        let bytes = std::fs::read(format!("{}/{name}.o", env!("OUT_DIR"))).expect("built");
        let all = functions(&bytes);
        for place in all.keys() {
            let (depth, chain) = deepest(&all, *place);
            assert!(depth <= STACK_MAX, "{name}: {depth} bytes: {}", chain.join(" → "));
            seen.insert(format!("{name}: {}", chain.join(" → ")), depth);
        }
    }
    // What is known to call is seen to call.
    assert!(seen.keys().any(|chain| chain.starts_with("functions: do_filp_open → ")), "{seen:#?}");
    assert!(seen.values().any(|depth| *depth > STACK_MAX / 2), "{seen:#?}");
}
