// Libraries opened at run time and the answers of a machine without a device.
#include <gtest/gtest.h>

#if FCM_HAS_CUDA
#include "runtime/device/cublaslt.h"
#include "runtime/device/cudnn.h"
#endif
#include "runtime/device/dynlib.h"
#include "runtime/device/info.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

TEST(DynamicLibrary, BindsFunctionsOfALibraryThatIsThere) {
  const DynamicLibrary library("the C mathematics library", {"libm.so.0", "libm.so.6"});
  double (*cosine)(double) = nullptr;
  library.bind(cosine, "cos");
  EXPECT_EQ(cosine(0.0), 1.0);
  EXPECT_NE(library.path().find("libm.so.6"), std::string::npos);
  try {
    library.bind(cosine, "no_such_function");
    FAIL() << "bound";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::device);
    EXPECT_NE(std::string(error.what()).find("no_such_function"), std::string::npos);
  }
}

TEST(DynamicLibrary, AMissingOneListsWhatWasTried) {
  try {
    const DynamicLibrary library("Nothing 1", {"libnothing.so.1"});
    FAIL() << "opened";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.code(), ErrorCode::device);
    for (const char* part : {"Nothing 1", "libnothing.so.1", "/usr/local/cuda/lib64/libnothing.so.1", "FCM_LIBRARY_PATH"})
      EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
}

#if FCM_HAS_CUDA
// Every function that the library uses is there; no device is needed for that.
TEST(CudaLibraries, OpenAndBind) {
  try {
    EXPECT_EQ(cudnn().version_text.substr(0, 2), "9.");
    EXPECT_EQ(cublas_lt().version_text.substr(0, 3), "13.");
  } catch (const Error& error) {
    if (std::string(error.what()).find("cannot be opened") == std::string::npos) throw;
    GTEST_SKIP() << error.what();
  }
}
#endif

TEST(DeviceInfo, NoDeviceIsSaidWithAReason) {
  std::string reason;
  const int count = device_count(&reason);
  EXPECT_EQ(reason.empty(), count > 0) << reason;
  EXPECT_THROW(device_info(count), Error);
  EXPECT_THROW(device_info(-1), Error);
}

}  // namespace
}  // namespace fcm
