"""Prints the files that a published scanner reports: peer.py NAME FOLDER. Each is asked in the way that its own command line would ask it."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

name, folder = sys.argv[1], Path(sys.argv[2]).resolve()
files = sorted(path for path in folder.rglob("*") if path.is_file())
SECONDS_A_FILE = 30


class Expired(BaseException):
    pass


def expire(*_):
    raise Expired


signal.signal(signal.SIGALRM, expire)


def each(judge):
    for path in files:
        signal.alarm(SECONDS_A_FILE)
        try:
            reported = judge(path)
        except (Exception, Expired):
            reported = False
        finally:
            signal.alarm(0)
        if reported:
            print(path)


def picklescan():
    from picklescan.scanner import SafetyLevel, scan_file_path

    each(lambda path: any(found.safety != SafetyLevel.Innocuous for found in scan_file_path(str(path)).globals))


def fickling():
    import zipfile

    from fickling.analysis import Severity, check_safety
    from fickling.fickle import StackedPickle

    def pickles(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from (archive.read(member) for member in archive.namelist() if member.endswith((".pkl", ".pickle", ".bin")))
        else:
            yield path.read_bytes()

    def judge(path):
        for data in pickles(path):
            for pickled in StackedPickle.load(data):
                if check_safety(pickled).severity > Severity.LIKELY_SAFE:
                    return True
        return False

    each(judge)


def beside(command, paths):
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "report.json"
        subprocess.run([str(Path(sys.executable).with_name(command[0])), *command[1:], str(out)], capture_output=True, timeout=900)
        reported = set(paths(json.loads(out.read_text())))
    for path in files:
        if any(found == str(path) or found.startswith((f"{path}:", f"{path}/")) for found in reported):
            print(path)


def modelscan():
    def paths(report):
        for issue in report["issues"]:
            source = issue["source"]
            yield str(Path(source) if Path(source).is_absolute() else folder / source)

    beside(["modelscan", "-p", str(folder), "-r", "json", "-o"], paths)


def modelaudit():
    beside(
        ["modelaudit", "scan", str(folder), "--no-cache", "--format", "json", "--output"],
        lambda report: (issue.get("location") or "" for issue in report["issues"] if issue["severity"] in ("critical", "warning")),
    )


{"picklescan": picklescan, "fickling": fickling, "modelscan": modelscan, "modelaudit": modelaudit}[name]()
