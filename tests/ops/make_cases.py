#!/usr/bin/env python3
"""Writes cases.txt: what onnxruntime answers for one-node models, for the tests of the CPU references.

A case is one line "case NAME", one line a tensor ("in" or "out", dtype, dims, values; "none" for an absent input) in the
order of the node. tests/ops/cases_test.cpp gives the operator of each name. Needs onnx, onnxruntime, numpy:
    python tests/ops/make_cases.py > tests/ops/cases.txt
"""
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

RNG = np.random.default_rng(20240611)
TYPES = {
    np.dtype(np.float32): ("f32", TensorProto.FLOAT),
    np.dtype(np.float16): ("f16", TensorProto.FLOAT16),
    np.dtype(np.float64): ("f64", TensorProto.DOUBLE),
    np.dtype(np.int8): ("i8", TensorProto.INT8),
    np.dtype(np.uint8): ("u8", TensorProto.UINT8),
    np.dtype(np.int32): ("i32", TensorProto.INT32),
    np.dtype(np.int64): ("i64", TensorProto.INT64),
    np.dtype(np.bool_): ("bool", TensorProto.BOOL),
}


def f32(*dims):
    """Random values in quarters: exact in few digits."""
    return (RNG.integers(-16, 17, dims) / 4).astype(np.float32)


def i64(*values):
    return np.array(values, np.int64)


def value_text(v):
    return str(int(v)) if isinstance(v, (np.integer, np.bool_)) else repr(float(v))


def tensor_line(tag, array):
    array = np.asarray(array)
    name, _ = TYPES[array.dtype]
    dims = "x".join(map(str, array.shape)) or "scalar"
    return " ".join([tag, name, dims] + [value_text(v) for v in array.ravel()])


def case(name, op_type, inputs, opset=17, outputs=1, **attributes):
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, **attributes)
    given = [(n, np.asarray(x)) for n, x in zip(names, inputs) if x is not None]
    graph = helper.make_graph(
        [node], name,
        [helper.make_tensor_value_info(n, TYPES[x.dtype][1], x.shape) for n, x in given],
        [onnx.ValueInfoProto(name=r) for r in results])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8 if opset < 20 else 10
    model = onnx.shape_inference.infer_shapes(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers = session.run(None, dict(given))
    print("case", name)
    for x in inputs:
        print("in none" if x is None else tensor_line("in", x))
    for y in answers:
        print(tensor_line("out", y))


SPECIAL = np.array([-np.inf, -3.5, -2.5, -1.5, -0.5, -0.25, 0, 0.25, 0.5, 1.5, 2.5, 3.5, 7, np.inf, np.nan], np.float32)
X33 = f32(3, 3)
X2344 = f32(2, 3, 4, 4)


def movement():
    x = f32(2, 3)
    case("pad_constant", "Pad", [x, i64(1, 0, 0, 2), np.float32(1.5)])
    case("pad_crop", "Pad", [f32(3, 4), i64(-1, 1, 0, -2)])
    case("pad_reflect", "Pad", [f32(3, 4), i64(2, 1, 1, 3)], mode="reflect")
    case("pad_edge", "Pad", [f32(2, 2), i64(1, 2, 0, 1)], mode="edge")
    case("pad_wrap", "Pad", [f32(2, 3), i64(1, 2, 3, 1)], opset=19, mode="wrap")
    case("pad_axes", "Pad", [f32(2, 3, 2), i64(1, 2), None, i64(-2)], opset=18)
    case("pad_i64", "Pad", [i64(1, 2, 3), i64(1, 1), np.int64(7)])
    case("slice_negative_step", "Slice", [f32(4, 5), i64(-1, 4), i64(-100, 0), i64(0, 1), i64(-1, -2)])
    case("slice_clamped", "Slice", [f32(4, 5), i64(-9, 2), i64(100, 9), i64(1, 0)])
    case("slice_empty", "Slice", [f32(4, 5), i64(3), i64(1), i64(0)])
    case("slice_default_axes", "Slice", [f32(4, 5), i64(1, 1), i64(3, -1)])
    case("gather_negative", "Gather", [f32(3, 4), i64(-1, 0)], axis=1)
    case("gather_matrix", "Gather", [f32(3, 2), np.array([[0, 2], [1, 1]], np.int32)], axis=0)
    case("gather_scalar", "Gather", [i64(4, 5, 6), np.int64(1)], axis=0)
    case("transpose", "Transpose", [f32(2, 3, 4)], perm=[2, 0, 1])
    case("transpose_default", "Transpose", [f32(2, 3)])
    case("concat", "Concat", [f32(2, 1, 2), f32(2, 3, 2)], axis=-2)
    case("split_uneven", "Split", [f32(7, 2)], opset=18, outputs=3, axis=0, num_outputs=3)
    case("split_sizes", "Split", [f32(2, 5), i64(1, 4)], outputs=2, axis=1)
    case("tile", "Tile", [f32(2, 3), i64(2, 3)])
    case("expand", "Expand", [f32(3, 1), i64(2, 1, 4)])
    case("shape_part", "Shape", [f32(2, 3, 4)], start=-2, end=100)
    case("range_f32", "Range", [np.float32(1), np.float32(3.2), np.float32(0.5)])
    case("range_down", "Range", [np.int64(5), np.int64(-4), np.int64(-3)])
    case("flatten_negative", "Flatten", [f32(2, 3, 2)], axis=-1)
    case("reshape_zero", "Reshape", [f32(2, 3, 4), i64(0, -1, 2)])


def elementwise():
    unary = [("HardSigmoid", {}), ("HardSigmoid_set", dict(alpha=0.5, beta=0.25)), ("HardSwish", {}), ("Softplus", {}), ("Softsign", {}),
             ("Elu", dict(alpha=1.5)), ("LeakyRelu", dict(alpha=0.1)), ("Erf", {}), ("Sign", {}), ("Round", {}), ("Floor", {}), ("Ceil", {}),
             ("Sigmoid", {}), ("Tanh", {}), ("Relu", {}), ("Abs", {}), ("Reciprocal", {}), ("IsNaN", {})]
    finite = np.where(np.isnan(SPECIAL), np.float32(-7), SPECIAL)
    for name, attributes in unary:
        op_type = name.split("_")[0]
        keeps_nan = op_type in ("Round", "IsNaN", "Floor", "Ceil", "Abs")
        case(name.lower(), op_type, [SPECIAL if keeps_nan else finite[1:-2]], **attributes)
    case("mish", "Mish", [finite[1:-2]], opset=18)
    case("gelu", "Gelu", [finite[1:-2]], opset=20)
    case("gelu_tanh", "Gelu", [finite[1:-2]], opset=20, approximate="tanh")
    case("exp_f64", "Exp", [np.array([-1, 0, 0.5], np.float64)])
    case("clip", "Clip", [SPECIAL[:-1], np.float32(-1), np.float32(2)])
    case("clip_no_max", "Clip", [SPECIAL[:-2], np.float32(-1)])
    case("clip_i64", "Clip", [i64(-5, 0, 5), None, np.int64(3)])
    case("neg_i32", "Neg", [np.array([-2, 0, 3], np.int32)])
    case("not", "Not", [np.array([True, False])])
    a, b = i64(7, -7, 7, -7, 6), i64(3, 3, -3, -3, 3)
    case("mod", "Mod", [a, b])
    case("fmod_i64", "Mod", [a, b], fmod=1)
    case("mod_i8", "Mod", [a.astype(np.int8), b.astype(np.int8)])
    case("fmod", "Mod", [np.array([5.3, -5.3, 5.3, -5.3], np.float32), np.array([2, 2, -2, -2], np.float32)], fmod=1)
    case("div_i64", "Div", [a, b])
    case("div_zero", "Div", [np.array([1, -1, 0], np.float32), np.array([0, 0, 0], np.float32)])
    case("add_wrap", "Add", [np.array([100, -100], np.int8), np.array([100, -100], np.int8)])
    case("mul_f16", "Mul", [np.array([[1.5], [2.25]], np.float16), np.array([3, 0.1, 1000], np.float16)])
    case("sub_f64", "Sub", [np.array([1.0, 2.5]), np.array([[0.1], [0.2]])])
    case("pow_mixed", "Pow", [np.array([1.5, -2, 3], np.float32), i64(2, 3, 0)])
    case("pow_i64", "Pow", [i64(2, -3, 5), i64(10, 3, 0)])
    case("min_nan", "Min", [np.array([1, np.nan, 2], np.float32), np.array([0, 1, np.nan], np.float32)])
    case("max_broadcast", "Max", [f32(2, 1, 3), f32(4, 1)])
    case("prelu", "PRelu", [f32(1, 2, 2, 2), f32(2, 1, 1)])
    case("equal_bool", "Equal", [np.array([True, False]), np.array([True, True])])
    case("less", "Less", [f32(2, 3), f32(3)])
    case("greater_equal_i64", "GreaterOrEqual", [i64(1, 2, 3), i64(2)])
    case("xor", "Xor", [np.array([True, False, True, False]), np.array([True, True, False, False])])
    case("where", "Where", [np.array([[True], [False]]), f32(3), f32(2, 1)])
    case("batch_norm", "BatchNormalization", [f32(2, 3, 2), f32(3), f32(3), f32(3), np.abs(f32(3)) + np.float32(0.5)], epsilon=1e-3)
    case("cast_f32_i32", "Cast", [np.array([-2.9, -0.5, 0.5, 2.9], np.float32)], to=TensorProto.INT32)
    case("cast_f32_u8", "Cast", [np.array([0.9, 1.0, 254.7], np.float32)], to=TensorProto.UINT8)
    case("cast_f32_bool", "Cast", [np.array([0, -0.0, 0.25, np.nan], np.float32)], to=TensorProto.BOOL)
    case("cast_f32_f16", "Cast", [np.array([1.00048828125, 1.00146484375, 70000, 1e-8, 6e-8], np.float32)], to=TensorProto.FLOAT16)
    case("cast_i32_i8", "Cast", [np.array([127, 128, -129, 300], np.int32)], to=TensorProto.INT8)
    case("cast_i64_f16", "Cast", [i64(1, 2049, -5)], to=TensorProto.FLOAT16)
    case("cast_bool_f32", "Cast", [np.array([True, False])], to=TensorProto.FLOAT)


def reductions():
    x = f32(2, 3, 4)
    for name in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp"):
        case("reduce_" + name.lower(), "Reduce" + name, [x] + ([i64(-1, 0)] if name == "Sum" else []), **({} if name == "Sum" else {"axes": [-1, 0]}))
    case("reduce_log_sum", "ReduceLogSum", [np.abs(x) + np.float32(1)], keepdims=0, axes=[1])
    case("reduce_all", "ReduceMean", [x], keepdims=0)
    case("reduce_axes_input", "ReduceMax", [x, i64(1)], opset=18, keepdims=0)
    case("reduce_noop", "ReduceSum", [x], noop_with_empty_axes=1)
    case("reduce_mean_i32", "ReduceMean", [np.array([[1, 2, 4], [-1, -2, -4]], np.int32)], axes=[1])
    case("reduce_prod_i64", "ReduceProd", [i64(2, 3, -4)], keepdims=0)
    case("reduce_lse_large", "ReduceLogSumExp", [np.array([1000, 1000.5, 999], np.float32)])
    case("softmax", "Softmax", [x * np.float32(20)], axis=1)
    case("softmax_old", "Softmax", [x], opset=11, axis=1)
    case("log_softmax", "LogSoftmax", [x], axis=-1)
    case("log_softmax_old", "LogSoftmax", [x], opset=11, axis=2)
    case("global_average", "GlobalAveragePool", [X2344])
    case("global_max", "GlobalMaxPool", [X2344])


def windows():
    image = f32(1, 2, 7, 6)
    case("max_pool_ceil", "MaxPool", [image], kernel_shape=[3, 2], strides=[3, 4], pads=[1, 0, 1, 1], ceil_mode=1)
    case("max_pool_dilated", "MaxPool", [image], kernel_shape=[2, 3], dilations=[3, 2], strides=[1, 2])
    case("max_pool_same_lower", "MaxPool", [image], kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_LOWER")
    case("max_pool_i8", "MaxPool", [RNG.integers(-100, 100, (1, 1, 4, 4)).astype(np.int8)], kernel_shape=[2, 2], strides=[2, 2])
    case("average_pool", "AveragePool", [image], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    case("average_pool_include", "AveragePool", [image], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    case("average_pool_ceil", "AveragePool", [image], opset=19, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    case("average_pool_same_upper", "AveragePool", [image], kernel_shape=[2, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    case("average_pool_1d", "AveragePool", [f32(2, 2, 9)], kernel_shape=[4], strides=[3])
    case("average_pool_3d", "AveragePool", [f32(1, 1, 3, 4, 3)], kernel_shape=[2, 2, 2])
    case("conv_same_upper", "Conv", [f32(1, 2, 6, 7), f32(3, 2, 3, 2), f32(3)], strides=[2, 3], auto_pad="SAME_UPPER")
    case("conv_same_lower", "Conv", [f32(1, 2, 6, 7), f32(3, 2, 3, 2)], strides=[2, 1], auto_pad="SAME_LOWER")
    case("conv_valid", "Conv", [f32(1, 1, 5, 5), f32(1, 1, 2, 2)], auto_pad="VALID")
    case("conv_asymmetric", "Conv", [f32(1, 4, 5, 5), f32(4, 2, 3, 3), f32(4)], group=2, pads=[0, 1, 2, 0], dilations=[1, 2])
    case("conv_1d", "Conv", [f32(2, 2, 9), f32(2, 1, 4)], group=2, pads=[2, 1], strides=[2])
    case("conv_3d", "Conv", [f32(1, 2, 3, 4, 3), f32(2, 2, 2, 2, 2)], pads=[1, 0, 0, 0, 1, 1])


def matrices():
    case("gemm", "Gemm", [f32(2, 3), f32(3, 4), f32(4)], alpha=0.5, beta=2.0)
    case("gemm_transposed", "Gemm", [f32(3, 2), f32(4, 3), f32(2, 1)], transA=1, transB=1)
    case("matmul", "MatMul", [f32(2, 1, 3, 4), f32(5, 4, 2)])
    case("matmul_vectors", "MatMul", [f32(4), f32(4)])
    case("matmul_row", "MatMul", [f32(3), f32(2, 3, 2)])
    case("matmul_column", "MatMul", [f32(2, 2, 3), f32(3)])
    case("matmul_i64", "MatMul", [i64(1, 2, 3, 4).reshape(2, 2), i64(-1, 2, 3, 5).reshape(2, 2)])


def normalisation():
    x = f32(2, 3, 4) + np.float32(3)
    case("layer_norm", "LayerNormalization", [x, f32(4), f32(4)])
    case("layer_norm_axis_1", "LayerNormalization", [x, f32(3, 4)], axis=1, epsilon=1e-3)
    case("layer_norm_broadcast", "LayerNormalization", [x, f32(3, 1), f32(4)], axis=-2)
    case("rms_norm", "RMSNormalization", [x, f32(4)], opset=23, axis=-1, epsilon=1e-5)
    case("group_norm", "GroupNormalization", [f32(2, 6, 3, 2), f32(6), f32(6)], opset=21, num_groups=3)
    case("instance_norm", "InstanceNormalization", [f32(2, 3, 4, 2), f32(3), f32(3)], epsilon=1e-2)


def resizing():
    x = f32(1, 2, 5, 6)

    def sizes(*hw):
        return [x, None, None, i64(1, 2, *hw)]

    def scales(*hw):
        return [x, None, np.array([1, 1, *hw], np.float32)]

    for mode in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        for coordinates in ("half_pixel", "asymmetric", "align_corners"):
            case(f"resize_nearest_{mode}_{coordinates}", "Resize", sizes(7, 3), mode="nearest", nearest_mode=mode,
                 coordinate_transformation_mode=coordinates)
    for coordinates in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
        case(f"resize_linear_{coordinates}", "Resize", scales(2.0, 0.6), mode="linear", coordinate_transformation_mode=coordinates)
        case(f"resize_cubic_{coordinates}", "Resize", scales(1.5, 0.5), mode="cubic", coordinate_transformation_mode=coordinates)
    case("resize_linear_symmetric", "Resize", scales(2.3, 0.7), opset=19, mode="linear", coordinate_transformation_mode="half_pixel_symmetric")
    case("resize_cubic_outside", "Resize", sizes(9, 4), mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5)
    case("resize_pytorch_one", "Resize", sizes(1, 9), mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
    case("resize_axes", "Resize", [x, None, None, i64(9, 7)], opset=18, mode="linear", axes=[3, 2])
    case("resize_not_larger", "Resize", [x, None, None, i64(8, 9)], opset=18, mode="linear", axes=[2, 3], keep_aspect_ratio_policy="not_larger")
    case("resize_not_smaller", "Resize", [x, None, None, i64(8, 9)], opset=18, mode="nearest", axes=[2, 3],
         keep_aspect_ratio_policy="not_smaller")
    case("resize_old_nearest", "Resize", [x, np.array([1, 1, 1.6, 0.6], np.float32)], opset=10)
    case("resize_i32", "Resize", [np.arange(8, dtype=np.int32).reshape(1, 1, 2, 4), None, np.array([1, 1, 2, 2], np.float32)])
    case("upsample", "Upsample", [x, np.array([1, 1, 2, 3], np.float32)], opset=9, mode="linear")


def transposed():
    x, w = f32(1, 4, 3, 5), f32(4, 3, 3, 2)
    case("conv_transpose", "ConvTranspose", [x, w, f32(3)], strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 2])
    case("conv_transpose_groups", "ConvTranspose", [f32(2, 4, 4, 4), f32(4, 2, 3, 3)], group=2, dilations=[2, 1])
    case("conv_transpose_shape", "ConvTranspose", [x, w], strides=[2, 2], output_shape=[6, 9])
    case("conv_transpose_same_upper", "ConvTranspose", [x, w], strides=[2, 2], auto_pad="SAME_UPPER")
    case("conv_transpose_same_lower", "ConvTranspose", [x, w], strides=[2, 1], auto_pad="SAME_LOWER")
    case("conv_transpose_1d", "ConvTranspose", [f32(1, 2, 5), f32(2, 3, 4)], strides=[3], pads=[2, 1])
    case("conv_transpose_3d", "ConvTranspose", [f32(1, 2, 2, 3, 2), f32(2, 1, 2, 2, 3)], strides=[2, 1, 2])


def indexing():
    x = f32(3, 4, 2)
    case("arg_max", "ArgMax", [x], axis=1)
    case("arg_min_last", "ArgMin", [np.array([[1, 0, 0], [2, 2, 2]], np.float32)], axis=-1, keepdims=0, select_last_index=1)
    case("arg_max_i32", "ArgMax", [np.array([[1, 5], [7, 2]], np.int32)], axis=0)
    case("top_k", "TopK", [x, i64(3)], outputs=2, axis=1)
    case("top_k_smallest", "TopK", [np.array([3, 1, 2, 1, 0], np.float32), i64(4)], outputs=2, largest=0)
    case("top_k_i64", "TopK", [i64(3, 9, 9, -1), i64(2)], outputs=2)
    case("cum_sum", "CumSum", [x, np.int64(1)])
    case("cum_sum_reverse", "CumSum", [i64(1, 2, 3, 4), np.int64(0)], exclusive=1, reverse=1)
    case("gather_elements", "GatherElements", [x, np.array([[[0, 2], [-1, 1]]], np.int64)], axis=0)
    case("gather_nd", "GatherND", [x, np.array([[0, 1], [2, -1]], np.int64)])
    case("gather_nd_batch", "GatherND", [x, np.array([[1], [0], [3]], np.int64)], batch_dims=1)
    case("scatter_nd", "ScatterND", [x, np.array([[0, 1], [2, 3]], np.int64), f32(2, 2)])
    case("trilu", "Trilu", [f32(2, 3, 4)], upper=1)
    case("trilu_lower", "Trilu", [f32(4, 3), np.int64(-1)], upper=0)


if __name__ == "__main__":
    print(f"# made by make_cases.py with onnxruntime {ort.__version__}, onnx {onnx.__version__}; do not edit")
    for group in (movement, elementwise, reductions, windows, matrices, normalisation, resizing, transposed, indexing):
        group()
    sys.stdout.flush()
