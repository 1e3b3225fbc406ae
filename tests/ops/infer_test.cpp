// Binding and shape inference: batch at any axis, broadcasting, every attribute check.
#include <cmath>

#include "tests/ops/support.h"

namespace fcm::ops::testing {
namespace {

constexpr ErrorCode kBad = ErrorCode::bad_input;
constexpr ErrorCode kUnsupported = ErrorCode::unsupported;

Dim times(int64_t c) {
  return {c, true};
}

Reshape form(Reshape::Form f) {
  Reshape op;
  op.form = f;
  return op;
}

Shape reshaped(Shape x, std::vector<Dim> target) {
  return check(Reshape{}, {Input::of(std::move(x)), Input::symbolic(std::move(target))}).shape();
}

TEST(Infer, ReshapeTargets) {
  EXPECT_EQ(reshaped({B, 1280, 1, 1}, {-1, 1280}), (Shape{B, 1280}));
  EXPECT_EQ(reshaped({B, 196, 192}, {B, 196, 3, -1}), (Shape{B, 196, 3, 64}));
  EXPECT_EQ(reshaped({B, 8, 8, 96}, {B, 2, 4, 2, 4, 96}), (Shape{B, 2, 4, 2, 4, 96}));
  EXPECT_EQ(reshaped({B, 2, 2, 4, 4, 96}, {-1, 16, 96}), (Shape{times(4), 16, 96}));  // window partition
  EXPECT_EQ(reshaped({times(4), 16, 96}, {-1, 2, 2, 4, 4, 96}), (Shape{B, 2, 2, 4, 4, 96}));
  EXPECT_EQ(reshaped({B, 6, 4}, {0, 0, -1}), (Shape{B, 6, 4}));
  EXPECT_EQ(reshaped({B, 116, 28, 28}, {0, 2, 58, 28, 28}), (Shape{B, 2, 58, 28, 28}));  // channel shuffle
  EXPECT_EQ(reshaped({2, 3}, {-1}), (Shape{6}));
  Reshape keeps_zero;
  keeps_zero.allow_zero = true;
  EXPECT_EQ(check(keeps_zero, {Input::of({0, 3}), Input::list({3, 0})}).shape(), (Shape{3, 0}));
}

TEST(Infer, ReshapeNamesABakedBatch) {
  const std::string message = error_of(kBad, [] { reshaped({B, 1280, 1, 1}, {1, 1280}); });
  EXPECT_NE(message.find("batch is baked as 1 in Reshape the_node"), std::string::npos) << message;
  EXPECT_NE(error_of(kBad, [] { reshaped({B, 12}, {4, 12}); }).find("batch is baked as 4"), std::string::npos);
}

TEST(Infer, ReshapeErrors) {
  error_of(kBad, [] { reshaped({2, 3}, {-1, -1}); });
  error_of(kBad, [] { reshaped({2, 3}, {4, -1}); });
  error_of(kBad, [] { reshaped({2, 3}, {5}); });
  error_of(kBad, [] { reshaped({2, 3}, {-2, 3}); });
  error_of(kBad, [] { reshaped({2, 3}, {2, 3, 0}); });
  error_of(kBad, [] { reshaped({2, 3}, {0, 3, 0}); });
  error_of(kBad, [] { reshaped({2, 3}, {B, 3}); });
  error_of(kUnsupported, [] { check(Reshape{}, {Input::of({B, 3}), Input::of({2}, DType::i64)}); });
  error_of(kBad, [] { check(Reshape{}, {Input::of({B, 3})}); });
}

TEST(Infer, FlattenSqueezeUnsqueeze) {
  EXPECT_EQ(check(form(Reshape::Form::flatten), {Input::of({B, 1280, 2, 1})}).shape(), (Shape{B, 2560}));
  Reshape all = form(Reshape::Form::flatten);
  all.axis = 0;
  EXPECT_EQ(check(all, {Input::of({B, 4})}).shape(), (Shape{1, times(4)}));
  all.axis = 3;
  error_of(kBad, [&] { check(all, {Input::of({B, 4})}); });
  EXPECT_EQ(check(form(Reshape::Form::squeeze), {Input::of({B, 8, 1, 1}), Input::list({-1, 2})}).shape(), (Shape{B, 8}));
  EXPECT_EQ(check(form(Reshape::Form::squeeze), {Input::of({B, 8, 1, 1})}).shape(), (Shape{B, 8}));
  error_of(kBad, [] { check(form(Reshape::Form::squeeze), {Input::of({B, 8}), Input::list({1})}); });
  EXPECT_NE(error_of(kBad,
                     [] {
                       check(form(Reshape::Form::squeeze), {Input::of({B, 8}), Input::list({0})});
                     })
                .find("baked as 1"),
            std::string::npos);
  EXPECT_EQ(check(form(Reshape::Form::unsqueeze), {Input::of({B, 8}), Input::list({-1, 1})}).shape(), (Shape{B, 1, 8, 1}));
  error_of(kBad, [] { check(form(Reshape::Form::unsqueeze), {Input::of({B, 8}), Input::list({1, 1})}); });
  error_of(kBad, [] { check(form(Reshape::Form::unsqueeze), {Input::of({B, 8})}); });
}

TEST(Infer, MadeUpSizesAreRefused) {
  const int64_t huge = int64_t{1} << 40;
  const auto expanded = [](std::vector<int64_t> target) {
    return check(Expand{}, {Input::of({B, 1, 1}), Input::list(std::move(target))}).shape();
  };
  EXPECT_EQ(expanded({1, 2048, 2048}), (Shape{B, 2048, 2048}));
  EXPECT_NE(error_of(kBad,
                     [&] {
                       expanded({1, 1, huge});
                     })
                .find("[B,1,1099511627776]; dimensions from 0 to 2147483647"),
            std::string::npos);
  EXPECT_NE(error_of(kBad, [&] { expanded({1, 1 << 30, 1 << 30}); }).find("elements are accepted"), std::string::npos);
  Conv padded;
  padded.window.pads_begin = padded.window.pads_end = {1 << 30, 1 << 30};
  error_of(kBad, [&] { check(padded, {Input::of({B, 3, 4, 4}), Input::of({3, 3, 1, 1})}); });
}

TEST(Infer, Broadcasting) {
  const auto shape = [](Shape a, Shape b) { return check(Binary{}, {Input::of(std::move(a)), Input::of(std::move(b))}).shape(); };
  EXPECT_EQ(shape({B, 8, 1, 1}, {8, 7, 7}), (Shape{B, 8, 7, 7}));
  EXPECT_EQ(shape({1, 196, 3}, {B, 196, 3}), (Shape{B, 196, 3}));
  EXPECT_EQ(shape({times(4), 3, 16, 16}, {1, 3, 16, 16}), (Shape{times(4), 3, 16, 16}));
  EXPECT_EQ(shape({}, {B}), (Shape{B}));
  EXPECT_EQ(shape({0}, {1}), (Shape{0}));
  EXPECT_NE(error_of(kBad, [&] { shape({B, 3}, {2, 3}); }).find("baked"), std::string::npos);
  error_of(kBad, [&] { shape({B, 3}, {4}); });
  error_of(kBad, [&] { shape({times(2), 3}, {B, 3}); });
  EXPECT_EQ(check(Select{}, {Input::of({B, 1}, DType::boolean), Input::of({3}), Input::of({})}).shape(), (Shape{B, 3}));
}

TEST(Infer, Elementwise) {
  using Part = Elementwise::Part;
  const Elementwise op{{Part{BinaryFn::mul, 0, 1, {}}, Part{{}, 2, 0, {UnaryFn::exp}}}};
  EXPECT_EQ(check(op, {Input::of({B, 1, 4}), Input::of({3, 1})}).shape(), (Shape{B, 3, 4}));
  error_of(kBad, [&] { check(op, {Input::of({2}), Input::of({2}, DType::f16)}); });
  error_of(kBad, [&] { check(op, {Input::of({2}, DType::i64), Input::of({2}, DType::i64)}); });
  error_of(kBad, [] { check(Elementwise{}, {Input::of({2})}); });
  error_of(kBad, [] { check(Elementwise{{Part{{}, 1, 0, {UnaryFn::exp}}}}, {Input::of({2})}); });  // of itself
  error_of(kBad, [] { check(Elementwise{{Part{BinaryFn::less, 0, 0, {}}}}, {Input::of({2})}); });
}

TEST(Infer, Types) {
  const auto two = [](BinaryFn fn, DType a, DType b) {
    return check(Binary{fn, {}}, {Input::of({2}, a), Input::of({2}, b)}).outputs[0].dtype;
  };
  EXPECT_EQ(two(BinaryFn::less, DType::i64, DType::i64), DType::boolean);
  EXPECT_EQ(two(BinaryFn::pow, DType::f32, DType::i64), DType::f32);
  error_of(kBad, [&] { two(BinaryFn::add, DType::f32, DType::f16); });
  error_of(kBad, [&] { two(BinaryFn::logical_and, DType::i64, DType::i64); });
  error_of(kBad, [&] { two(BinaryFn::add, DType::boolean, DType::boolean); });
  error_of(kBad, [] { check(UnaryOp{{UnaryFn::sigmoid, 0, 0}}, {Input::of({2}, DType::i32)}); });
  error_of(kBad, [] { check(UnaryOp{{UnaryFn::logical_not, 0, 0}}, {Input::of({2})}); });
  EXPECT_EQ(check(UnaryOp{{UnaryFn::is_nan, 0, 0}}, {Input::of({2})}).outputs[0].dtype, DType::boolean);
  error_of(kBad, [] { check(Softmax{}, {Input::of({2, 2}, DType::i32)}); });
  error_of(kBad, [] { check(Select{}, {Input::of({2}), Input::of({2}), Input::of({2})}); });
}

// The form of opsets before 13 flattens the axes from its own on: of the last axis that is the newer form.
TEST(Infer, SoftmaxOfTheLastAxisIsOneForm) {
  const auto flattens = [](int64_t axis, Shape shape) {
    return std::get<Softmax>(check(Softmax{axis, false, true}, {Input::of(std::move(shape))}).node.op).flatten_from_axis;
  };
  EXPECT_FALSE(flattens(1, {B, 10}));
  EXPECT_FALSE(flattens(-1, {B, 4, 10}));
  EXPECT_TRUE(flattens(1, {B, 4, 10}));
}

Conv conv(Ints strides = {}, Ints begin = {}, Ints end = {}, int64_t group = 1) {
  return {{{}, std::move(strides), {}, std::move(begin), std::move(end), AutoPad::explicit_pads}, group, {}, false};
}

TEST(Infer, Convolution) {
  const Checked stem = check(conv({2, 2}, {0, 0}, {1, 1}), {Input::of({B, 3, 224, 224}), Input::of({32, 3, 3, 3}), Input::of({32})});
  EXPECT_EQ(stem.shape(), (Shape{B, 32, 112, 112}));
  EXPECT_EQ(std::get<Conv>(stem.node.op).window.kernel, (Ints{3, 3}));
  Conv same = conv({2, 2});
  same.window.auto_pad = AutoPad::same_lower;
  const Checked bound = check(same, {Input::of({B, 3, 224, 224}), Input::of({32, 3, 3, 3})});
  EXPECT_EQ(std::get<Conv>(bound.node.op).window.pads_begin, (Ints{1, 1}));
  EXPECT_EQ(std::get<Conv>(bound.node.op).window.pads_end, (Ints{0, 0}));
  EXPECT_EQ(std::get<Conv>(bound.node.op).window.auto_pad, AutoPad::explicit_pads);
  EXPECT_EQ(check(conv({}, {}, {}, 4), {Input::of({times(4), 8, 5}), Input::of({12, 2, 3})}).shape(), (Shape{times(4), 12, 3}));
}

TEST(Infer, ConvolutionErrors) {
  const Input x = Input::of({B, 8, 6, 6});
  error_of(kBad, [&] { check(conv(), {x, Input::of({4, 3, 3, 3})}); });
  error_of(kBad, [&] { check(conv({}, {}, {}, 3), {x, Input::of({4, 3, 3, 3})}); });
  error_of(kBad, [&] { check(conv({}, {}, {}, 0), {x, Input::of({4, 8, 3, 3})}); });
  error_of(kBad, [&] { check(conv({}, {}, {}, 8), {x, Input::of({9, 1, 3, 3})}); });
  error_of(kBad, [&] { check(conv({0, 1}), {x, Input::of({4, 8, 3, 3})}); });
  error_of(kBad, [&] { check(conv({1}), {x, Input::of({4, 8, 3, 3})}); });
  error_of(kBad, [&] { check(conv({}, {-1, 0}, {0, 0}), {x, Input::of({4, 8, 3, 3})}); });
  error_of(kBad, [&] { check(conv(), {x, Input::of({4, 8, 7, 7})}); });
  error_of(kBad, [&] { check(conv(), {x, Input::of({4, 8, 3})}); });
  error_of(kBad, [&] { check(conv(), {x, Input::of({4, 8, 3, 3}), Input::of({5})}); });
  error_of(kBad, [&] { check(conv(), {x, Input::of({4, 8, 3, 3}), Input::none(), Input::of({B, 4, 6, 6})}); });
  error_of(kBad, [&] { check(conv(), {Input::of({}), Input::of({4, 8, 3, 3})}); });
  error_of(kBad, [&] { check(conv(), {x}); });
  error_of(kBad, [&] { check(conv(), {x, Input::of({4, 8, 3, 3}, DType::f16)}); });
  error_of(kUnsupported, [&] { check(conv(), {Input::of({1, 8, B, 6}), Input::of({4, 8, 3, 3})}); });
  Conv kernel = conv();
  kernel.window.kernel = {5, 5};
  error_of(kBad, [&] { check(kernel, {x, Input::of({4, 8, 3, 3})}); });
}

TEST(Infer, PoolingErrors) {
  Pool op;
  error_of(kBad, [&] { check(op, {Input::of({B, 3, 8, 8})}); });  // no kernel
  op.window.kernel = {2, 2};
  op.window.pads_begin = {2, 0};
  error_of(kBad, [&] { check(op, {Input::of({B, 3, 8, 8})}); });
  op.window.pads_begin = {};
  EXPECT_EQ(check(op, {Input::of({B, 3, 8, 8}, DType::u8)}).shape(), (Shape{B, 3, 7, 7}));
  op.fn = PoolFn::average;
  error_of(kBad, [&] { check(op, {Input::of({B, 3, 8, 8}, DType::u8)}); });
  error_of(kBad, [&] { check(GlobalPool{}, {Input::of({B, 3})}); });
}

TEST(Infer, Products) {
  Gemm head;
  head.trans_b = true;
  EXPECT_EQ(check(head, {Input::of({B, 1280}), Input::of({1000, 1280}), Input::of({1000})}).shape(), (Shape{B, 1000}));
  error_of(kBad, [&] { check(head, {Input::of({B, 1280}), Input::of({1280, 1000})}); });
  error_of(kBad, [&] { check(head, {Input::of({B, 1280, 1}), Input::of({1000, 1280})}); });
  error_of(kBad, [&] { check(head, {Input::of({B, 1280}), Input::of({1000, 1280}), Input::of({2, 1000})}); });
  error_of(kBad, [&] { check(head, {Input::of({1, 1280}), Input::of({1000, 1280}), Input::of({B, 1000})}); });
  EXPECT_EQ(check(head, {Input::of({B, 197, 192}), Input::of({576, 192}), Input::of({576})}).shape(), (Shape{B, 197, 576}));
  error_of(kBad, [&] { check(head, {Input::of({B, 197, 192}), Input::of({576, 192}), Input::of({197, 576})}); });
  Gemm turned;
  turned.trans_a = true;
  error_of(kBad, [&] { check(turned, {Input::of({B, 192, 197}), Input::of({192, 576})}); });
  EXPECT_EQ(check(MatMul{}, {Input::of({B, 3, 197, 64}), Input::of({B, 3, 64, 197})}).shape(), (Shape{B, 3, 197, 197}));
  EXPECT_EQ(check(MatMul{}, {Input::of({B, 197, 192}), Input::of({192, 576})}).shape(), (Shape{B, 197, 576}));
  EXPECT_EQ(check(MatMul{}, {Input::of({5}), Input::of({B, 5, 2})}).shape(), (Shape{B, 2}));
  error_of(kBad, [] { check(MatMul{}, {Input::of({}), Input::of({2, 2})}); });
  error_of(kBad, [] { check(MatMul{}, {Input::of({2, 3}), Input::of({2, 3})}); });
}

TEST(Infer, Movement) {
  EXPECT_EQ(check(Transpose{{2, 0, 3, 1, 4}}, {Input::of({B, 197, 3, 3, 64})}).shape(), (Shape{3, B, 3, 197, 64}));
  error_of(kBad, [] { check(Transpose{{0, 0}}, {Input::of({2, 2})}); });
  error_of(kBad, [] { check(Transpose{{0, 1, 2}}, {Input::of({2, 2})}); });
  EXPECT_EQ(check(Concat{1}, {Input::of({B, 1, 4}), Input::of({B, 6, 4})}).shape(), (Shape{B, 7, 4}));
  EXPECT_EQ(check(Concat{0}, {Input::of({B, 4}), Input::of({times(2), 4})}).shape(), (Shape{times(3), 4}));
  EXPECT_NE(error_of(kBad,
                     [] {
                       check(Concat{1}, {Input::of({1, 1, 4}), Input::of({B, 6, 4})});
                     })
                .find("baked as 1 in Concat the_node"),
            std::string::npos);
  error_of(kUnsupported, [] { check(Concat{0}, {Input::of({B, 4}), Input::of({1, 4})}); });
  error_of(kBad, [] { check(Concat{0}, {Input::of({}), Input::of({})}); });
  error_of(kBad, [] { check(Concat{2}, {Input::of({2, 2})}); });
  EXPECT_EQ(check(Split{0, {}}, {Input::of({times(6), 4})}, 3).shape(2), (Shape{times(2), 4}));
  EXPECT_EQ(check(Split{-1, {}}, {Input::of({B, 7})}, 3).shape(2), (Shape{B, 1}));
  error_of(kBad, [] { check(Split{1, {2, 2}}, {Input::of({B, 5})}, 2); });
  error_of(kBad, [] { check(Split{1, {6, -1}}, {Input::of({B, 5})}, 2); });
  EXPECT_EQ(check(Gather{0}, {Input::of({3, B, 4}), Input::scalar(-1)}).shape(), (Shape{B, 4}));
  error_of(kBad, [] { check(Gather{0}, {Input::of({3, 4}), Input::scalar(3)}); });
  error_of(kBad, [] { check(Gather{0}, {Input::of({B, 4}), Input::scalar(1)}); });  // absent at batch 1
  EXPECT_EQ(check(Tile{}, {Input::of({1, 1, 192}), Input::symbolic({B, 1, 1})}).shape(), (Shape{B, 1, 192}));
  EXPECT_EQ(check(Tile{}, {Input::of({B, 2}), Input::list({3, 2})}).shape(), (Shape{times(3), 4}));
  error_of(kBad, [] { check(Tile{}, {Input::of({2, 2}), Input::list({2})}); });
  error_of(kBad, [] { check(Expand{}, {Input::of({2, 2}), Input::list({3, 2})}); });
}

Shape sliced(Shape x, std::vector<int64_t> start, std::vector<int64_t> end, std::vector<int64_t> axes, std::vector<int64_t> steps) {
  return check(Slice{}, {Input::of(std::move(x)), Input::list(std::move(start)), Input::list(std::move(end)), Input::list(std::move(axes)),
                         Input::list(std::move(steps))})
      .shape();
}

TEST(Infer, SliceOfTheBatch) {
  EXPECT_EQ(sliced({B, 8}, {0}, {INT64_MAX}, {0}, {1}), (Shape{B, 8}));
  EXPECT_EQ(sliced({B, 8}, {-1}, {INT64_MIN}, {0}, {-1}), (Shape{B, 8}));
  EXPECT_EQ(sliced({B, 8}, {0}, {1}, {0}, {1}), (Shape{1, 8}));
  EXPECT_EQ(sliced({B, 8}, {-1}, {INT64_MAX}, {0}, {1}), (Shape{1, 8}));
  EXPECT_EQ(sliced({times(4), 8}, {0}, {INT64_MAX}, {0}, {2}), (Shape{times(2), 8}));
  EXPECT_EQ(sliced({times(4), 8}, {1}, {3}, {0}, {1}), (Shape{2, 8}));
  error_of(kUnsupported, [] { sliced({B, 8}, {1}, {INT64_MAX}, {0}, {1}); });
  error_of(kUnsupported, [] { sliced({B, 8}, {0}, {3}, {0}, {1}); });
  EXPECT_EQ(check(Slice{}, {Input::of({B, 8}), Input::list({0}), Input::symbolic({B})}).shape(), (Shape{B, 8}));
  error_of(kBad, [] { sliced({B, 8}, {0}, {1}, {1}, {0}); });
  error_of(kBad, [] { sliced({B, 8}, {0}, {1}, {2}, {1}); });
  error_of(kBad, [] { sliced({B, 8}, {0, 0}, {1, 1}, {1, -1}, {1, 1}); });
  error_of(kBad, [] { sliced({}, {0}, {1}, {0}, {1}); });
}

TEST(Infer, PadErrors) {
  const auto padded = [](PadMode mode, std::vector<int64_t> pads) {
    return check(Pad{mode, false, {}, {}, 0.0f}, {Input::of({B, 4}), Input::list(std::move(pads))}).shape();
  };
  EXPECT_EQ(padded(PadMode::constant, {0, 1, 0, 2}), (Shape{B, 7}));
  EXPECT_EQ(padded(PadMode::constant, {0, -1, 0, -3}), (Shape{B, 0}));
  error_of(kUnsupported, [&] { padded(PadMode::constant, {1, 0, 0, 0}); });
  error_of(kBad, [&] { padded(PadMode::constant, {0, -3, 0, -3}); });
  error_of(kBad, [&] { padded(PadMode::reflect, {0, 4, 0, 0}); });
  error_of(kBad, [&] { padded(PadMode::constant, {0, 1}); });
  error_of(kBad, [&] { padded(PadMode::constant, {0, INT64_MIN, 0, 0}); });
  error_of(kUnsupported, [] { check(Pad{}, {Input::of({B, 4}), Input::of({4}, DType::i64)}); });
}

TEST(Infer, Reductions) {
  const auto reduced = [](Shape x, std::optional<Ints> axes, bool keep) {
    return check(Reduce{ReduceFn::mean, std::move(axes), keep, false}, {Input::of(std::move(x))}).shape();
  };
  EXPECT_EQ(reduced({B, 8, 7, 7}, Ints{2, 3}, true), (Shape{B, 8, 1, 1}));
  EXPECT_EQ(reduced({B, 8, 7, 7}, Ints{-1, -2}, false), (Shape{B, 8}));
  EXPECT_EQ(reduced({B, 8}, std::nullopt, true), (Shape{1, 1}));
  EXPECT_EQ(reduced({}, std::nullopt, true), (Shape{}));
  error_of(kBad, [&] { reduced({B, 8}, Ints{2}, true); });
  error_of(kBad, [&] { reduced({B, 8}, Ints{1, -1}, true); });
  error_of(kBad, [&] { reduced({}, Ints{0}, true); });
  error_of(kUnsupported, [] { check(Reduce{}, {Input::of({B, 8}), Input::of({1}, DType::i64)}); });
  const Checked noop = check(Reduce{ReduceFn::sum, std::nullopt, true, true}, {Input::of({B, 8}), Input::list({})});
  EXPECT_EQ(noop.shape(), (Shape{B, 8}));
  error_of(kBad, [] { check(Softmax{3, false, false}, {Input::of({B, 8, 2})}); });
}

TEST(Infer, ClipTakesItsBoundsFromConstants) {
  const UnaryOp open{{UnaryFn::clip, -INFINITY, INFINITY}};
  const Checked both = check(open, {Input::of({B, 4}), Input::value(Tensor::scalar(0.0f)), Input::value(Tensor::scalar(6.0f))});
  EXPECT_EQ(std::get<UnaryOp>(both.node.op).u, (Unary{UnaryFn::clip, 0.0f, 6.0f}));
  EXPECT_EQ(both.node.inputs.size(), 1u);
  const Checked upper = check(open, {Input::of({B, 4}), Input::none(), Input::value(Tensor::scalar(6.0f))});
  EXPECT_EQ(std::get<UnaryOp>(upper.node.op).u, (Unary{UnaryFn::clip, -INFINITY, 6.0f}));
  error_of(kUnsupported, [&] { check(open, {Input::of({B, 4}), Input::of({})}); });
  error_of(kBad, [&] { check(open, {Input::of({B, 4}), Input::list({1, 2})}); });
  EXPECT_NE(error_of(kUnsupported,
                     [&] {
                       check(open, {Input::of({4}, DType::i64), Input::scalar(16777217)});
                     })
                .find("16777217"),
            std::string::npos);
}

TEST(Infer, MissingAndExtraInputs) {
  error_of(kBad, [] { check(Binary{}, {Input::of({2})}); });
  error_of(kBad, [] { check(Binary{}, {Input::none(), Input::of({2})}); });
  error_of(kBad, [] { check(Identity{}, {Input::of({2}), Input::of({2})}); });
  error_of(kBad, [] { check(Identity{}, {Input::of({2})}, 2); });
  error_of(kBad, [] { check(Concat{0}, {}); });
  error_of(kBad, [] { check(Concat{0}, {Input::of({2}), Input::none(), Input::of({2})}); });
  error_of(kBad, [] { check(BatchNorm{}, {Input::of({B, 3}), Input::of({3}), Input::of({3}), Input::of({3}), Input::of({4})}); });
}

}  // namespace
}  // namespace fcm::ops::testing
