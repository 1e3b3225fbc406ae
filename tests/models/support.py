"""Makes models/ importable, and writes files in the old torch.save format for the tests."""

import collections
import io
import pathlib
import pickle
import sys
import types
import unittest

try:
    import numpy as np
except ImportError as error:
    raise unittest.SkipTest("needs the onnx package and numpy (scripts/setup.sh installs them)") from error

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models"))

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def _global(module, name):
    """An object that pickles as the global module.name, whether or not it exists here."""
    holder = types.FunctionType((lambda: None).__code__, {}, name)
    holder.__module__, holder.__qualname__ = module, name
    return holder


class _Tensor:
    """Pickles as torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, ...)."""

    def __init__(self, key, array, offset=0, shape=None, strides=None):
        self.key, self.array, self.offset = key, array, offset
        self.shape = tuple(array.shape) if shape is None else shape
        self.strides = tuple(s // array.itemsize for s in array.strides) if strides is None else strides


class _Writer(pickle._Pickler):  # the Python pickler: its save_global takes names that cannot be imported
    KINDS = {"float32": "FloatStorage", "int64": "LongStorage"}

    def persistent_id(self, obj):
        return ("storage", obj.kind, obj.key, "cpu", obj.count, None) if isinstance(obj, _Storage) else None

    def reducer_override(self, obj):
        if isinstance(obj, _Tensor):
            storage = _Storage(_global("torch", self.KINDS[obj.array.dtype.name]), obj.key, obj.array.size)
            arguments = (storage, obj.offset, obj.shape, obj.strides, False, collections.OrderedDict())
            return _global("torch._utils", "_rebuild_tensor_v2"), arguments
        return NotImplemented

    def save_global(self, obj, name=None):
        if isinstance(obj, types.FunctionType) and obj.__module__.startswith("torch"):
            self.write(pickle.GLOBAL + f"{obj.__module__}\n{obj.__qualname__}\n".encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    dispatch = dict(pickle._Pickler.dispatch)
    dispatch[types.FunctionType] = save_global


class _Storage:
    def __init__(self, kind, key, count):
        self.kind, self.key, self.count = kind, key, count


def write_torch_file(state, magic=MAGIC, system=None, keys=None):
    """The bytes of torch.save(state) in the old format; state maps names to arrays or to _Tensor objects."""
    tensors = collections.OrderedDict()
    for index, (name, value) in enumerate(state.items()):
        tensors[name] = value if isinstance(value, _Tensor) else _Tensor(str(1000 + index), np.array(value, order="C"))
    file = io.BytesIO()
    for part in (magic, 1001, SYSTEM if system is None else system):
        pickle.dump(part, file, protocol=2)
    _Writer(file, protocol=2).dump(tensors)
    pickle.dump([tensor.key for tensor in tensors.values()] if keys is None else keys, file, protocol=2)
    for tensor in tensors.values():
        file.write(tensor.array.size.to_bytes(8, "little") + tensor.array.tobytes())
    return file.getvalue()


Tensor = _Tensor
