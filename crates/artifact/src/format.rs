//! Names of what a file can be.

use serde::{Serialize, Serializer};

macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A format as recognised by content.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Format {
            $(#[doc = concat!("`", $name, "`.")] $variant,)*
        }

        impl Format {
            /// Every format there is.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable name in reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

formats! {
    Arrow = "arrow",
    Bzip2 = "bzip2",
    Catboost = "catboost",
    CoreMl = "coreml",
    Elf = "elf",
    Empty = "empty",
    Ggml = "ggml",
    Gguf = "gguf",
    Gzip = "gzip",
    Hdf5 = "hdf5",
    Image = "image",
    Jinja = "jinja",
    Joblib = "joblib",
    Json = "json",
    KerasH5 = "keras-h5",
    KerasMetadata = "keras-metadata",
    KerasV3 = "keras-v3",
    LightGbm = "lightgbm",
    Llamafile = "llamafile",
    Lz4 = "lz4",
    LzmaAlone = "lzma",
    MachO = "mach-o",
    MlModel = "mlflow-model",
    Msgpack = "msgpack",
    Nemo = "nemo",
    Npy = "npy",
    Npz = "npz",
    Notebook = "notebook",
    OciImage = "oci-image",
    OciLayer = "oci-layer",
    Onnx = "onnx",
    OpenVino = "openvino",
    PaddleParameters = "paddle-parameters",
    PaddleProgram = "paddle-program",
    Parquet = "parquet",
    Pdf = "pdf",
    Pe = "pe",
    Pickle = "pickle",
    Pmml = "pmml",
    Pth = "pth-startup",
    Python = "python",
    PythonBytecode = "python-bytecode",
    PytorchLegacy = "pytorch-legacy",
    PytorchTar = "pytorch-tar",
    PytorchZip = "pytorch-zip",
    RData = "r-data",
    Requirements = "requirements",
    Safetensors = "safetensors",
    Script = "script",
    SentencePiece = "sentencepiece",
    SevenZip = "7z",
    Skops = "skops",
    SplitTensors = "tensor-payload",
    Tar = "tar",
    TensorflowCheckpoint = "tensorflow-checkpoint",
    TensorflowGraph = "tensorflow-graph",
    TensorflowMetaGraph = "tensorflow-meta-graph",
    TensorflowSavedModel = "tensorflow-saved-model",
    TensorrtEngine = "tensorrt-engine",
    Text = "text",
    Tflite = "tflite",
    TorchMar = "torch-mar",
    TorchScript = "torchscript",
    Unknown = "unknown",
    Wheel = "wheel",
    Xgboost = "xgboost",
    XgboostBinary = "xgboost-binary",
    Xml = "xml",
    Xz = "xz",
    Yaml = "yaml",
    Zip = "zip",
    ZFile = "joblib-zfile",
    Zlib = "zlib",
    Zstd = "zstd",
}

impl Format {
    /// Runs by itself.
    pub(crate) fn is_program(self) -> bool {
        matches!(self, Self::Elf | Self::Pe | Self::MachO | Self::Llamafile | Self::Script)
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}
