#!/usr/bin/env bash
# tests/bench/scan_recall/run.sh: recall and false alarms of `picketctl scan` beside published scanners, on the generated corpus and on models that honest
# packages write. Installs both sets of packages into virtual environments below the build folder; takes some ten minutes.
. "$(dirname "$0")/../../../scripts/lib.sh"
need_cargo
cd "$REPO"
here=tests/bench/scan_recall work=$TARGET/scan_recall
mkdir -p "$work"
cargo build --workspace --locked --bin picketctl --example corpus
rm -rf "$work/corpus" "$work/models"
"$TARGET/debug/examples/corpus" "$work/corpus"
for set in models peers; do
  [[ -x $work/$set-venv/bin/python ]] || python3 -m venv "$work/$set-venv" || die "no virtual environment" "install python3-venv"
done
say "installing packages"
"$work/models-venv/bin/pip" -q install h5py numpy scikit-learn joblib xgboost-cpu lightgbm onnx skops pyarrow
"$work/peers-venv/bin/pip" -q install picklescan modelscan fickling modelaudit typing_extensions
"$work/models-venv/bin/python" "$here/models.py" "$work/models"
say "scanning"
python3 "$here/recall.py" "$work/corpus" "$work/models" "$BIN/picketctl" "$work/peers-venv/bin/python" docs/figures.json
