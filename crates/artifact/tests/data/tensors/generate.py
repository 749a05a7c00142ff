"""Writes the pickles of this folder with CPython's own pickler: python3 generate.py. No torch is needed: what torch.save writes is named, not made."""

import collections
import io
import os
import pickle
import sys
import types

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def named(module, name, kind):
    """A stand-in that pickles as `module.name`."""
    kind.__module__, kind.__qualname__, kind.__name__ = module, name, name
    parent = ""
    for part in module.split("."):
        parent = f"{parent}.{part}".lstrip(".")
        sys.modules.setdefault(parent, types.ModuleType(parent))
    setattr(sys.modules[module], name, kind)
    return kind


FloatStorage = named("torch", "FloatStorage", type("FloatStorage", (), {}))


@lambda made: named("torch._utils", "_rebuild_tensor_v2", made)
def rebuild(*_):
    raise NotImplementedError


class Storage:
    def __init__(self, key, elements):
        self.id = ["storage", FloatStorage, key, "cpu", elements]


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.parts = (storage, offset, shape, strides)

    def __reduce__(self):
        return rebuild, (*self.parts, False, collections.OrderedDict())


class Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        # A tuple for each use, as torch makes it.
        return tuple(thing.id) if isinstance(thing, Storage) else None


def pickled(thing):
    out = io.BytesIO()
    Pickler(out, 2).dump(thing)
    return out.getvalue()


one = (1,)
first, second = Storage("0", 6), Storage("1", 2)
state = {
    "state": collections.OrderedDict(),
    "big": {str(number): number for number in range(100)},
    "late": None,
}
state["state"]["a.weight"] = Tensor(first, 0, (2, 3), (3, 1))
state["state"]["a.row"] = Tensor(first, 3, (3,), one)
state["state"]["b"] = Tensor(second, 0, (2,), one)
state["late"] = Tensor(second, 0, (1, 2), (2, 1))
with open("state.pkl", "wb") as file:
    file.write(pickled(state))
with open("legacy_head.bin", "wb") as file:
    # Magic number, protocol, machine, object, keys of the storages that follow.
    for part in [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, state, ["1", "0", "2"]]:
        file.write(pickled(part))
