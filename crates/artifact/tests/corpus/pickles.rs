//! Pickles: every way to import and call, what hides it, and what else than `os.system` runs code.

use super::Label::{Executes, Hides};
use super::build::{Asm, evil, harmless};
use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |label, name: &str, bytes: Vec<u8>| cases.push(case(label, format!("pkl-{name}"), "model.pkl", bytes));
    opcodes(&mut add);
    memo(&mut add);
    streams(&mut add);
    state(&mut add);
    attributes(&mut add);
    for (module, name) in GADGETS {
        add(Executes, &format!("gadget-{module}.{name}"), Asm::new(4).stack_global(module, name).call("id").stop());
    }
    for (module, name) in REACHING {
        add(Hides, &format!("reaching-{module}.{name}"), Asm::new(4).stack_global(module, name).call("id").stop());
    }
    cases
}

type Add<'a> = &'a mut dyn FnMut(super::Label, &str, Vec<u8>);

fn opcodes(add: Add<'_>) {
    add(Executes, "global-reduce", evil());
    add(Executes, "protocol-0", b"cos\nsystem\n(S'id'\ntR.".to_vec());
    add(Executes, "protocol-0-escaped", b"c__builtin__\neval\n(S'\\x31'\ntR.".to_vec());
    add(Executes, "inst", b"(S'id'\nios\nsystem\n.".to_vec());
    add(Executes, "obj", Asm::new(1).raw(b"(").global("os", "system").text("id").raw(b"o").stop());
    add(Executes, "obj-pop-none", Asm::new(2).raw(b"(").global("smtplib", "SMTP").text("127.0.0.1").raw(b"o0N").stop());
    add(Executes, "newobj", Asm::new(2).global("os", "system").text("id").raw(b"\x85\x81").stop());
    add(Executes, "newobj-ex", Asm::new(4).global("os", "system").text("id").raw(b"\x85}\x92").stop());
    add(Executes, "short-strings", Asm::new(4).raw(b"\x8c\x02os\x8c\x06system\x93").call("id").stop());
    add(Executes, "binstring", Asm::new(4).raw(b"T\x02\0\0\0osU\x06system\x93").call("id").stop());
    add(Executes, "unicode-escape", Asm::new(4).raw(b"Vo\\u0073\n").text("system").raw(b"\x93").call("id").stop());
    add(Executes, "python-2-names", Asm::new(2).global("__builtin__", "eval").call("1").stop());
    add(Executes, "commands", Asm::new(2).global("commands", "getoutput").call("id").stop());
    add(
        Executes,
        "copyreg-reconstructor",
        Asm::new(0).global("copy_reg", "_reconstructor").raw(b"(").global("subprocess", "Popen").text("id").raw(b"tR").stop(),
    );
    add(
        Executes,
        "extension-registry",
        Asm::new(2).global("copyreg", "add_extension").text("os").text("system").int(0xf0).raw(b"\x87R0\x82\xf0").call("id").stop(),
    );
    add(Hides, "extension-unknown", Asm::new(2).raw(b"\x82\x05").call("id").stop());
    add(Executes, "persistent-id-then-call", Asm::new(2).raw(b"Pos.system\n0").payload().stop());
    add(Executes, "partial", Asm::new(4).stack_global("functools", "partial").stack_global("os", "system").text("id").raw(b"\x86R)R").stop());
    add(
        Executes,
        "map",
        Asm::new(4).stack_global("builtins", "list").stack_global("builtins", "map").stack_global("os", "system").text("id").raw(b"\x85\x86R\x85R").stop(),
    );
    add(
        Executes,
        "getattr",
        Asm::new(4).stack_global("builtins", "getattr").stack_global("builtins", "__import__").call("os").text("system").raw(b"\x86R").call("id").stop(),
    );
    add(
        Executes,
        "attrgetter",
        Asm::new(4).stack_global("_operator", "attrgetter").call("system").stack_global("builtins", "__import__").call("os").raw(b"\x85R").call("id").stop(),
    );
    add(
        Executes,
        "methodcaller",
        Asm::new(4)
            .stack_global("operator", "methodcaller")
            .text("system")
            .text("id")
            .raw(b"\x86R")
            .stack_global("builtins", "__import__")
            .call("os")
            .raw(b"\x85R")
            .stop(),
    );
    add(Executes, "itemgetter", Asm::new(4).stack_global("operator", "itemgetter").call("os").stack_global("sys", "modules").raw(b"\x85R0").payload().stop());
    add(Executes, "dup-operands", Asm::new(4).text("os").text("system").raw(b"20\x93").call("id").stop());
    add(
        Hides,
        "computed-operands",
        Asm::new(4).stack_global("_codecs", "decode").text("bf").text("rot13").raw(b"\x86R").text("system").raw(b"\x93").call("id").stop(),
    );
    add(Executes, "rebuild-from-type", {
        let asm = Asm::new(2).global("torch._tensor", "_rebuild_from_type_v2").raw(b"(").global("os", "system").global("builtins", "str");
        asm.text("id").raw(b"\x85}tR").stop()
    });
}

fn memo(add: Add<'_>) {
    add(Executes, "memoize-after-pop", Asm::new(4).text("os").text("x").raw(b"0\x94").text("system").raw(b"\x940").raw(b"h\x00h\x01\x93").call("id").stop());
    add(Executes, "memoize-twice", Asm::new(4).text("os").raw(b"\x94\x94").text("system").raw(b"\x94\x94").raw(b"h\x01h\x03\x93").call("id").stop());
    add(
        Executes,
        "memo-overwrite",
        Asm::new(4)
            .text("collections")
            .raw(b"q\x00")
            .text("OrderedDict")
            .raw(b"q\x01")
            .text("os")
            .raw(b"q\x00")
            .text("system")
            .raw(b"q\x01h\x00h\x01\x93")
            .call("id")
            .stop(),
    );
    add(Executes, "memo-of-global", Asm::new(2).global("os", "system").raw(b"q\x050h\x05").call("id").stop());
    add(Executes, "long-put", Asm::new(2).global("os", "system").raw(b"r\xff\xff\0\x000j\xff\xff\0\0").call("id").stop());
    add(Executes, "text-put", Asm::new(0).global("os", "system").raw(b"p7\n0g7\n(S'id'\ntR").stop());
}

fn streams(add: Add<'_>) {
    let stacked: Vec<u8> = (0..20).flat_map(|_| harmless()).chain(evil()).collect();
    add(Executes, "stacked-20", stacked);
    add(Executes, "broken-tail", [Asm::new(2).payload().0, vec![0xff]].concat());
    add(Executes, "truncated", Asm::new(2).payload().raw(b"B\xff\xff\xff\x00").0);
    add(Executes, "many-opcodes", [vec![0x80, 2], b"N0".repeat(600_000), evil()[2..].to_vec()].concat());
    add(Executes, "no-stop", Asm::new(2).payload().0);
    let filler = vec![b'a'; 131_072];
    let straddle = Asm::new(4).bytes(&filler).raw(b"0\x95\x02\0\0\0\0\0\0\0B\x07\x01\0\0").raw(vec![b'b'; 0x107]).raw(b"0").payload().stop();
    add(Executes, "frame-straddle", straddle);
    add(Hides, "frame-nested", Asm::new(4).raw(b"\x95\x20\0\0\0\0\0\0\0N0\x95\x04\0\0\0\0\0\0\0N0N0").raw(b"N0".repeat(4)).raw(b"N").stop());
    add(Executes, "loads-in-loads", Asm::new(4).stack_global("pickle", "loads").bytes(&evil()).raw(b"\x85R").stop());
    add(Executes, "load-from-bytes", Asm::new(2).global("torch.storage", "_load_from_bytes").bytes(&evil()).raw(b"\x85R").stop());
    add(Hides, "nested-as-data", Asm::new(4).bytes(&evil()).stop());
    add(Executes, "after-stop-zeros", [harmless(), evil()].concat());
    add(Executes, "leading-mark-noise", [b"(0".to_vec(), Asm::new(0).payload().0, b".".to_vec()].concat());
    let deep = [vec![0x80, 2], b"]".repeat(50_000), Asm::new(0).payload().0, b".".to_vec()].concat();
    add(Executes, "deep-stack", deep);
}

fn state(add: Add<'_>) {
    add(
        Executes,
        "build-setstate",
        Asm::new(2).global("types", "SimpleNamespace").raw(b")\x81}").text("__setstate__").global("os", "system").raw(b"sb").text("id").raw(b"b").stop(),
    );
    add(
        Hides,
        "build-on-class",
        Asm::new(2).global("torch.nn.modules.linear", "Linear").raw(b"}").text("forward").global("builtins", "print").raw(b"sb").stop(),
    );
    add(Hides, "setitem-on-global", Asm::new(4).stack_global("os", "environ").text("LD_PRELOAD").text("x.so").raw(b"s").stop());
    add(Hides, "dunder-state", Asm::new(2).global("collections", "OrderedDict").raw(b")\x81}").text("__class__").global("builtins", "dict").raw(b"sb").stop());
}

fn attributes(add: Add<'_>) {
    for (module, name) in [
        ("random", "_os.system"),
        ("torch.serialization", "os.system"),
        ("collections", "_sys.modules.get"),
        ("numpy", "f2py.os.system"),
        ("os.path", "os.system"),
        ("logging", "os.system"),
        ("builtins", "print.__self__.eval"),
        ("torch", "jit.unsupported_tensor_ops.execWrapper"),
    ] {
        add(Executes, &format!("dotted-{module}.{name}"), Asm::new(4).stack_global(module, name).call("id").stop());
    }
    add(Hides, "dotted-class", Asm::new(4).stack_global("torch.nn.modules.linear", "Linear.forward").call("id").stop());
}

/// What runs code, commands, or opens files and sockets by itself.
const GADGETS: &[(&str, &str)] = &[
    ("os", "popen"),
    ("os", "execv"),
    ("posix", "system"),
    ("nt", "system"),
    ("subprocess", "Popen"),
    ("subprocess", "check_output"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "compile"),
    ("builtins", "__import__"),
    ("importlib", "import_module"),
    ("pkgutil", "resolve_name"),
    ("runpy", "run_path"),
    ("runpy", "_run_code"),
    ("pip", "main"),
    ("pip._internal", "main"),
    ("pip._internal.cli.main", "main"),
    ("bdb", "Bdb.run"),
    ("pdb", "run"),
    ("profile", "run"),
    ("cProfile", "run"),
    ("timeit", "timeit"),
    ("trace", "Trace.run"),
    ("doctest", "debug_script"),
    ("code", "InteractiveInterpreter.runcode"),
    ("codeop", "compile_command"),
    ("pty", "spawn"),
    ("webbrowser", "open"),
    ("asyncio.unix_events", "_UnixSubprocessTransport._start"),
    ("multiprocessing.util", "spawnv_passfds"),
    ("setuptools._distutils.spawn", "spawn"),
    ("distutils.spawn", "spawn"),
    ("_interpreters", "create"),
    ("ctypes", "CDLL"),
    ("cffi", "FFI"),
    ("shutil", "rmtree"),
    ("socket", "create_connection"),
    ("urllib.request", "urlopen"),
    ("http.client", "HTTPSConnection"),
    ("smtplib", "SMTP"),
    ("requests", "get"),
    ("pickle", "loads"),
    ("marshal", "loads"),
    ("dill", "loads"),
    ("cloudpickle", "loads"),
    ("joblib", "load"),
    ("joblib.numpy_pickle", "load"),
    ("pandas", "eval"),
    ("pandas", "read_pickle"),
    ("numpy", "load"),
    ("numpy.testing._private.utils", "runstring"),
    ("numpy.f2py.crackfortran", "getlincoef"),
    ("numpy.distutils.exec_command", "exec_command"),
    ("torch", "load"),
    ("torch.hub", "load"),
    ("torch.utils._config_module", "load_config"),
    ("torch._dynamo.guards", "GuardBuilder.get"),
    ("torch.jit.unsupported_tensor_ops", "execWrapper"),
    ("torch.utils.collect_env", "run"),
    ("torch.utils.bottleneck.__main__", "run_cprofile"),
    ("torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression"),
    ("torch.distributed.run", "main"),
    ("idlelib.run", "Executive.runcode"),
    ("idlelib.pyshell", "ModifiedInterpreter.runcode"),
    ("lib2to3.pgen2.pgen", "ParserGenerator.make_label"),
    ("ensurepip", "_run_pip"),
    ("venv", "main"),
    ("types", "FunctionType"),
    ("types", "CodeType"),
    ("site", "addpackage"),
    ("zipimport", "zipimporter"),
    ("ipykernel.kernelapp", "launch_new_instance"),
    ("IPython", "embed"),
    ("sys", "settrace"),
    ("threading", "Thread"),
    ("signal", "signal"),
    ("gc", "get_objects"),
    ("fastcore.xtras", "run"),
];

/// What reaches files, names or calls with the right arguments.
const REACHING: &[(&str, &str)] = &[
    ("pathlib", "Path.write_text"),
    ("builtins", "open"),
    ("builtins", "getattr"),
    ("functools", "partial"),
    ("operator", "attrgetter"),
    ("tempfile", "NamedTemporaryFile"),
    ("linecache", "getline"),
    ("io", "open"),
    ("shelve", "open"),
    ("sqlite3", "connect"),
    ("mycompany.models", "Net"),
    ("nltk", "download"),
];
