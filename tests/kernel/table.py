"""table.py RESULTS PAGE: writes what the guests said between the markers of the page."""

import datetime
import pathlib
import re
import sys

BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def read(path):
    text = path.read_text(errors="replace")
    found = re.search(r"^GUEST kernel=(\S+) lsm=(\S*)", text, re.M)
    outcome = dict(re.findall(r"^test (\S+) \.\.\. .*?(ok|FAILED|ignored)\b", text, re.M))
    probes = dict((line.split("|")[0], line.split("|", 3)) for line in re.findall(r"^PROBE (.*)$", text, re.M))
    return {
        "name": path.name,
        "kernel": found.group(1) if found else "did not boot",
        "lsm": "yes" if found and "bpf" in found.group(2).split(",") else "no",
        "outcome": outcome,
        "passed": sum(value == "ok" for value in outcome.values()),
        "failed": [name for name, value in outcome.items() if value == "FAILED"],
        "skipped": len(set(re.findall(r"^SKIPPED ([^:]*)", text, re.M))),
        "whole": "GUEST end" in text,
        "probes": probes,
        "when": datetime.date.fromtimestamp(path.stat().st_mtime).isoformat(),
    }


def main(results, page):
    guests = sorted((read(path) for path in pathlib.Path(results).iterdir()), key=lambda guest: ([int(part) for part in re.findall(r"\d+", guest["name"])], guest["name"]))
    lines = ["| kernel | bpf among the LSMs | passed | failed | skipped | run |", "|---|---|---|---|---|---|"]
    for guest in guests:
        failed = ", ".join(f"`{name}`" for name in guest["failed"]) or "none"
        note = "" if guest["whole"] else " (the guest did not come to its end)"
        passed = "probes listed alone" if guest["probes"] and not guest["outcome"] else guest["passed"]
        lines.append(f"| {guest['kernel']} | {guest['lsm']} | {passed} | {failed}{note} | {guest['skipped']} | {guest['when']} |")
    guests = [guest for guest in guests if guest["probes"]]
    names = [name for name in dict.fromkeys(name for guest in guests for name in guest["probes"])]
    lines += ["", "Hook in use, or - where the probe is not attached:", "", "| probe | " + " | ".join(guest["name"] for guest in guests) + " |", "|---" * (len(guests) + 1) + "|"]
    for name in names:
        cells = []
        for guest in guests:
            _, attached, hook, _ = guest["probes"].get(name, (name, "false", "", ""))
            cells.append(f"`{hook}`" if attached == "true" else "-")
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    page = pathlib.Path(page)
    text = page.read_text()
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    page.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)


main(sys.argv[1], sys.argv[2])
