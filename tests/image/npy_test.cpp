// .npy files against NumPy's, round trips, damaged headers, and writes that fail.
#include "runtime/image/npy.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <random>

#include "tests/image/helpers.h"

namespace fcm::test {
namespace {

template <class T>
std::vector<T> values(const Tensor& tensor) {
  const auto data = tensor.data<T>();
  return {data.begin(), data.end()};
}

TEST(Npy, ReadsEveryTypeOfNumpy) {
  const std::pair<const char*, DType> files[] = {{"f4", DType::f32}, {"f2", DType::f16}, {"f8", DType::f64}, {"i1", DType::i8},
                                                 {"u1", DType::u8},  {"i2", DType::i16}, {"u2", DType::u16}, {"i4", DType::i32},
                                                 {"u4", DType::u32}, {"i8", DType::i64}, {"u8", DType::u64}};
  for (const auto& [code, dtype] : files) {
    const Tensor tensor = load_npy(data_path(std::string(code) + ".npy"));
    EXPECT_EQ(tensor.dtype(), dtype) << code;
    EXPECT_EQ(tensor.dims(), (Dims{2, 3})) << code;
    EXPECT_EQ(values<float>(tensor.cast(DType::f32)), (std::vector<float>{0, 2, 4, 1, 3, 0})) << code;
  }
  const Tensor flags = load_npy(data_path("b1.npy"));
  EXPECT_EQ(flags.dtype(), DType::boolean);
  EXPECT_EQ(values<bool>(flags), (std::vector<bool>{true, false, true, false, false, true}));
}

TEST(Npy, ReadsEveryShapeVersionAndOrder) {
  EXPECT_EQ(load_npy(data_path("scalar.npy")).dims(), Dims{});
  EXPECT_EQ(values<float>(load_npy(data_path("scalar.npy"))), std::vector<float>{2.5F});
  EXPECT_EQ(values<int64_t>(load_npy(data_path("vector.npy"))), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(load_npy(data_path("empty.npy")).dims(), (Dims{0, 3}));
  for (const char* name : {"version2.npy", "version3.npy"}) {
    EXPECT_EQ(values<float>(load_npy(data_path(name))), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  }
  const Tensor fortran = load_npy(data_path("fortran.npy"));
  EXPECT_EQ(fortran.dims(), (Dims{2, 3, 4}));
  for (size_t i = 0; i < 24; ++i) EXPECT_EQ(fortran.data<float>()[i], static_cast<float>(i));
}

TEST(Npy, Bfloat16IsReadAsItselfAndWrittenAsFloat32) {
  const Tensor tensor = load_npy(data_path("bf16.npy"));
  EXPECT_EQ(tensor.dtype(), DType::bf16);
  const TemporaryFolder folder;
  save_npy(tensor, folder.path("out.npy"));
  const Tensor back = load_npy(folder.path("out.npy"));
  EXPECT_EQ(back.dtype(), DType::f32);
  EXPECT_EQ(values<float>(back), (std::vector<float>{1.0F, -2.0F}));
}

TEST(Npy, WritesTheBytesThatNumpyWrites) {
  const TemporaryFolder folder;
  for (const char* name : {"f4", "f2", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "b1", "scalar", "vector", "empty"}) {
    const std::string file = std::string(name) + ".npy";
    save_npy(load_npy(data_path(file)), folder.path(file));
    EXPECT_EQ(file_bytes(folder.path(file)), file_bytes(data_path(file))) << name;
  }
  EXPECT_EQ(folder.entries(), 15U);  // no temporary file is left
}

/// A version 1 file with this header and `size` bytes of data.
std::vector<std::byte> npy(const std::string& header, size_t size) {
  std::string text("\x93NUMPY\x01\x00", 8);
  text += static_cast<char>(header.size() & 0xFF);
  text += static_cast<char>(header.size() >> 8);
  text += header + std::string(size, '\0');
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

TEST(NpyErrors, DamagedHeadersAreRefused) {
  EXPECT_EQ(parse_npy(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 8), "x").count(), 2);
  for (const char* header :
       {"", "{", "{}", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)",
        "{'descr': '<f4', 'fortran_order': 1, 'shape': (2,)}", "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2 2)}", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "{'descr: '<f4'", "{'descr': <f4}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}", "{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}"}) {
    expect_error(ErrorCode::bad_input, {"x.npy"}, [&] { parse_npy(npy(header, 8), "x.npy"); });
  }
}

// Random changes, the same in every run: a tensor whose size fits, or an Error, nothing else.
TEST(NpyErrors, DamagedBytesNeverCrash) {
  std::mt19937 random(7);
  for (const char* name : {"f4.npy", "fortran.npy", "version3.npy", "b1.npy", "scalar.npy"}) {
    const std::vector<std::byte> good = file_bytes(data_path(name));
    int refused = 0;
    for (int round = 0; round < 4000; ++round) {
      std::vector<std::byte> bad = good;
      for (uint32_t changes = 1 + random() % 3; changes > 0; --changes) bad[random() % bad.size()] = static_cast<std::byte>(random());
      try {
        const Tensor tensor = parse_npy(bad, name);
        ASSERT_EQ(tensor.bytes(), static_cast<size_t>(tensor.count()) * dtype_size(tensor.dtype()));
      } catch (const Error& e) {
        ASSERT_NE(e.code(), ErrorCode::internal) << e.what();
        ++refused;
      }
    }
    EXPECT_GT(refused, 0) << name;
  }
}

TEST(NpyErrors, SizesMustMatchTheShape) {
  const auto header = [](const std::string& shape) { return "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }"; };
  for (const char* shape : {"3,", "1,", "1000000, 1000000", "4611686018427387904, 4611686018427387904", "9223372036854775807, 3"}) {
    expect_error(ErrorCode::bad_input, {"x.npy"}, [&] { parse_npy(npy(header(shape), 8), "x.npy"); });
  }
  expect_error(ErrorCode::bad_input, {"x.npy", "7 bytes"}, [&] { parse_npy(npy(header("2,"), 7), "x.npy"); });
}

TEST(NpyErrors, UnsupportedTypesSayWhich) {
  expect_error(ErrorCode::unsupported, {"big_endian.npy", "big-endian", ">i4"}, [] { load_npy(data_path("big_endian.npy")); });
  expect_error(ErrorCode::unsupported, {"complex.npy", "<c8"}, [] { load_npy(data_path("complex.npy")); });
  expect_error(ErrorCode::unsupported, {"structured.npy", "structured"}, [] { load_npy(data_path("structured.npy")); });
}

TEST(NpyErrors, TruncationAndOtherFiles) {
  const auto whole = file_bytes(data_path("f4.npy"));
  for (size_t size = 0; size < whole.size(); ++size) {
    expect_error(ErrorCode::bad_input, {"cut.npy"}, [&] { parse_npy(std::span(whole).first(size), "cut.npy"); });
  }
  auto version = whole;
  version[6] = std::byte{9};
  expect_error(ErrorCode::bad_input, {"version 9"}, [&] { parse_npy(version, "v.npy"); });
  expect_error(ErrorCode::bad_input, {"rgb.png", "not a .npy file"}, [] { load_npy(data_path("rgb.png")); });
  expect_error(ErrorCode::bad_input, {"gone.npy", "No such file"}, [] { load_npy("gone.npy"); });
}

TEST(NpyErrors, AFailedWriteLeavesTheOldFileAndNothingElse) {
  const TemporaryFolder folder;
  const std::string path = folder.write("old.npy", "old");
  // A limit on the file size stands for a full disk: the write fails half-way.
  rlimit saved = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &saved), 0);
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight = {4096, saved.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  expect_error(ErrorCode::bad_input, {"old.npy", "cannot be written"}, [&] { save_npy(Tensor(DType::f32, {10000}), path); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &saved), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(file_bytes(path).size(), 3U);
  EXPECT_EQ(folder.entries(), 1U);
  expect_error(ErrorCode::bad_input, {"none/out.npy", "cannot be written"},
               [&] { save_npy(Tensor(DType::f32, {1}), folder.path("none/out.npy")); });
}

}  // namespace
}  // namespace fcm::test
