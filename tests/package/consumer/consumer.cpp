// A C++17 user of the header-only wrapper: the same model, and errors as exceptions.  consumer_cpp MODEL
#include <cmath>
#include <fcm/fcm.hpp>
#include <iostream>
#include <string>
#include <vector>

namespace {

std::vector<float> scores_of(const fcm::api::Engine& engine, float pixel) {
  const std::vector<float> image(3 * 4 * 4, pixel);
  std::vector<float> scores(2);
  fcm::api::Context context(engine);
  context.run(1, {fcm::api::host_input(image.data(), image.size() * sizeof(float))},
              {fcm::api::host_output(scores.data(), scores.size() * sizeof(float))});
  return scores;
}

bool missing_model_throws() {
  try {
    const fcm::api::Model model("/no/such/model.onnx");
  } catch (const fcm::api::Error& error) {
    return error.code() == FCM_STATUS_BAD_INPUT && std::string(error.what()).find("/no/such/model.onnx") != std::string::npos;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) return 1;
  fcm::api::Options options;
  options.set("device", "cpu");
  const fcm::api::Model model(argv[1], options);
  const fcm::api::Engine engine(model, options);
  const std::vector<float> scores = scores_of(engine, 1.0F);
  const bool right = std::fabs(scores[0] - 2.25F) < 1e-5F && std::fabs(scores[1]) < 1e-5F;
  if (!right) std::cerr << "scores " << scores[0] << " " << scores[1] << ", expected 2.25 and 0\n";
  if (!missing_model_throws()) std::cerr << "a missing model must throw\n";
  return right && missing_model_throws() ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
