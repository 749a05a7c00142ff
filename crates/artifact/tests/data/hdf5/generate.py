"""Writes the golden HDF5 files of this folder: python3 generate.py (needs h5py). Their bytes are committed; run it to add one."""

import json
import os

import h5py
import numpy as np

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def model(layer):
    return json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})


DENSE = model({"class_name": "Dense", "config": {"units": 2}})
SECRET = "-----BEGIN " + "PRIVATE KEY-----\n" + "QUJDREVG" * 8
LAMBDA = model({"class_name": "Lambda", "config": {"function": ["4wE=", None, None]}})

for version in ["earliest", "latest"]:
    for name, config in [("dense", DENSE), ("lambda", LAMBDA)]:
        with h5py.File(f"{name}_{version}.h5", "w", libver=version) as file:
            file.attrs["model_config"] = config
            file.attrs["n"] = 3
            group = file.create_group("w")
            group.attrs["names"] = np.array([b"a", b"b"])
            group["soft"] = h5py.SoftLink("/w")
    with h5py.File(f"external_link_{version}.h5", "w", libver=version) as file:
        file["link"] = h5py.ExternalLink("/etc/passwd", "/x")
    with h5py.File(f"external_data_{version}.h5", "w", libver=version) as file:
        file.create_dataset("data", (10,), dtype="u1", external=[("../../secret", 0, 10)])
with h5py.File("fixed_text.h5", "w") as file:
    file.attrs.create("model_config", np.bytes_(LAMBDA))
with h5py.File("user_block.h5", "w", userblock_size=512, libver="latest") as file:
    file.attrs["model_config"] = LAMBDA
with h5py.File("cycle.h5", "w", libver="latest") as file:
    group = file.create_group("a")
    group["self"] = group
    file["b"] = group
with h5py.File("dense_storage.h5", "w", libver="latest") as file:
    for number in range(12):
        file.create_group(str(number))

for name, count in [("dense_links", 40), ("dense_links_many", 2000)]:
    with h5py.File(f"{name}.h5", "w", libver="latest") as file:
        for number in range(count):
            file[f"name{number:05}"] = h5py.SoftLink("/x")
        file["outside"] = h5py.ExternalLink("/etc/passwd", "/x")
with h5py.File("dense_attributes.h5", "w", libver="latest") as file:
    for number in range(40):
        file.attrs[f"name{number:05}"] = number
    file.attrs["model_config"] = LAMBDA

# What runs when it is unpickled, in every way in which elements can hold it, and text.
PICKLE = b"cos\nsystem\n(S'id'\ntR."
LAYOUTS = {"plain": {}, "chunked": dict(chunks=True, compression="gzip", shuffle=True, fletcher32=True)}
for version in ["earliest", "latest"]:
    for layout, options in LAYOUTS.items():
        # What stands in a heap cannot have a checksum in its chunk.
        loose = dict(options, fletcher32=False) if options else {}
        with h5py.File(f"contents_{layout}_{version}.h5", "w", libver=version) as file:
            file.create_dataset("bytes", data=np.frombuffer(PICKLE * 3, "u1"), **options)
            file.create_dataset("opaque", data=np.array([np.void(PICKLE)]), **options)
            file.create_dataset("fixed", data=np.array([b"name", LAMBDA.encode()]), **options)
            file.create_dataset("texts", data=["name", LAMBDA], dtype=h5py.string_dtype(), **loose)
            rows = file.create_dataset("rows", (2,), dtype=h5py.vlen_dtype(np.dtype("u1")), **loose)
            rows[1] = np.frombuffer(PICKLE, "u1")
            file.create_dataset("secret", data=["nothing", SECRET], dtype=h5py.string_dtype(), **loose)
            # PyTables gives every node a title, which is empty as a rule.
            file.attrs["TITLE"] = h5py.Empty("S1")
            file.create_dataset("nothing", data=h5py.Empty("u1"))
            file.attrs["object"] = np.bytes_(PICKLE)
            file.attrs["array"] = np.frombuffer(PICKLE, "u1")
    with h5py.File(f"names_{version}.h5", "w", libver=version) as file:
        # What programs keep beside numbers: words, a picture, enumerations and single numbers.
        file.create_dataset("names", data=[f"cell{number}" for number in range(50)], dtype=h5py.string_dtype(), chunks=(8,), compression="gzip")
        file.create_dataset("labels", data=np.arange(64, dtype="u1"), chunks=(16,))
        file.create_dataset("pictures", data=np.zeros((2, 8, 8, 3), "u1"), chunks=(1, 8, 8, 3))
        file["word"] = np.dtype("S8")
        file.create_dataset("named", (2,), dtype=file["word"])[...] = b"word"
        file.create_dataset("unwritten", (10,), dtype=h5py.string_dtype(), chunks=(5,))
        file.create_dataset("mask", data=np.array([True, False]))

# Records: what stands in their fields, in records within them and in arrays, beside numbers. Each finding has a field of its own.
for version in ["earliest", "latest"]:
    inner = np.dtype([("x", "<f8"), ("text", h5py.string_dtype())])
    fields = [("id", "<i4"), ("note", "S300"), ("blob", f"V{len(PICKLE)}"), ("flag", "u1"), ("inner", inner), ("pair", "S96", (2,)), ("raw", "u1", (len(PICKLE),))]
    options = dict(chunks=(2,), compression="gzip") if version == "latest" else {}
    with h5py.File(f"records_{version}.h5", "w", libver=version) as file:
        for name in ["note", "blob", "text", "pair", "raw"]:
            rows = np.zeros(3, np.dtype(fields))
            rows["inner"]["text"] = ["a", "b", "c"]
            row = rows[2:]
            if name == "note":
                row["note"] = LAMBDA.encode()
            elif name == "blob":
                row["blob"] = np.void(PICKLE)
            elif name == "text":
                row["inner"]["text"] = [LAMBDA]
            elif name == "pair":
                row["pair"] = [[b"nothing", SECRET.encode()]]
            else:
                row["raw"] = np.frombuffer(PICKLE, "u1")
            file.create_dataset(name, data=rows, **options)
        # Arrays of bytes and texts as elements, without a record.
        file.create_dataset("array", (2,), np.dtype(("u1", (len(PICKLE),))), **options)[1] = np.frombuffer(PICKLE, "u1")
        file.create_dataset("numbers", data=np.zeros(4, [("a", "<i8"), ("b", "<f4", (3,)), ("c", "u1")]), **options)
        file.create_dataset("colors", data=np.zeros(4, h5py.enum_dtype({"red": 1, "green": 2}, "u1")), **options)
        sequences = file.create_dataset("words", (2,), h5py.vlen_dtype(np.dtype("S8")))
        sequences[0] = np.frombuffer(SECRET.ljust(96).encode(), "S8")

# Put together from this file, from one beside it and from one elsewhere.
for version in ["v110", "latest"]:
    with h5py.File(f"virtual_{version}.h5", "w", libver=(version, version)) as file:
        file.create_dataset("here", data=np.zeros(4, "u1"))
        layout = h5py.VirtualLayout((16, 4), "u1")
        layout[0] = h5py.VirtualSource(".", "here", (4,))
        layout[1] = h5py.VirtualSource("beside.h5", "x", (4,))
        layout[2:8:3] = h5py.VirtualSource("beside.h5", "y", (9, 4))[1:7:5]
        layout[9] = h5py.VirtualSource("../../secret.h5", "x", (4,))
        file.create_virtual_dataset("whole", layout)
        inside = h5py.VirtualLayout((4,), "u1")
        inside[:] = h5py.VirtualSource(".", "here", (4,))
        file.create_virtual_dataset("inside", inside)
