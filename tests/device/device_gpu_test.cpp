// Owned CUDA objects on a device: counting, errors, moves, the current device.
#include <gtest/gtest.h>

#include <utility>

#include "runtime/device/counters.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/info.h"
#include "runtime/device/memory.h"
#include "runtime/device/stream.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

class DeviceGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (device_count(&reason) == 0) GTEST_SKIP() << reason;
  }
};

TEST_F(DeviceGpu, InfoIsFilled) {
  const DeviceInfo info = device_info(0);
  EXPECT_FALSE(info.name.empty());
  EXPECT_GE(info.target.major, 7);
  EXPECT_EQ(info.target.arch_specific, info.target.major == 9);
  EXPECT_GT(info.sm_count, 0);
  EXPECT_GT(info.shared_per_block, size_t{48} << 10);
  EXPECT_GT(info.l2_bytes, 0U);
}

TEST_F(DeviceGpu, CopiesAreCountedAndRight) {
  call_counts() = {};
  const Stream stream;
  PinnedBuffer host(1000);
  const DeviceBuffer device(1000);
  for (size_t i = 0; i < host.size(); ++i) host.bytes()[i] = static_cast<std::byte>(i % 251);
  copy_async(device.data(), host.data(), 1000, cudaMemcpyHostToDevice, stream.get());
  PinnedBuffer back(1000);
  copy_async(back.data(), device.data(), 1000, cudaMemcpyDeviceToHost, stream.get());
  synchronize(stream.get());
  for (size_t i = 0; i < back.size(); ++i) ASSERT_EQ(back.bytes()[i], host.bytes()[i]);
  EXPECT_EQ(call_counts().allocations, 4);
  EXPECT_EQ(call_counts().copies, 2);
  EXPECT_EQ(call_counts().synchronizations, 1);
  EXPECT_EQ(call_counts().releases, 0);
}

TEST_F(DeviceGpu, BuffersMoveAndRelease) {
  call_counts() = {};
  {
    DeviceBuffer a(512);
    const void* where = a.data();
    DeviceBuffer b(std::move(a));
    EXPECT_EQ(b.data(), where);
    DeviceBuffer c;
    c = std::move(b);
    EXPECT_EQ(c.data(), where);
    EXPECT_EQ(c.size(), 512U);
  }
  EXPECT_EQ(call_counts().allocations, 1);
  EXPECT_EQ(call_counts().releases, 1);
}

TEST_F(DeviceGpu, TooMuchMemorySaysHowMuch) {
  try {
    const DeviceBuffer huge(size_t{1} << 50);
    FAIL() << "allocated";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    EXPECT_NE(std::string(error.what()).find("are free"), std::string::npos);
  }
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(DeviceGpu, CallersAllocatorIsUsed) {
  struct Counter {
    int taken = 0;
    int given_back = 0;
  } counter;
  DeviceMemorySource source;
  source.user = &counter;
  source.allocate = [](void* user, size_t bytes) -> void* {
    ++static_cast<Counter*>(user)->taken;
    void* data = nullptr;
    return cudaMalloc(&data, bytes) == cudaSuccess ? data : nullptr;
  };
  source.release = [](void* user, void* pointer) {
    ++static_cast<Counter*>(user)->given_back;
    cudaFree(pointer);
  };
  { const DeviceBuffer buffer(100, source); }
  EXPECT_EQ(counter.taken, 1);
  EXPECT_EQ(counter.given_back, 1);
  source.allocate = [](void*, size_t) -> void* { return nullptr; };
  EXPECT_THROW(DeviceBuffer(100, source), Error);
}

}  // namespace
}  // namespace fcm
