//! What runs code, commands, files or connections by itself, and what does so with the right arguments.
//!
//! The allow-list decides what is clean; this list only raises what is certain and says why, so that an entry missing here
//! makes a file `suspicious` instead of `malicious`, never clean.

/// How `module.name` acts by itself, if it does.
pub(super) fn executes(module: &str, name: &str) -> Option<&'static str> {
    if let Some((_, _, how)) = EXACT.iter().find(|(known, names, _)| *known == module && names.contains(&name)) {
        return Some(how);
    }
    // `builtins` as a whole reaches into the interpreter; `map` does only with the right arguments.
    if RISKY.iter().any(|(known, names, _)| *known == module && names.contains(&name)) {
        return None;
    }
    // Every parent package of the module is looked up: `os`, `urllib.request`, `torch._inductor.codecache`.
    let mut parent = Some(module);
    while let Some(package) = parent {
        if let Some((_, how)) = MODULES.iter().find(|(names, _)| names.contains(&package)) {
            return Some(how);
        }
        parent = package.rsplit_once('.').map(|(parent, _)| parent);
    }
    None
}

/// How `module.name` can act with the right arguments.
pub(super) fn risky(module: &str, name: &str) -> Option<&'static str> {
    RISKY.iter().find(|(known, names, _)| *known == module && (names.is_empty() || names.contains(&name))).map(|(_, _, how)| *how)
}

const COMMANDS: &str = "runs commands";
const CODE: &str = "runs code";
const LOADS: &str = "loads code by name";
const FILES: &str = "reads, writes or deletes files";
const NETWORK: &str = "opens network connections";
const UNPICKLES: &str = "unpickles other data";
const NATIVE: &str = "calls native code";
const INTERPRETER: &str = "reaches into the interpreter";
const PROCESSES: &str = "starts processes or threads";
const BROWSER: &str = "opens a browser, which runs a command";

/// Modules of which everything outside the allow-list acts.
const MODULES: &[(&[&str], &str)] = &[
    (
        &[
            "os", "posix", "nt", "subprocess", "pty", "pexpect", "ptyprocess", "_posixsubprocess", "popen2", "sh", "plumbum", "fabric", "invoke", "paramiko", "platform", "commands", "distutils",
            "setuptools", "pip", "ensurepip", "venv", "virtualenv", "conda", "git", "docker", "ansible", "popen", "psutil", "_aix_support", "_osx_support", "_winapi", "cgitb", "mailcap", "lib2to3",
            "pydoc", "_pyrepl", "idlelib", "imaplib.IMAP4_stream", "multiprocessing.util", "numpy.distutils", "numpy.f2py", "torch.utils.cpp_extension", "torch.utils.collect_env", "torch.utils.bottleneck",
        ],
        COMMANDS,
    ),
    (
        &[
            "code", "codeop", "runpy", "timeit", "trace", "profile", "cProfile", "pdb", "bdb", "doctest", "compileall", "py_compile", "IPython", "ipykernel", "jedi", "numexpr", "sympy", "jinja2", "mako",
            "asteval", "RestrictedPython", "torch._inductor", "torch._dynamo", "torch.fx", "torch._C._distributed_rpc", "torch.distributed.rpc", "torch.distributed.nn.jit", "numpy.testing", "pandas.core.computation",
            "lambdify", "yaql", "_interpreters", "_xxsubinterpreters", "interpreters", "concurrent.interpreters", "test", "tkinter", "_tkinter", "turtle", "rlcompleter", "pstats",
        ],
        CODE,
    ),
    (
        &[
            "imp", "importlib", "_frozen_importlib", "_frozen_importlib_external", "pkgutil", "zipimport", "_imp", "site", "sitecustomize", "usercustomize", "pkg_resources", "torch.hub", "torch.package",
            "transformers.dynamic_module_utils", "hydra.utils", "stevedore", "pluggy", "modulefinder", "unittest.mock", "unittest.loader", "pydoc_data",
        ],
        LOADS,
    ),
    (&["ctypes", "_ctypes", "cffi", "_cffi_backend", "numpy.ctypeslib", "numba", "llvmlite", "pycuda", "cupy", "triton", "tvm", "torch.ops", "torch.classes", "mmap"], NATIVE),
    (
        &[
            "socket", "_socket", "socketserver", "ssl", "_ssl", "http", "urllib", "urllib3", "httplib", "requests", "aiohttp", "httpx", "ftplib", "smtplib", "poplib", "imaplib", "telnetlib", "nntplib",
            "xmlrpc", "xmlrpclib", "SimpleXMLRPCServer", "wsgiref", "asyncore", "asynchat", "smtpd", "twisted", "tornado", "websocket", "websockets", "grpc", "boto3", "botocore", "s3fs", "gcsfs", "fsspec",
            "smart_open", "huggingface_hub", "wget", "pycurl", "dns", "scapy", "zmq", "redis", "pymongo", "logging.handlers", "torch.distributed.elastic",
        ],
        NETWORK,
    ),
    (
        &[
            "shutil", "tempfile", "fileinput", "io", "_io", "_pyio", "codecs", "glob", "zipfile", "tarfile", "gzip", "bz2", "lzma", "shelve", "dbm", "linecache", "filecmp", "pathlib", "sqlite3", "_sqlite3",
            "netrc", "logging.config", "fcntl", "h5py", "tables", "pyarrow", "pandas.io", "scipy.io", "skimage.io", "imageio", "PIL.Image", "cv2", "distributed", "dask", "numpy.lib.npyio", "numpy.lib._npyio_impl",
            "numpy.lib.format", "numpy.lib._format_impl", "numpy.lib._datasource", "numpy.DataSource", "torch.serialization", "torch.jit", "torch.jit._serialization",
        ],
        FILES,
    ),
    (
        &["pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "joblib", "jsonpickle", "yaml", "ruamel", "klepto", "hickle", "pickletools", "torch._weights_only_unpickler", "mlflow", "skops"],
        UNPICKLES,
    ),
    (&["sys", "gc", "inspect", "builtins", "types", "atexit", "signal", "faulthandler", "tracemalloc", "resource", "sysconfig", "threading", "_thread", "ast", "dis", "symtable", "weakref", "_testcapi"], INTERPRETER),
    (&["multiprocessing", "concurrent", "asyncio", "sched", "torch.multiprocessing", "_multiprocessing", "billiard", "celery", "gevent", "eventlet", "anyio", "trio", "ray"], PROCESSES),
    (&["webbrowser", "antigravity"], BROWSER),
];

/// Single functions of modules that are harmless otherwise.
const EXACT: &[(&str, &[&str], &str)] = &[
    ("builtins", &["eval", "exec", "execfile", "compile", "breakpoint"], CODE),
    ("builtins", &["__import__", "reload"], LOADS),
    ("builtins", &["open", "file", "input", "raw_input"], FILES),
    ("types", &["FunctionType", "CodeType", "LambdaType", "MethodType", "ModuleType"], CODE),
    ("operator", &["call"], CODE),
    ("_operator", &["call"], CODE),
    ("numpy", &["load", "fromfile", "memmap", "genfromtxt", "loadtxt", "save", "savez", "savetxt", "savez_compressed", "DataSource", "fromregex", "open_memmap"], FILES),
    ("numpy.core.records", &["fromfile"], FILES),
    ("numpy", &["vectorize", "frompyfunc", "apply_along_axis", "fromfunction", "piecewise"], CODE),
    ("torch", &["load", "compile", "save", "from_file"], FILES),
    ("torch", &["load_library"], NATIVE),
    ("torch.utils._config_module", &["ConfigModule.load_config", "load_config"], UNPICKLES),
    ("torch.storage", &["UntypedStorage.from_file", "UntypedStorage.from_buffer"], FILES),
    ("pandas", &["eval"], CODE),
    ("pandas", &["read_pickle"], UNPICKLES),
    ("pandas", &["read_csv", "read_json", "read_html", "read_xml", "read_sql", "read_hdf", "read_parquet", "read_excel", "HDFStore", "ExcelFile", "ExcelWriter"], FILES),
    ("tensorflow", &["load_library", "load_op_library", "py_function", "numpy_function"], NATIVE),
    ("tensorflow.io", &["write_file", "read_file"], FILES),
    ("keras.utils", &["get_file"], NETWORK),
    ("keras.models", &["load_model"], UNPICKLES),
    ("sklearn.utils._bunch", &["eval"], CODE),
    ("sklearn.datasets", &["fetch_openml", "load_files", "load_svmlight_file"], FILES),
    ("transformers", &["pipeline", "Tool", "load_tool"], LOADS),
    ("uuid", &["_get_command_stdout", "_popen"], COMMANDS),
    ("random", &["_os", "_urandom"], COMMANDS),
    ("cgi", &["test"], COMMANDS),
    ("copyreg", &["pickle", "constructor"], INTERPRETER),
    ("getpass", &["getpass", "getuser"], INTERPRETER),
    ("collections.abc", &["__class__"], INTERPRETER),
];

const RISKY: &[(&str, &[&str], &str)] = &[
    ("builtins", &["setattr", "delattr", "globals", "locals", "vars", "dir", "map", "filter", "iter", "next", "super", "apply", "callable", "hasattr", "help", "print"], "acts on what it is given"),
    ("functools", &[], "binds a call for later"),
    ("_functools", &[], "binds a call for later"),
    ("operator", &["attrgetter", "methodcaller", "itemgetter", "getitem", "setitem", "delitem", "iadd", "iconcat"], "reaches attributes and items by name"),
    ("_operator", &["attrgetter", "methodcaller", "itemgetter", "getitem", "setitem", "delitem"], "reaches attributes and items by name"),
    ("itertools", &[], "calls what it is given, item by item"),
    ("copyreg", &["add_extension", "remove_extension", "dispatch_table", "__reduce_ex__"], "changes how later pickles are read"),
    ("_codecs", &[], "transforms text, which hides names"),
    ("base64", &[], "transforms text, which hides names"),
    ("binascii", &[], "transforms text, which hides names"),
    ("zlib", &[], "transforms data, which hides it"),
    ("string", &["Formatter"], "walks attributes from text"),
    ("contextlib", &[], "wraps calls"),
    ("unittest", &[], "wraps calls"),
    ("logging", &["FileHandler", "basicConfig"], "writes files"),
    ("csv", &[], "reads what it is given"),
    ("configparser", &[], "reads files"),
    ("xml", &[], "reads external entities"),
    ("torch.nn.modules.module", &["_addindent"], "is not data"),
    ("torch.distributed", &[], "opens network connections"),
    ("django", &[], "loads settings by name"),
    ("flask", &[], "loads code by name"),
    ("nltk", &[], "reads files or addresses"),
];
