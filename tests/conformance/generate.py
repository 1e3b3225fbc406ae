"""Writes the node tests of the installed Python package `onnx` in the form that conformance_test reads, newest operator versions included.

  python tests/conformance/generate.py build/onnx_node_tests
  ONNX_NODE_TESTS=build/onnx_node_tests build/release/tests/conformance/conformance_test

One folder a test: model.onnx, test_data_set_0/input_0.pb, ..., output_0.pb, ... Tests with values other than tensors are left out. Made with
onnx 1.23.2, whose node tests exist only as Python; needs that package, numpy and ml_dtypes.
"""

import pathlib
import sys
import warnings

try:
    import onnx
    from onnx import numpy_helper
    from onnx.backend.test.loader import load_node_model_tests
except ImportError as error:
    sys.exit(f"tests/conformance/generate.py needs the Python package onnx, 1.23 or newer, with its backend tests: {error}")


def write_tensors(folder, kind, values, ports):
    for index, (value, port) in enumerate(zip(values, ports)):
        tensor = value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(value, port.name)
        (folder / f"{kind}_{index}.pb").write_bytes(tensor.SerializeToString())


def write_test(test, folder):
    data = folder / test.name / "test_data_set_0"
    data.mkdir(parents=True, exist_ok=True)
    inputs, outputs = test.data_sets[0]
    write_tensors(data, "input", inputs, test.model.graph.input)
    write_tensors(data, "output", outputs, test.model.graph.output)
    (folder / test.name / "model.onnx").write_bytes(test.model.SerializeToString())


def has_only_tensors(test):
    graph = test.model.graph
    return all(port.type.HasField("tensor_type") for port in (*graph.input, *graph.output))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    warnings.filterwarnings("ignore")
    folder = pathlib.Path(sys.argv[1])
    tests = load_node_model_tests()
    written = [test for test in tests if has_only_tensors(test)]
    for test in written:
        write_test(test, folder)
    print(f"{len(written)} of {len(tests)} node tests of onnx {onnx.__version__} in {folder}")


if __name__ == "__main__":
    main()
