"""Prints what each scanner says of a corpus, as totals: recall.py CORPUS MODELS PICKETCTL PEERS_PYTHON [FIGURES_JSON].

CORPUS has `executes`, `hides` and `harmless`, a folder a case; MODELS is a folder of honest files. A case counts as found when the scanner reports
anything above information, and as a false alarm likewise. What we miss or flag wrongly is listed by name; of others, the totals are enough.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

PEERS = ["picklescan", "modelscan", "fickling", "modelaudit"]
corpus, models, ours = (Path(argument).resolve() for argument in sys.argv[1:4])
# The interpreter of a virtual environment is a link, and is that environment's only by its own path.
python = Path(sys.argv[4]).absolute()
SETS = {"executes": corpus / "executes", "hides": corpus / "hides", "harmless": corpus / "harmless", "models": models}
FILES = {name: sorted(path for path in folder.rglob("*") if path.is_file()) for name, folder in SETS.items()}


def picket(folder):
    run = subprocess.run([ours, "scan", "--format", "jsonl", folder], capture_output=True, text=True)
    return {Path(report["path"]).resolve() for report in map(json.loads, run.stdout.splitlines()) if report["findings"]}


def peer(name, folder):
    script = Path(__file__).with_name("peer.py")
    run = subprocess.run([python, script, name, folder], capture_output=True, text=True, env={**os.environ, "PROMPTFOO_DISABLE_TELEMETRY": "1"})
    if run.returncode:
        print(f"SKIPPED {name} on {folder.name}: {run.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return {Path(line).resolve() for line in run.stdout.splitlines()}


def cpu():
    model = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{model[0] if model else 'unknown'}, {os.cpu_count()} CPUs"


def main():
    flagged, seconds = {}, {}
    for scanner in ["picket", *PEERS]:
        start = time.monotonic()
        flagged[scanner] = {name: picket(folder) if scanner == "picket" else peer(scanner, folder) for name, folder in SETS.items()}
        seconds[scanner] = time.monotonic() - start
    figures = []
    print(f"{'':12}" + "".join(f"{name:>20}" for name in SETS) + f"{'seconds':>10}")
    for scanner, found in flagged.items():
        cells = []
        for name, files in FILES.items():
            hits = None if found[name] is None else sum(path in found[name] for path in files)
            cells.append("-" if hits is None else f"{hits}/{len(files)} {100 * hits / len(files):.1f} %")
        print(f"{scanner:12}" + "".join(f"{cell:>20}" for cell in cells) + f"{seconds[scanner]:>10.0f}")

    def share(scanner, names):
        if any(flagged[scanner][name] is None for name in names):
            return None
        files = [(name, path) for name in names for path in FILES[name]]
        return 100 * sum(path in flagged[scanner][name] for name, path in files) / len(files)

    for figure, names, best in [("recall", ["executes", "hides"], max), ("false_alarms", ["harmless", "models"], min)]:
        peers = [value for value in (share(name, names) for name in PEERS) if value is not None]
        value = share("picket", names)
        one = {"name": f"scan_recall.{figure}", "value": round(value, 1), "unit": "% of files"}
        if peers:
            one |= {"compared_with": f"best of {len(peers)} published scanners, {best(peers):.1f}"}
            if best(peers):
                one |= {"ratio": round(value / best(peers), 3)}
        count = sum(len(FILES[name]) for name in names)
        one |= {"conditions": f"{count} files, {' and '.join(names)}; anything above information counts", "profile": "release" if "release" in ours.parts else "dev (opt-level 1)"}
        figures.append(one | {"kernel": platform.release(), "cpu": cpu(), "bench": "scan_recall"})
    for name in ["executes", "hides"]:
        for path in FILES[name]:
            if path not in flagged["picket"][name]:
                print(f"missed: {path.relative_to(corpus)}")
    for name in ["harmless", "models"]:
        for path in FILES[name]:
            if path in flagged["picket"][name]:
                print(f"false alarm: {name} {path.name}")
    for one in figures:
        print(json.dumps(one))
    if len(sys.argv) > 5:
        file = Path(sys.argv[5])
        kept = [one for one in json.loads(file.read_text()) if one.get("bench") != "scan_recall"]
        file.write_text(json.dumps(kept + figures, indent=2, ensure_ascii=False) + "\n")


main()
