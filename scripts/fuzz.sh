#!/usr/bin/env bash
# `make fuzz [ONLY=target] [SECONDS_EACH=60]`: libFuzzer on the stable toolchain over every parser, seeded with the corpus. A target is `scan`,
# `decode`, or a format's name. What crashes, hangs or grows stays under fuzz/artifacts/; each becomes a named test.
. "$(dirname "$0")/lib.sh"
need_cargo
cd "$REPO"
seconds=${SECONDS_EACH:-60}
build=${CARGO_TARGET_DIR:-$REPO/target}/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')

say "building the fuzz targets"
# What cargo-fuzz passes, without a sanitizer: those need a nightly toolchain, and the parsers hold no unsafe code for them to find.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
  cargo build --release --manifest-path fuzz/Cargo.toml --target "$triple" --target-dir "$build" || die "the fuzz targets do not build" "libFuzzer needs a C++ compiler"

seeds=$build/seeds
say "writing the corpus"
cargo build --quiet --workspace --locked --example corpus || die "the corpus does not build"
"$TARGET/debug/examples/corpus" "$seeds/tree" 65536 || die "the corpus was not written"
mkdir -p "$seeds/flat"
find "$seeds/tree" -type f | while read -r file; do cp "$file" "$seeds/flat/$(basename "$(dirname "$file")")"; done

targets=(scan decode pickle zip tar 7z gzip elf python-bytecode r-data ggml gguf parquet arrow core-ml paddle-program paddle-parameters msgpack xgboost
  catboost tensorflow-checkpoint tensorflow-graph tensorflow-saved-model onnx tflite hdf5 npy safetensors keras-metadata json yaml xml jinja python pth-startup
  mlflow-model requirements script)
if [[ -n ${ONLY:-} ]]; then targets=("$ONLY"); fi
failed=()
for target in "${targets[@]}"; do
  binary=parser format=$target
  case $target in scan | decode) binary=$target format= ;; core-ml) format=coreml ;; esac
  mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
  say "fuzzing $target for $seconds s"
  PICKET_FUZZ_FORMAT=$format "$build/$triple/release/$binary" "fuzz/corpus/$target" "$seeds/flat" -artifact_prefix="fuzz/artifacts/$target/" -max_len=65536 \
    -timeout=25 -rss_limit_mb=1536 -max_total_time="$seconds" -print_final_stats=1 -verbosity=0 2>"$build/$target.log" || failed+=("$target")
  grep -E '^stat::(number_of_executed_units|average_exec_per_sec|new_units_added|peak_rss_mb)|SUMMARY|panicked' "$build/$target.log" | sed "s/^/  /" || true
done
((${#failed[@]} == 0)) || die "fuzzing stopped early: ${failed[*]}" "fuzz/artifacts/ has the inputs; run the target's binary on one to see it again"
