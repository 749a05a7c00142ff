//! What honest tools write, in the shapes that are easily taken for an attack.

use super::Label::Harmless;
use super::build::{
    Asm, Packed, Pb, R, SevenZip, gguf, gzip, harmless, item, member, npy, parquet, safetensors, sevenz, state_dict, tar, torch, xz, zip, zlib,
};
use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, file: &str, bytes: Vec<u8>| cases.push(case(Harmless, format!("ok-{name}"), file, bytes));
    add("ordered-dict", "m.pkl", harmless());
    add("state-dict", "pytorch_model.bin", torch(&state_dict()));
    add("checkpoint-with-numbers", "m.pkl", Asm::new(4).raw(b"}(").text("epoch").int(3).text("lr").raw(b"G\x3f\x50\x62\x4d\xd2\xf1\xa9\xfcu").stop());
    add("many-opcodes", "tokens.pkl", [vec![0x80, 2, b']'], b"(K\x01K\x02K\x03e".repeat(300_000), b".".to_vec()].concat());
    let array = |dtype: &str| {
        let asm =
            Asm::new(2).global("numpy.core.multiarray", "_reconstruct").global("numpy", "ndarray").raw(b"K\x00\x85c_codecs\nencode\n").text("b").text("latin1");
        asm.raw(b"\x86R\x87R(K\x01K\x02\x85")
            .global("numpy", "dtype")
            .text(dtype)
            .raw(b"\x89\x88\x87R(K\x03")
            .text("<")
            .raw(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89")
            .bytes(&[0; 16])
            .raw(b"tb")
            .stop()
    };
    add("numpy-array", "a.pkl", array("f8"));
    add("joblib-zlib", "a.joblib", zlib(&array("f8")));
    add("npy", "a.npy", npy("'<f8'", "(2,)", &[0; 16]));
    add("npz", "a.npz", zip(&[item("a.npy", npy("'<f8'", "(2,)", &[0; 16]))]));
    add("safetensors", "m.safetensors", safetensors(r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#, &[1; 16]));
    let template = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m.content | trim }}{% endfor %}{% if add_generation_prompt %}{{ 'x' }}{% endif %}";
    add("gguf", "m.gguf", gguf(&[("general.architecture", "llama"), ("tokenizer.chat_template", template)]));
    add(
        "tokenizer-config",
        "tokenizer_config.json",
        format!("{{\"chat_template\": {}, \"model_max_length\": 4096}}", serde_json::to_string(template).unwrap()).into_bytes(),
    );
    add("config", "config.json", br#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "torch_dtype": "bfloat16"}"#.to_vec());
    add("index", "model.safetensors.index.json", br#"{"weight_map": {"a": "model-00001-of-00002.safetensors"}}"#.to_vec());
    add("modules", "modules.json", br#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]"#.to_vec());
    add("model-index", "model_index.json", br#"{"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.6", "unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": ["stable_diffusion", "X"]}"#.to_vec());
    add("adapter", "adapter_config.json", br#"{"peft_type": "LORA", "auto_mapping": null, "base_model_name_or_path": "/home/me/llama"}"#.to_vec());
    add(
        "keras",
        "m.keras",
        zip(&[
            item("metadata.json", "{}"),
            item(
                "config.json",
                r#"{"class_name": "Sequential", "module": "keras", "config": {"layers": [{"class_name": "Dense", "module": "keras.layers", "config": {"units": 2}}]}}"#,
            ),
        ]),
    );
    let node = Pb::default().run(1, Pb::default().run(1, "n").run(2, "MatMul"));
    add("saved-model", "saved_model.pb", Pb::default().int(1, 1).run(2, Pb::default().run(2, node)).0);
    let graph = Pb::default().run(1, Pb::default().run(1, "x").run(2, "y").run(4, "Relu")).run(2, "g");
    add("onnx", "m.onnx", Pb::default().int(1, 8).run(7, graph).run(8, Pb::default().run(1, "").int(2, 17)).0);
    add(
        "coreml",
        "m.mlmodel",
        Pb::default().int(1, 4).run(2, Pb::default().run(1, "d")).run(500, Pb::default().run(1, Pb::default().run(1, "conv").run(100, ""))).0,
    );
    let block = Pb::default().int(1, 0).int(2, 0).run(3, Pb::default().run(1, "x")).run(4, Pb::default().run(3, "feed")).run(4, Pb::default().run(3, "relu"));
    add("paddle", "m.pdmodel", Pb::default().run(1, block).run(4, Pb::default().int(1, 0)).0);
    add("paddle-params", "m.pdiparams", [&[0_u8; 16][..], &4_u32.to_le_bytes(), &[0x08, 5, 0x10, 4], &[0; 16]].concat());
    let flax = [&[0x81, 0xa6][..], b"params", &[0x81, 0xa1], b"w", &[0xc7, 12, 1, 0x93, 0x91, 2, 0xa7], b"float32", &[0xc0]].concat();
    add("flax", "flax_model.msgpack", flax);
    add("xgboost", "m.ubj", b"{L\0\0\0\0\0\0\0\x07learner{L\0\0\0\0\0\0\0\x01a[$d#L\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0}}".to_vec());
    add("catboost", "m.cbm", [&b"CBM1"[..], &8_u32.to_le_bytes(), &[0; 16]].concat());
    add("lightgbm", "m.txt", b"tree\nversion=v4\nnum_class=1\nmax_feature_idx=3\n".to_vec());
    add("parquet", "d.parquet", parquet(&[("pandas", "{\"index_columns\": []}")], None));
    let frame = R::start().word(0x213).word(1).word(14).word(1).word(0).word(0).word(0x402).symbol("names").text("x").word(254).0;
    add("rds", "d.rds", gzip(&frame));
    add("rds-xz", "d.rds", xz(&frame));
    add("rds-text", "d.rds", data("rdata/text_values.rds"));
    add("rds-compiled", "f.rds", data("rdata/compiled_harmless.rds"));
    for version in ["earliest", "latest"] {
        add(&format!("h5-names-{version}"), "m.h5", data(&format!("hdf5/names_{version}.h5")));
        add(&format!("h5-chunked-{version}"), "m.h5", data(&format!("hdf5/chunked_{version}.h5")));
    }
    add("7z", "m.7z", sevenz(&[Packed { name: "a/config.json", data: b"{\"a\": 1}" }, Packed { name: "a/readme.txt", data: b"text\n" }], SevenZip::Lzma, true));
    add("tar", "m.tar", tar(&[member("a/", b'5', "", b""), member("a/readme.txt", b'0', "", b"text\n"), member("a/l", b'2', "readme.txt", b"")]));
    let layer = tar(&[
        member("etc/alternatives/awk", b'2', "/usr/bin/mawk", b""),
        member("usr/share/doc/x", b'0', "", b"text\n"),
        member("var/run", b'2', "/run", b""),
        member("tmp/.wh.old", b'0', "", b""),
    ]);
    add(
        "oci-image",
        "i.tar",
        tar(&[member("oci-layout", b'0', "", b"{\"imageLayoutVersion\": \"1.0.0\"}"), member("blobs/sha256/aa", b'0', "", &gzip(&layer))]),
    );
    add(
        "pmml",
        "m.pmml",
        b"<?xml version=\"1.0\"?>\n<PMML version=\"4.4\"><Header><Extension name=\"author\" value=\"me\"/></Header><Apply function=\"+\"/></PMML>\n".to_vec(),
    );
    add(
        "openvino",
        "m.xml",
        b"<?xml version=\"1.0\"?><net name=\"m\" version=\"11\"><layers><layer id=\"0\" name=\"x\" type=\"Parameter\" version=\"opset1\"/></layers></net>"
            .to_vec(),
    );
    add("mlmodel", "MLmodel", b"artifact_path: model\nflavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    model_path: model.pkl\n".to_vec());
    add(
        "requirements",
        "requirements.txt",
        b"--extra-index-url https://download.pytorch.org/whl/cu124\ntorch==2.9\nnumpy>=2 # see https://numpy.org\n".to_vec(),
    );
    add("yaml", "config.yaml", b"model:\n  _target_: torch.nn.Linear\n  in_features: 2\n".to_vec());
    add(
        "python",
        "modeling.py",
        b"import os\nimport subprocess\n\ndef build(path):\n    subprocess.run(['make', path])\n    return os.path.join(path, 'x')\n".to_vec(),
    );
    add("notebook", "n.ipynb", br#"{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["!pip install torch\n", "print(1)\n"]}]}"#.to_vec());
    add("checkpoint-state", "checkpoint", b"model_checkpoint_path: \"model.ckpt-1\"\n".to_vec());
    cases
}

fn data(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}
