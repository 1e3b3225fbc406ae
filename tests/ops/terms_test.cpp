// Shape arithmetic with the symbolic batch: the rules for single terms, and chains that exporters write.
#include "ops/terms.h"

#include "tests/ops/support.h"

namespace fcm::ops::testing {
namespace {

using Maybe = std::optional<Dim>;

TEST(Terms, Arithmetic) {
  const auto times = [](int64_t c) { return Dim(c, true); };
  EXPECT_EQ(evaluate(BinaryFn::add, times(2), times(3)), Maybe(times(5)));
  EXPECT_EQ(evaluate(BinaryFn::add, times(2), 0), Maybe(times(2)));
  EXPECT_EQ(evaluate(BinaryFn::add, times(2), 1), std::nullopt);
  EXPECT_EQ(evaluate(BinaryFn::sub, times(2), times(2)), Maybe(Dim(0)));
  EXPECT_EQ(evaluate(BinaryFn::mul, times(2), 49), Maybe(times(98)));
  EXPECT_EQ(evaluate(BinaryFn::mul, times(2), B), std::nullopt);
  EXPECT_EQ(evaluate(BinaryFn::mul, B, 0), Maybe(Dim(0)));
  EXPECT_EQ(evaluate(BinaryFn::div, times(64), 16), Maybe(times(4)));
  EXPECT_EQ(evaluate(BinaryFn::div, times(64), 3), std::nullopt);
  EXPECT_EQ(evaluate(BinaryFn::div, times(7), times(2)), Maybe(Dim(3)));
  EXPECT_EQ(evaluate(BinaryFn::div, 5, 0), std::nullopt);
  EXPECT_EQ(evaluate(BinaryFn::mod, times(64), 16), Maybe(Dim(0)));
  EXPECT_EQ(evaluate(BinaryFn::mod, -7, 3), Maybe(Dim(2)));
  EXPECT_EQ(evaluate(BinaryFn::fmod, -7, 3), Maybe(Dim(-1)));
  EXPECT_EQ(evaluate(BinaryFn::mul, INT64_MAX, 2), std::nullopt);
}

TEST(Terms, Comparisons) {
  EXPECT_EQ(evaluate(BinaryFn::equal, B, -1), Maybe(Dim(0)));
  EXPECT_EQ(evaluate(BinaryFn::equal, B, 1), std::nullopt);  // true for one batch only
  EXPECT_EQ(evaluate(BinaryFn::equal, B, 0), Maybe(Dim(0)));
  EXPECT_EQ(evaluate(BinaryFn::equal, Dim(4, true), 6), Maybe(Dim(0)));
  EXPECT_EQ(evaluate(BinaryFn::equal, B, B), Maybe(Dim(1)));
  EXPECT_EQ(evaluate(BinaryFn::less, 0, B), Maybe(Dim(1)));
  EXPECT_EQ(evaluate(BinaryFn::less, B, 1), Maybe(Dim(0)));
  EXPECT_EQ(evaluate(BinaryFn::less, B, 5), std::nullopt);
  EXPECT_EQ(evaluate(BinaryFn::greater_equal, B, 1), Maybe(Dim(1)));
  EXPECT_EQ(evaluate(BinaryFn::max, B, 1), Maybe(B));
  EXPECT_EQ(evaluate(BinaryFn::max, B, 8), std::nullopt);
  EXPECT_EQ(evaluate(BinaryFn::min, Dim(4, true), 3), Maybe(Dim(3)));
  EXPECT_EQ(evaluate(BinaryFn::min, B, Dim(2, true)), Maybe(B));
}

// x.view(x.shape[0], -1): Shape, Gather, Unsqueeze, Concat, Reshape.
TEST(Terms, ShapeGatherUnsqueezeConcatReshape) {
  const Checked shape = check(ShapeOf{}, {Input::of({B, 1280, 1, 1})});
  ASSERT_EQ(shape.terms(), (Terms{B, 1280, 1, 1}));
  const Checked gathered = check(Gather{0}, {Input::symbolic(*shape.terms()), Input::scalar(0)});
  EXPECT_EQ(gathered.shape(), Shape{});
  ASSERT_EQ(gathered.terms(), (Terms{B}));
  Input scalar = Input::symbolic(*gathered.terms());
  scalar.shape = {};
  Reshape form;
  form.form = Reshape::Form::unsqueeze;
  const Checked unsqueezed = check(form, {scalar, Input::list({0})});
  EXPECT_EQ(unsqueezed.shape(), Shape{1});
  const Checked target = check(Concat{0}, {Input::symbolic(*unsqueezed.terms()), Input::list({-1})});
  ASSERT_EQ(target.terms(), (Terms{B, -1}));
  EXPECT_EQ(check(Reshape{}, {Input::of({B, 1280, 1, 1}), Input::symbolic(*target.terms())}).shape(), (Shape{B, 1280}));
}

// expand(B, -1, -1) of a class token: Where(Equal(shape, -1), ones, shape) as the target.
TEST(Terms, ClassTokenExpand) {
  const std::vector<Dim> wanted = {B, -1, -1};
  const Checked equal = check(Binary{BinaryFn::equal, {}}, {Input::symbolic(wanted), Input::list({-1, -1, -1})});
  EXPECT_EQ(equal.outputs[0].dtype, DType::boolean);
  ASSERT_EQ(equal.terms(), (Terms{0, 1, 1}));
  Input condition = Input::symbolic(*equal.terms());
  condition.dtype = DType::boolean;
  const Checked target = check(Select{}, {condition, Input::list({1, 1, 1}), Input::symbolic(wanted)});
  ASSERT_EQ(target.terms(), (Terms{B, 1, 1}));
  EXPECT_EQ(check(Expand{}, {Input::of({1, 1, 192}), Input::symbolic(*target.terms())}).shape(), (Shape{B, 1, 192}));
}

TEST(Terms, MovementOfTerms) {
  const std::vector<Dim> shape = {B, 3, 14, 14};
  const Checked sliced = check(Slice{}, {Input::symbolic(shape), Input::list({0}), Input::list({-1}), Input::list({0}), Input::list({2})});
  EXPECT_EQ(sliced.terms(), (Terms{B, 14}));
  const Checked split = check(Split{0, {1, 3}}, {Input::symbolic(shape)}, 2);
  EXPECT_EQ(split.terms(0), (Terms{B}));
  EXPECT_EQ(split.terms(1), (Terms{3, 14, 14}));
  EXPECT_EQ(check(Tile{}, {Input::symbolic({B, 2}), Input::list({2})}).terms(), (Terms{B, 2, B, 2}));
  Input scalar = Input::symbolic({B});
  EXPECT_EQ(check(Expand{}, {scalar, Input::list({3})}).terms(), (Terms{B, B, B}));
  EXPECT_EQ(check(Binary{BinaryFn::mul, {}}, {Input::symbolic(shape), Input::list({2})}).terms(), (Terms{Dim(2, true), 6, 28, 28}));
  EXPECT_EQ(check(Cast{DType::i32}, {Input::symbolic(shape)}).terms(), (Terms{B, 3, 14, 14}));
  EXPECT_EQ(check(Cast{DType::f32}, {Input::symbolic(shape)}).terms(), std::nullopt);
  EXPECT_EQ(check(Identity{}, {Input::symbolic(shape)}).terms(), (Terms{B, 3, 14, 14}));
  EXPECT_EQ(check(Reduce{ReduceFn::prod, Ints{0}, false, false}, {Input::symbolic(shape)}).terms(), (Terms{Dim(588, true)}));
  EXPECT_EQ(check(SizeOf{}, {Input::of({B, 3, 2})}).terms(), (Terms{Dim(6, true)}));
  EXPECT_EQ(check(UnaryOp{{UnaryFn::neg, 0, 0}}, {Input::symbolic({B})}).terms(), (Terms{Dim(-1, true)}));
}

// A constant operand alone is the business of folding, not of terms.
TEST(Terms, ConstantsAreLeftToFolding) {
  EXPECT_EQ(check(Binary{BinaryFn::add, {}}, {Input::list({1}), Input::list({2})}).terms(), std::nullopt);
  EXPECT_EQ(check(Concat{0}, {Input::list({1}), Input::list({2})}).terms(), std::nullopt);
}

TEST(Terms, RangeOverTheBatch) {
  Input limit = Input::symbolic({B});
  limit.shape = {};
  EXPECT_EQ(check(Range{}, {Input::scalar(0), limit, Input::scalar(1)}).shape(), (Shape{B}));
  limit.terms = {Dim(4, true)};
  EXPECT_EQ(check(Range{}, {Input::scalar(0), limit, Input::scalar(2)}).shape(), (Shape{Dim(2, true)}));
  EXPECT_EQ(check(Range{}, {Input::scalar(0), limit, Input::scalar(-1)}).shape(), (Shape{0}));
  error_of(ErrorCode::unsupported, [&] { check(Range{}, {Input::scalar(1), limit, Input::scalar(1)}); });
}

TEST(Terms, ConstantOfShapeWithTheBatch) {
  const Checked filled = check(ConstantOfShape{Tensor::scalar(0.0f)}, {Input::symbolic({B, 4})});
  EXPECT_EQ(filled.shape(), (Shape{B, 4}));
  EXPECT_EQ(filled.outputs[0].dtype, DType::f32);
  const int64_t one = 1;
  EXPECT_EQ(check(ConstantOfShape{Tensor::ints({1}, std::span(&one, 1))}, {Input::list({2})}).terms(), (Terms{1, 1}));
  error_of(ErrorCode::bad_input, [&] { check(ConstantOfShape{Tensor::scalar(0.0f)}, {Input::list({-2})}); });
  error_of(ErrorCode::bad_input, [&] { check(ConstantOfShape{Tensor::scalar(0.0f)}, {Input::list({INT64_MAX, INT64_MAX})}); });
}

// The TF-SAME padding that PyTorch's exporter writes for a list of pads: ConstantOfShape, Concat, Reshape, Slice backwards,
// Transpose, Reshape, Cast; folded by running it, then read by Pad.
TEST(Terms, ExporterPadChain) {
  const auto ints = [](std::vector<int64_t> v) { return Tensor::ints({static_cast<int64_t>(v.size())}, v); };
  const int64_t zero = 0;
  const Tensor zeros = run(ConstantOfShape{Tensor::ints({1}, std::span(&zero, 1))}, {ints({4})})[0];
  const Tensor joined = run(Concat{0}, {ints({0, 1, 0, 1}), zeros})[0];
  const Tensor pairs = run(Reshape{}, {joined, ints({-1, 2})})[0];
  const Tensor reversed = run(Slice{}, {pairs, ints({-1}), ints({-9223372036854775807}), ints({0}), ints({-1})})[0];
  const Tensor transposed = run(Transpose{{1, 0}}, {reversed})[0];
  const Tensor pads = run(Cast{DType::i64}, {run(Reshape{}, {transposed, ints({-1})})[0]})[0];
  const Checked padded = check(Pad{}, {Input::of({B, 3, 224, 224}), Input::value(pads), Input::value(Tensor::scalar(0.0f))});
  EXPECT_EQ(padded.shape(), (Shape{B, 3, 225, 225}));
  const Pad& pad = std::get<Pad>(padded.node.op);
  EXPECT_EQ(pad.begin, (Ints{0, 0, 0, 0}));
  EXPECT_EQ(pad.end, (Ints{0, 0, 1, 1}));
  EXPECT_EQ(padded.node.inputs.size(), 1u);
}

}  // namespace
}  // namespace fcm::ops::testing
