"""The reader of the old torch.save format: what it reads, and that a hostile or damaged file runs nothing and says why."""

import collections
import io
import os
import pickle
import tempfile
import unittest

import support  # first: it skips the module where numpy is missing

import numpy as np

import torch_pickle
from torch_pickle import FormatError, load_state_dict


class Malicious:
    """Pickles as a call of `function(argument)`."""

    def __init__(self, function, argument):
        self.call = (function, (argument,))

    def __reduce__(self):
        return self.call


def header():
    file = io.BytesIO()
    for part in (support.MAGIC, 1001, support.SYSTEM):
        pickle.dump(part, file, protocol=2)
    return file.getvalue()


class Reading(unittest.TestCase):
    def test_values_shapes_and_dtypes(self):
        state = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7, np.int64)}
        read = load_state_dict(support.write_torch_file(state))
        self.assertIsInstance(read, collections.OrderedDict)
        self.assertEqual(list(read), ["a", "n"])
        np.testing.assert_array_equal(read["a"], state["a"])
        self.assertEqual(read["n"].shape, ())
        self.assertEqual(read["n"].dtype, np.int64)

    def test_strides_and_offset(self):
        base = np.arange(12, dtype=np.float32)
        transposed = support.Tensor("1", base, offset=2, shape=(3, 2), strides=(1, 3))
        read = load_state_dict(support.write_torch_file({"t": transposed}))
        np.testing.assert_array_equal(read["t"], base[2:8].reshape(2, 3).T)


class Refusing(unittest.TestCase):
    def refuses(self, data, pattern):
        with self.assertRaisesRegex(FormatError, pattern):
            load_state_dict(data)

    def test_a_call_of_a_system_function_is_not_made(self):
        with tempfile.TemporaryDirectory() as folder:
            trace = os.path.join(folder, "trace")
            payload = pickle.dumps(Malicious(os.mkdir, trace), protocol=2)
            self.refuses(header() + payload, r"mkdir, which is not allowed")
            self.refuses(payload, r"mkdir, which is not allowed")  # the first pickle of the file is no safer
            self.assertFalse(os.path.exists(trace))

    def test_builtins_and_submodules_are_refused(self):
        for function, name in ((eval, "eval"), (getattr, "getattr"), (np.load, "load")):
            self.refuses(header() + pickle.dumps(Malicious(function, "1"), protocol=2), rf"{name}, which is not allowed")

    def test_dotted_names_do_not_reach_further(self):
        payload = b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93."
        self.refuses(header() + payload, r"OrderedDict.__init__, which is not allowed")

    def test_tensor_past_its_storage(self):
        base = np.zeros(4, np.float32)
        for offset, shape, strides in ((1, (4,), (1,)), (0, (2, 2), (3, 1)), (0, (2**40,), (1,)), (0, (4,), (2**62,))):
            data = support.write_torch_file({"t": support.Tensor("1", base, offset, shape, strides)})
            self.refuses(data, "storage of 4 elements")

    def test_negative_and_absurd_numbers(self):
        base = np.zeros(4, np.float32)
        for offset, shape, strides in ((-1, (1,), (1,)), (0, (-1,), (1,)), (0, (2,), (-1,)), (0, (1,), (1, 1)), (0, (1,) * 9, (1,) * 9)):
            self.refuses(support.write_torch_file({"t": support.Tensor("1", base, offset, shape, strides)}), "state dict: ")

    def test_storage_larger_than_the_file(self):
        class Huge(np.ndarray):
            size = 2**40

        self.refuses(support.write_torch_file({"t": support.Tensor("1", np.zeros(1, np.float32).view(Huge))}), "more than the file can hold")

    def test_every_truncation(self):
        data = support.write_torch_file({"a": np.arange(5, dtype=np.float32)})
        for length in range(len(data)):
            with self.assertRaises(FormatError, msg=f"{length} bytes"):
                load_state_dict(data[:length])

    def test_other_files(self):
        self.refuses(b"", "magic number")
        self.refuses(b"PK\x03\x04 a zip file", "magic number")
        self.refuses(support.write_torch_file({}, magic=1), "wrong magic number")
        self.refuses(support.write_torch_file({}, system={"little_endian": False}), "big-endian")
        self.refuses(support.write_torch_file({"a": np.zeros(1, np.float32)}, keys=["x"]), "does not match")
        self.refuses(header() + pickle.dumps([1], 2) + pickle.dumps([], 2), "holds a list")
        self.refuses(header() + pickle.dumps({"a": 1}, 2) + pickle.dumps([], 2), "'a' is not a tensor")


if __name__ == "__main__":
    unittest.main()
