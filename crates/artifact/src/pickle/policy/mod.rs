//! What an import is worth: an allow-list of what frameworks need to load weights, and three tiers above it.

mod allowed;
mod dangerous;

/// How much an import can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Rebuilds data; calling it with any arguments does nothing else.
    Allowed,
    /// A class of a known framework: naming it or making it without its constructor is harmless, calling it is unknown.
    AllowedClass,
    /// On no list.
    Unknown,
    /// Reaches code, files or the network with the right arguments; says how.
    Risky(&'static str),
    /// Does so by itself; says how.
    Executes(&'static str),
}

/// A function whose result the machine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    /// Nothing to compute.
    None,
    /// `getattr(object, name)`.
    Attribute,
    /// `copyreg.add_extension(module, name, code)`.
    AddExtension,
    /// `copyreg._reconstructor(cls, base, state)`, `copyreg.__newobj__(cls, …)`.
    Reconstruct,
    /// The first argument is called with the rest.
    Applies,
    /// `torch._utils._rebuild_from_type_v2(function, type, arguments, state)`.
    AppliesTuple,
    /// The first argument is bytes that are loaded as a file of their own.
    LoadsBytes,
    /// `_codecs.encode(text, encoding)`: how protocol 2 spells bytes.
    Encode,
}

/// The policy's answer, kept with the import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) tier: Tier,
    pub(crate) special: Special,
}

/// Judges `module.name` as an unpickler would resolve it.
pub(crate) fn judge(module: &str, name: &str) -> Known {
    let (module, name) = canonical(module, name);
    Known { tier: tier(module, name), special: special(module, name) }
}

/// Python 2 names and moved modules under the name they have today (`_compat_pickle` maps them on load).
fn canonical<'n>(module: &'n str, name: &'n str) -> (&'n str, &'n str) {
    let module = match module {
        "__builtin__" | "exceptions" => "builtins",
        "copy_reg" => "copyreg",
        "cPickle" | "_pickle" => "pickle",
        "commands" => "subprocess",
        "urllib2" => "urllib.request",
        "numpy.core.multiarray" | "numpy._core.multiarray" | "numpy.core._multiarray_umath" => "numpy._core.multiarray",
        "numpy.core.numeric" => "numpy._core.numeric",
        "pathlib._local" => "pathlib",
        "UserDict" | "UserList" | "UserString" => "collections",
        _ => module,
    };
    match (module, name) {
        ("builtins", "unicode") => (module, "str"),
        ("builtins", "xrange") => (module, "range"),
        ("builtins", "long") => (module, "int"),
        ("builtins", "unichr") => (module, "chr"),
        _ => (module, name),
    }
}

fn tier(module: &str, name: &str) -> Tier {
    if allowed::exact(module, name) {
        return Tier::Allowed;
    }
    if let Some(what) = dangerous::executes(module, name) {
        return Tier::Executes(what);
    }
    // `STACK_GLOBAL` walks dots, so any module that imports `os` leads there. The components are judged like modules.
    let mut components = name.split('.');
    let last = components.next_back().unwrap_or(name);
    // Submodules are attributes of their package: `jit.x` of `torch` is `x` of `torch.jit`.
    let mut walked = module.to_owned();
    for component in components {
        if let Some(what) = dangerous::executes(component.trim_start_matches('_'), last) {
            return Tier::Executes(what);
        }
        walked.push('.');
        walked.push_str(component);
        if let Some(what) = dangerous::executes(&walked, last) {
            return Tier::Executes(what);
        }
        if component.starts_with("__") || matches!(component, "modules" | "builtins" | "_builtins") {
            return Tier::Executes("walks through attributes to what it may not name");
        }
    }
    if is_dunder(last) && module != "builtins" {
        return Tier::Risky("is a special attribute");
    }
    if let Some(how) = dangerous::risky(module, name) {
        return Tier::Risky(how);
    }
    if name.contains('.') {
        return Tier::Risky("walks through attributes");
    }
    if allowed::class(module, name) {
        return Tier::AllowedClass;
    }
    Tier::Unknown
}

/// `__like_this__`.
pub(crate) fn is_dunder(name: &str) -> bool {
    name.len() > 4 && name.starts_with("__") && name.ends_with("__")
}

fn special(module: &str, name: &str) -> Special {
    match (module, name) {
        ("builtins", "getattr") => Special::Attribute,
        ("copyreg", "add_extension") => Special::AddExtension,
        ("copyreg", "_reconstructor" | "__newobj__" | "__newobj_ex__") => Special::Reconstruct,
        ("functools" | "_functools", "partial" | "partial.__new__" | "reduce")
        | ("builtins", "map" | "filter")
        | ("builtins", "apply")
        | ("itertools", "starmap") => Special::Applies,
        ("torch._utils", "_rebuild_from_type_v2") | ("torch._tensor", "_rebuild_from_type_v2") => Special::AppliesTuple,
        ("torch.storage", "_load_from_bytes") | ("pickle" | "dill" | "dill._dill" | "cloudpickle" | "cloudpickle.cloudpickle" | "marshal", "loads") => {
            Special::LoadsBytes
        }
        ("_codecs", "encode") => Special::Encode,
        _ => Special::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers() {
        let of = |module, name| judge(module, name).tier;
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("__builtin__", "eval"),
            ("builtins", "exec"),
            ("commands", "getoutput"),
            ("os.path", "os.system"),
            ("random", "_os.system"),
            ("torch.serialization", "os.system"),
            ("collections", "_sys.modules.get"),
            ("pkgutil", "resolve_name"),
            ("importlib", "import_module"),
            ("setuptools._distutils.spawn", "spawn"),
            ("torch.hub", "load"),
            ("pandas", "eval"),
            ("numpy.testing._private.utils", "runstring"),
        ] {
            assert!(matches!(of(module, name), Tier::Executes(_)), "{module}.{name} {:?}", of(module, name));
        }
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch", "FloatStorage"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "dtype"),
            ("__builtin__", "set"),
            ("uuid", "UUID"),
            ("datetime", "datetime"),
            ("pathlib", "PosixPath"),
        ] {
            assert_eq!(of(module, name), Tier::Allowed, "{module}.{name}");
        }
        assert_eq!(of("torch.nn.modules.linear", "Linear"), Tier::AllowedClass);
        assert_eq!(of("torch.nn.modules.linear", "Linear.os"), Tier::Risky("walks through attributes"));
        assert_eq!(of("mycompany.models", "Net"), Tier::Unknown);
        assert!(matches!(of("functools", "partial"), Tier::Risky(_)));
        assert!(matches!(of("sklearn.base", "__builtins__"), Tier::Risky(_)));
    }
}
