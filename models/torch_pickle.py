"""Reads a state dict in the old format of torch.save, without torch and without running anything that the file asks for.

Such a file is a row of pickles followed by raw memory: magic number, protocol version, system information, the object itself (in which a
tensor names its storage by a persistent id), the list of the storage keys, and then, for each key, an element count (int64) and the
elements. Pickle can call any importable function, so the unpickler here knows three names and refuses all others.
"""

import collections
import io
import math
import pickle

import numpy as np

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
MAX_FILE_BYTES = 1 << 30
MAX_RANK = 8

_STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


class FormatError(ValueError):
    """The file is not a state dict in the old torch.save format, is damaged, or asks for something that is not allowed."""


class _StorageType:
    """Stands for torch.FloatStorage and the like; only its dtype is used."""

    def __init__(self, name):
        self.dtype = np.dtype(_STORAGE_DTYPES[name])


class _Storage:
    """Memory that one or more tensors look into; filled after the pickled object was read."""

    def __init__(self, dtype, count):
        self.dtype = dtype
        self.count = count
        self.data = None


class _LazyTensor:
    """What a tensor is before its storage has been read: where it lies in the storage."""

    def __init__(self, storage, offset, shape, strides):
        self.storage = storage
        self.offset = offset
        self.shape = shape
        self.strides = strides

    def array(self):
        """A contiguous copy; the bounds were checked by _rebuild_tensor."""
        item = self.storage.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            self.storage.data[self.offset :], self.shape, [stride * item for stride in self.strides], writeable=False
        )
        return np.array(view, order="C")


def _natural(value, what):
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FormatError(f"{what} is {value!r}, expected a number of at least 0")
    return value


def _rebuild_tensor(storage, offset, shape, strides, *_unused):
    """torch._utils._rebuild_tensor_v2, with every number checked against the storage."""
    if not isinstance(storage, _Storage):
        raise FormatError("a tensor refers to no storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides) or len(shape) > MAX_RANK:
        raise FormatError(f"a tensor has shape {shape!r} and strides {strides!r}")
    offset = _natural(offset, "a tensor's offset")
    shape = tuple(_natural(size, "a tensor's dimension") for size in shape)
    strides = tuple(_natural(stride, "a tensor's stride") for stride in strides)
    if math.prod(shape) > storage.count:
        raise FormatError(f"a tensor of shape {shape} is larger than its storage of {storage.count} elements")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if 0 not in shape and last >= storage.count:
        raise FormatError(f"a tensor of shape {shape} reaches past its storage of {storage.count} elements")
    return _LazyTensor(storage, offset, shape, strides)


class RestrictedUnpickler(pickle.Unpickler):
    """Knows OrderedDict, tensors and storages; anything else in the file is an error, and nothing of it is imported or called."""

    def __init__(self, file, max_elements=0):
        super().__init__(file)
        self.storages = {}
        self._max_elements = max_elements

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return _StorageType(name)
        raise FormatError(f"the pickle asks for {module}.{name}, which is not allowed here")

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or len(pid) != 6 or pid[0] != "storage":
            raise FormatError(f"unknown persistent id {str(pid)[:80]!r}")
        _, kind, key, _location, count, view = pid
        if not isinstance(kind, _StorageType) or not isinstance(key, str) or view is not None:
            raise FormatError(f"unknown kind of storage {str(pid)[:80]!r}")
        if _natural(count, "a storage's size") > self._max_elements:
            raise FormatError(f"storage {key} claims {count} elements, more than the file can hold")
        known = self.storages.setdefault(key, _Storage(kind.dtype, count))
        if known.dtype != kind.dtype or known.count != count:
            raise FormatError(f"storage {key} is described in two ways")
        return known


def _unpickle(file, what, max_elements=0):
    unpickler = RestrictedUnpickler(file, max_elements)
    try:
        return unpickler.load(), unpickler.storages
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from error
    except Exception as error:  # a damaged pickle raises nearly anything: AttributeError, TypeError, EOFError, ...
        raise FormatError(f"{what}: damaged pickle ({type(error).__name__}: {error})") from error


def _read_storage(file, key, storage):
    header = file.read(8)
    count = int.from_bytes(header, "little", signed=True)
    if len(header) != 8 or count != storage.count:
        raise FormatError(f"storage {key} holds {count} elements, expected {storage.count}")
    data = file.read(count * storage.dtype.itemsize)
    if len(data) != count * storage.dtype.itemsize:
        raise FormatError(f"the file ends inside storage {key}")
    storage.data = np.frombuffer(data, storage.dtype)


def load_state_dict(data):
    """The state dict in `data` (bytes), as an OrderedDict of name to numpy array. Throws FormatError."""
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"{len(data)} bytes are more than the limit of {MAX_FILE_BYTES}")
    file = io.BytesIO(data)
    if _unpickle(file, "magic number")[0] != MAGIC_NUMBER:
        raise FormatError("not a file of the old torch.save format: wrong magic number")
    version = _unpickle(file, "protocol version")[0]
    if version != PROTOCOL_VERSION:
        raise FormatError(f"protocol version {version!r}, expected {PROTOCOL_VERSION}")
    system = _unpickle(file, "system information")[0]
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise FormatError("written on a big-endian machine, or the system information is damaged")
    state, storages = _unpickle(file, "state dict", max_elements=len(data))
    keys = _unpickle(file, "storage keys")[0]
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise FormatError("the list of storages does not match the state dict")
    for key in keys:
        _read_storage(file, key, storages[key])
    if not isinstance(state, dict):
        raise FormatError(f"the file holds a {type(state).__name__}, expected a state dict")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, _LazyTensor):
            raise FormatError(f"entry {str(name)[:80]!r} is not a tensor")
    return collections.OrderedDict((name, value.array()) for name, value in state.items())
