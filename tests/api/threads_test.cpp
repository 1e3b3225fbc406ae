// One engine, many contexts, many threads: the same bits every time.
#include <cstring>
#include <thread>
#include <vector>

#include "tests/api/support.h"

namespace fcm::testing {
namespace {

TEST(Threads, FourContextsInFourThreadsAgreeWithOne) {
  const api::Options options = cpu_options();
  const api::Engine engine(load(small_classifier(), options), options);
  std::vector<float> input(3 * 32);
  for (size_t i = 0; i < input.size(); ++i) input[i] = static_cast<float>(i % 11) - 5.0f;
  const auto run = [&](api::Context& context, std::vector<float>& output) {
    context.run(3, {api::host_input(input.data(), input.size() * 4)}, {api::host_output(output.data(), output.size() * 4)});
  };
  api::Context reference(engine, 3);
  std::vector<float> expected(9);
  run(reference, expected);

  std::vector<int> differences(4, 0);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      api::Context context(engine, 3);
      std::vector<float> output(9);
      for (int i = 0; i < 25; ++i) {
        run(context, output);
        differences[t] += std::memcmp(output.data(), expected.data(), 36) != 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(differences, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace fcm::testing
