//! What frameworks need to load weights, and nothing that takes a path, a name or code.

/// True when the import can be called with any arguments.
pub(super) fn exact(module: &str, name: &str) -> bool {
    EXACT.iter().any(|(known, names)| *known == module && names.contains(&name)) || patterns(module, name)
}

/// True for a class of a framework whose instances are data: named or made without a constructor.
pub(super) fn class(module: &str, name: &str) -> bool {
    let inside = CLASS_MODULES.iter().any(|known| module.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
    let name = name.trim_start_matches('_');
    inside && name.starts_with(|first: char| first.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn patterns(module: &str, name: &str) -> bool {
    // Cython's own unpicklers rebuild one class and check a checksum of its fields.
    let compiled = ["sklearn.", "pandas._libs.", "scipy.", "hdbscan.", "implicit."].iter().any(|prefix| module.starts_with(prefix));
    if compiled && (name.starts_with("__pyx_unpickle_") || name == "newObj") {
        return true;
    }
    // `sklearn.tree._tree.Tree` and its like are compiled classes that are made by calling them with sizes.
    if module.starts_with("sklearn.") && class(module, name) {
        return true;
    }
    // `torch.FloatStorage`, `torch.float16`, and the same under `torch.cuda`.
    match module {
        "torch" | "torch.cuda" | "torch.storage" => name.ends_with("Storage") && name.chars().all(|c| c.is_ascii_alphanumeric()) || TORCH_DTYPES.contains(&name),
        _ => false,
    }
}

const TORCH_DTYPES: &[&str] = &[
    "float", "double", "half", "float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "complex32", "complex64",
    "complex128", "qint8", "quint8", "qint32", "quint4x2", "quint2x4", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2",
    "strided", "sparse_coo", "sparse_csr", "per_tensor_affine", "per_channel_affine", "contiguous_format", "channels_last", "channels_last_3d", "preserve_format",
];

const EXACT: &[(&str, &[&str])] = &[
    (
        "builtins",
        &[
            "set", "frozenset", "list", "dict", "tuple", "int", "float", "complex", "bool", "str", "bytes", "bytearray", "range", "slice", "object", "type", "NoneType", "Ellipsis", "NotImplemented",
            "Exception", "ValueError", "TypeError", "KeyError", "RuntimeError", "IndexError", "StopIteration", "AttributeError", "memoryview",
            "abs", "min", "max", "sum", "len", "round", "sorted", "any", "all", "zip", "reversed", "enumerate", "getattr", "chr", "ord",
        ],
    ),
    ("copyreg", &["_reconstructor", "__newobj__", "__newobj_ex__"]),
    ("collections", &["OrderedDict", "defaultdict", "deque", "Counter", "UserDict", "UserList", "ChainMap", "UserString"]),
    ("_collections", &["OrderedDict", "defaultdict", "deque"]),
    ("_codecs", &["encode"]),
    ("datetime", &["datetime", "date", "time", "timedelta", "timezone", "tzinfo"]),
    ("decimal", &["Decimal"]),
    ("fractions", &["Fraction"]),
    ("uuid", &["UUID", "SafeUUID"]),
    ("enum", &["Enum", "IntEnum", "Flag", "IntFlag", "StrEnum"]),
    ("types", &["SimpleNamespace", "NoneType", "MappingProxyType"]),
    ("argparse", &["Namespace"]),
    ("pathlib", &["Path", "PosixPath", "PurePath", "PurePosixPath", "WindowsPath", "PureWindowsPath"]),
    ("array", &["array", "_array_reconstructor"]),
    ("random", &["Random"]),
    ("string", &["Template"]),
    ("re", &["_compile"]),
    ("logging", &["getLogger", "Logger"]),
    ("zoneinfo", &["ZoneInfo._unpickle"]),
    ("pytz", &["_UTC", "_p"]),
    ("numpy", &[
        "dtype", "ndarray", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool_", "bool", "str_", "bytes_", "void", "object_", "complex64",
        "complex128", "datetime64", "timedelta64", "longdouble", "intc", "intp", "generic", "number", "integer", "floating", "matrix", "recarray", "record", "log1p", "expm1", "exp", "log", "log2", "log10",
        "sqrt", "square", "abs", "absolute", "sin", "cos", "tan", "tanh", "arctan", "mean", "median", "std", "var", "sum", "min", "max", "amin", "amax", "clip", "nan_to_num", "isnan", "reshape", "ravel",
    ]),
    ("numpy._core.multiarray", &["_reconstruct", "scalar", "_frombuffer", "ndarray", "dtype", "set_typeDict"]),
    ("numpy._core.numeric", &["_frombuffer"]),
    ("numpy._core._internal", &["_convert_to_stringdtype_kwargs"]),
    ("numpy.ma", &["MaskedArray", "masked_array"]),
    ("numpy.ma.core", &["_mareconstruct", "MaskedArray"]),
    ("numpy.matrixlib.defmatrix", &["matrix"]),
    ("numpy.random._pickle", &["__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"]),
    ("numpy.random", &["__RandomState_ctor"]),
    ("numpy.random.bit_generator", &["SeedSequence", "__pyx_unpickle_SeedSequence"]),
    ("numpy.random._mt19937", &["MT19937"]),
    ("numpy.random._pcg64", &["PCG64", "PCG64DXSM"]),
    ("numpy.random._philox", &["Philox"]),
    ("numpy.random._sfc64", &["SFC64"]),
    ("numpy.polynomial.polynomial", &["Polynomial"]),
    ("numpy.dtypes", &[
        "Float16DType", "Float32DType", "Float64DType", "Int8DType", "Int16DType", "Int32DType", "Int64DType", "UInt8DType", "UInt16DType", "UInt32DType", "UInt64DType", "BoolDType", "StringDType",
        "Complex64DType", "Complex128DType", "ObjectDType", "StrDType", "BytesDType", "VoidDType", "DateTime64DType", "TimeDelta64DType", "LongDoubleDType",
    ]),
    ("ml_dtypes", &["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"]),
    ("joblib.numpy_pickle", &["NumpyArrayWrapper", "NDArrayWrapper"]),
    ("torch", &["Size", "device", "Tensor", "ScriptObject", "Generator", "dtype", "layout", "memory_format", "BoolTensor", "FloatTensor", "LongTensor", "relu", "tanh", "sigmoid"]),
    ("torch._utils", &[
        "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter", "_rebuild_parameter_with_state", "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor",
        "_rebuild_qtensor", "_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor", "_rebuild_meta_tensor_no_storage", "_rebuild_wrapper_subclass", "_rebuild_nested_tensor",
        "_rebuild_xla_tensor", "_rebuild_from_type_v2",
    ]),
    ("torch._tensor", &["_rebuild_from_type_v2"]),
    ("torch.storage", &["UntypedStorage", "TypedStorage", "_load_from_bytes"]),
    ("torch.nn.parameter", &["Parameter", "Buffer", "UninitializedParameter"]),
    ("torch.serialization", &["_get_layout"]),
    ("torch.jit._pickle", &["build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id", "restore_type_tag"]),
    ("torch.nn.functional", &["relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu", "softmax", "softplus", "mish", "elu"]),
    ("torch._C._nn", &["gelu", "silu"]),
    ("torch._subclasses.fake_tensor", &["FakeTensor"]),
    ("torch.distributed.checkpoint.metadata", &[
        "Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "TensorProperties", "ChunkStorageMetadata", "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING",
    ]),
    ("torch.distributed.checkpoint.filesystem", &["_StorageInfo"]),
    ("torch.distributed.checkpoint.planner", &["LoadItemType", "WriteItemType"]),
    ("scipy.sparse", &["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array"]),
    ("scipy.sparse._csr", &["csr_matrix", "csr_array"]),
    ("scipy.sparse._csc", &["csc_matrix", "csc_array"]),
    ("scipy.sparse._coo", &["coo_matrix", "coo_array"]),
    ("scipy.sparse._bsr", &["bsr_matrix"]),
    ("scipy.sparse._dia", &["dia_matrix"]),
    ("scipy.sparse._lil", &["lil_matrix"]),
    ("scipy.sparse.csr", &["csr_matrix"]),
    ("scipy.special._ufuncs", &["expit", "logit"]),
    ("pandas", &[
        "DataFrame", "Series", "Index", "RangeIndex", "MultiIndex", "DatetimeIndex", "TimedeltaIndex", "PeriodIndex", "IntervalIndex", "CategoricalIndex", "Categorical", "CategoricalDtype", "StringDtype",
        "Timestamp", "Timedelta", "Period", "Interval", "NaT", "NA", "Int64Dtype", "Float64Dtype", "BooleanDtype", "DatetimeTZDtype",
    ]),
    ("pandas.core.internals.managers", &["BlockManager", "SingleBlockManager"]),
    ("pandas._libs.internals", &["_unpickle_block", "BlockPlacement"]),
    ("pandas.core.indexes.base", &["_new_Index", "Index"]),
    ("pandas.core.indexes.datetimes", &["_new_DatetimeIndex"]),
    ("pandas.core.indexes.period", &["_new_PeriodIndex"]),
    ("pandas.core.frame", &["DataFrame"]),
    ("pandas.core.series", &["Series"]),
    ("pandas.core.internals.blocks", &["new_block"]),
    ("pandas._libs.arrays", &["__pyx_unpickle_NDArrayBacked"]),
    ("pandas._libs.tslibs.timestamps", &["_unpickle_timestamp"]),
    ("pandas._libs.tslibs.timedeltas", &["_timedelta_unpickle"]),
    ("pandas._libs.tslibs.nattype", &["_nat_unpickle"]),
    ("pandas._libs.tslibs.offsets", &["Day", "BusinessDay", "Hour", "Minute", "Second", "MonthEnd"]),
    ("pandas.core.arrays.categorical", &["Categorical"]),
    ("xgboost.core", &["Booster"]),
    ("sklearn.neighbors._dist_metrics", &["newObj"]),
    ("sklearn.metrics._dist_metrics", &["newObj"]),
];

/// Frameworks whose capitalised names are classes of data.
const CLASS_MODULES: &[&str] = &[
    "torch.nn.modules", "torch.nn.parameter", "torch.nn.quantized", "torch.ao.nn", "torch.optim", "torch.amp.grad_scaler", "torch.cuda.amp.grad_scaler", "torch.utils.data.dataset",
    "torch.utils.data.sampler", "torch.distributed.checkpoint.metadata", "torch.distributed.tensor.placement_types", "torchvision.models", "torchvision.transforms", "torchvision.ops",
    "sklearn", "scipy.sparse", "scipy.stats", "scipy.interpolate", "scipy.spatial", "xgboost", "lightgbm", "catboost", "pandas.core", "pandas.arrays", "pandas._libs", "statsmodels", "transformers.models",
    "transformers.configuration_utils", "transformers.training_args", "transformers.trainer_utils", "transformers.trainer_pt_utils", "transformers.tokenization_utils_base",
    "transformers.integrations", "transformers.generation.configuration_utils", "transformers.modeling_outputs", "tokenizers", "accelerate", "timm.models", "timm.layers", "ultralytics.nn",
    "ultralytics.utils", "numpy.random", "imblearn", "category_encoders", "sentence_transformers.models", "omegaconf", "peft", "gensim.models", "spacy.tokens", "keras.src", "tensorflow.python.keras",
    "pytorch_lightning.callbacks", "lightning.pytorch.callbacks", "lightning_fabric.utilities.data",
];
