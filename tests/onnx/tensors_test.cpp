// TensorProto in all its storage forms, and payloads that do not fit their dimensions.
#include "runtime/onnx/tensors.h"

#include <gtest/gtest.h>

#include "onnx.pb.h"
#include "tests/onnx/expect.h"
#include "tests/onnx/model_builder.h"

namespace fcm::testing {
namespace {

using ::onnx::TensorProto;

Tensor read(TensorProto proto) {
  onnx::ExternalData external{std::filesystem::path()};
  return onnx::read_tensor(proto, "model.onnx: initializer \"w\"", external);
}

TensorProto proto_of(int type, const Dims& dims) {
  TensorProto proto;
  proto.set_data_type(type);
  for (const int64_t dim : dims) proto.add_dims(dim);
  return proto;
}

void refused(const TensorProto& proto, const std::string& word) {
  expect_error(ErrorCode::bad_input, {"model.onnx", "\"w\"", word}, [&] { read(proto); });
}

TEST(Tensors, RawDataOfEveryType) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::f64, DType::i8, DType::u8, DType::i16, DType::u16, DType::i32,
                            DType::u32, DType::i64, DType::u64, DType::boolean}) {
    const Tensor want = Tensor::ints({3}, Ints{0, 1, 1}).cast(dtype);
    TensorProto proto = proto_of(onnx_type(dtype), {3});
    proto.set_raw_data(want.raw(), want.bytes());
    const Tensor got = read(proto);
    EXPECT_EQ(got.dtype(), dtype);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(got.raw()), got.bytes()), proto.raw_data()) << dtype_name(dtype);
  }
}

TEST(Tensors, TypedFields) {
  TensorProto f = proto_of(TensorProto::FLOAT, {2});
  f.add_float_data(1.5f);
  f.add_float_data(-2.0f);
  EXPECT_EQ(read(f).data<float>()[1], -2.0f);
  TensorProto d = proto_of(TensorProto::DOUBLE, {1});
  d.add_double_data(0.1);
  EXPECT_EQ(read(d).data<double>()[0], 0.1);
  TensorProto h = proto_of(TensorProto::FLOAT16, {1});
  h.add_int32_data(0x3C00);
  EXPECT_EQ(read(h).data<uint16_t>()[0], 0x3C00);
  TensorProto bf = proto_of(TensorProto::BFLOAT16, {1});
  bf.add_int32_data(0xBF80);
  EXPECT_EQ(read(bf).data<uint16_t>()[0], 0xBF80);
  for (const int type : {TensorProto::INT8, TensorProto::INT16, TensorProto::INT32}) {
    TensorProto i = proto_of(type, {1});
    i.add_int32_data(-7);
    EXPECT_EQ(read(i).cast(DType::i64).data<int64_t>()[0], -7);
  }
  TensorProto l = proto_of(TensorProto::INT64, {1});
  l.add_int64_data(int64_t{1} << 40);
  EXPECT_EQ(read(l).data<int64_t>()[0], int64_t{1} << 40);
  for (const int type : {TensorProto::UINT32, TensorProto::UINT64}) {
    TensorProto u = proto_of(type, {1});
    u.add_uint64_data(4000000000U);
    EXPECT_EQ(read(u).cast(DType::i64).data<int64_t>()[0], 4000000000);
  }
  TensorProto b = proto_of(TensorProto::BOOL, {2});
  b.add_int32_data(1);
  b.add_int32_data(0);
  EXPECT_TRUE(read(b).data<bool>()[0]);
}

TEST(Tensors, ScalarAndEmpty) {
  TensorProto scalar = proto_of(TensorProto::FLOAT, {});
  scalar.add_float_data(2.0f);
  EXPECT_EQ(read(scalar).rank(), 0);
  EXPECT_EQ(read(proto_of(TensorProto::FLOAT, {0})).count(), 0);
}

TEST(Tensors, AnyByteMakesABool) {
  TensorProto proto = proto_of(TensorProto::BOOL, {2});
  proto.set_raw_data(std::string("\x00\x7f", 2));
  const Tensor t = read(proto);
  EXPECT_EQ(static_cast<int>(t.raw()[1]), 1);
}

TEST(Tensors, BadDimensions) {
  refused(proto_of(TensorProto::FLOAT, {-1}), "dimension 0 is -1");
  refused(proto_of(TensorProto::FLOAT, {2, int64_t{1} << 40}), "dimension 1 is 1099511627776");
  refused(proto_of(TensorProto::FLOAT, {1, 1, 1, 1, 1, 1, 1, 1, 1}), "rank 9");
  constexpr int64_t kBig = int64_t{1} << 30;
  refused(proto_of(TensorProto::FLOAT, {kBig, kBig, kBig}), "overflow");
  refused(proto_of(TensorProto::FLOAT, {kBig, kBig}), "at most 2^40");
}

TEST(Tensors, PayloadMismatch) {
  TensorProto raw = proto_of(TensorProto::FLOAT, {2});
  raw.set_raw_data("1234567");
  refused(raw, "needs 8 bytes, but 7");
  raw.set_raw_data("12345678");
  EXPECT_EQ(read(raw).count(), 2);
  raw.add_float_data(1.0f);
  refused(raw, "both raw and typed");
  TensorProto typed = proto_of(TensorProto::FLOAT, {2});
  typed.add_float_data(1.0f);
  refused(typed, "needs 2 elements, but 1");
  TensorProto wrong = proto_of(TensorProto::FLOAT, {1});
  wrong.add_int32_data(1);
  refused(wrong, "not for f32");
  refused(proto_of(TensorProto::FLOAT, {1000000000}), "but 0 are stored");  // nothing is allocated for it
}

TEST(Tensors, ValuesOutsideTheirType) {
  TensorProto proto = proto_of(TensorProto::UINT8, {1});
  proto.add_int32_data(256);
  refused(proto, "256, outside u8");
  TensorProto wide = proto_of(TensorProto::UINT32, {1});
  wide.add_uint64_data(uint64_t{1} << 32);
  refused(wide, "outside u32");
}

TEST(Tensors, Unsupported) {
  for (const int type :
       std::initializer_list<int>{TensorProto::STRING, TensorProto::COMPLEX64, TensorProto::FLOAT8E4M3FN, TensorProto::INT4, 0, 99}) {
    expect_error(ErrorCode::unsupported, {"\"w\"", "accepted: FLOAT, "}, [&] { read(proto_of(type, {1})); });
  }
}

}  // namespace
}  // namespace fcm::testing
