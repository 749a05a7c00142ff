"""Writes data sets in every kind of chunks: python3 chunked.py FOLDER [large] (needs h5py). Each stands twice in its file, as `NAME` in chunks and
as `NAME_plain` in one run, so that a reader can be held against itself."""

import os
import sys

import h5py
import numpy as np

os.chdir(sys.argv[1])
large = len(sys.argv) > 2


def early(space, shape, chunks, kind, data):
    """All chunks at once, which the first three indexes of the newest form need."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(chunks)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    made = h5py.h5d.create(space.id, kind.encode(), h5py.h5t.py_create(data.dtype), h5py.h5s.create_simple(shape), properties)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, data)


def numbers(shape, kind):
    return (np.arange(int(np.prod(shape))) * 7919 % 251).astype(kind).reshape(shape)


PACKED = dict(compression="gzip", shuffle=True, fletcher32=True)
for version in ["earliest", "v110", "latest"]:
    # The newest form of release 1.10, which is what most files in that form have; later releases write another layout message.
    with h5py.File(f"chunked_{version}.h5", "w", libver=("v110", "v110") if version == "v110" else version) as file:

        def both(name, data, plain=None, **options):
            file.create_dataset(name, data=data, **options)
            file.create_dataset(f"{name}_plain", data=data if plain is None else plain)

        both("single", numbers((4, 5), "<i4"), chunks=(4, 5))
        both("single_packed", numbers((4, 5), "<i4"), chunks=(4, 5), **PACKED)
        if version != "earliest":
            data = numbers((5, 7), "<f4")
            early(file, data.shape, (2, 3), "implicit", data)
            file.create_dataset("implicit_plain", data=data)
            both("paged", numbers((1100,), "u1"), chunks=(1,))
        both("fixed", numbers((5, 7), "<f8"), chunks=(2, 3))
        both("fixed_packed", numbers((3, 4, 5), "<i2"), chunks=(2, 2, 2), **PACKED)
        both("limited", numbers((4, 6), "<i2"), chunks=(3, 2), maxshape=(10, 9))
        both("growing", numbers((9, 4), "<i4"), chunks=(2, 3), maxshape=(None, 4))
        both("growing_second", numbers((3, 40), "<u2"), chunks=(2, 3), maxshape=(5, None), compression="gzip")
        both("free", numbers((7, 9), "<i4"), chunks=(2, 2), maxshape=(None, None))
        both("free_packed", numbers((7, 9), "<i8"), chunks=(3, 4), maxshape=(None, None), **PACKED)
        both("lzf", numbers((40, 9), "<i4"), chunks=(20, 9), compression="lzf", shuffle=True)
        # A part was never written, and reads as the value it is filled with.
        hole = file.create_dataset("hole", (6, 6), "<i4", chunks=(2, 2), fillvalue=-7)
        hole[4:, 2:5] = 3
        file.create_dataset("hole_plain", data=hole[...])
        if large:
            both("many", numbers((150_000,), "<u2"), chunks=(1,), maxshape=(None,))
            both("many_packed", numbers((30_000,), "<u4"), chunks=(1,), maxshape=(None,), **PACKED)
            both("many_fixed", numbers((150, 150), "<u2"), chunks=(1, 1))
            both("many_free", numbers((120, 120), "<u2"), chunks=(1, 1), maxshape=(None, None))
            sparse = file.create_dataset("sparse", (70_000,), "<u2", chunks=(1,), maxshape=(None,))
            sparse[69_990:] = 5
            file.create_dataset("sparse_plain", data=sparse[...])
            both("wide", np.random.default_rng(1).standard_normal((300, 257, 9)).astype("<f4"), chunks=(64, 100, 4), **PACKED)
