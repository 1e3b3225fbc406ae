// Resize and its predecessor Upsample.
#include <fmt/format.h>

#include <array>

#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/registry.h"

namespace fcm::onnx {
namespace {

struct Name {
  std::string_view text;
  int value;
};

// The value of a string attribute among `names`; anything else is malformed.
template <class Enum, size_t N>
Enum choose(NodeContext& node, std::string_view attribute, const std::string& fallback, const std::array<Name, N>& names) {
  const std::string text = node.string_attribute(attribute, fallback);
  std::string accepted;
  for (const Name& name : names) {
    if (name.text == text) return static_cast<Enum>(name.value);
    accepted += fmt::format("{}{}", accepted.empty() ? "" : ", ", name.text);
  }
  node.reject(attribute, fmt::format("\"{}\"", text), accepted);
  return Enum{};
}

template <class Enum>
constexpr Name named(std::string_view text, Enum value) {
  return {text, static_cast<int>(value)};
}

constexpr std::array kModes = {named("nearest", ResizeMode::nearest), named("linear", ResizeMode::linear),
                               named("cubic", ResizeMode::cubic)};
constexpr std::array kOldModes = {named("nearest", ResizeMode::nearest), named("linear", ResizeMode::linear),
                                  named("bilinear", ResizeMode::linear)};
constexpr std::array kCoordinates = {named("half_pixel", ResizeCoordinates::half_pixel),
                                     named("half_pixel_symmetric", ResizeCoordinates::half_pixel_symmetric),
                                     named("pytorch_half_pixel", ResizeCoordinates::pytorch_half_pixel),
                                     named("align_corners", ResizeCoordinates::align_corners),
                                     named("asymmetric", ResizeCoordinates::asymmetric),
                                     named("tf_half_pixel_for_nn", ResizeCoordinates::tf_half_pixel_for_nn)};
constexpr std::array kRoundings = {named("round_prefer_floor", ResizeRounding::prefer_floor),
                                   named("round_prefer_ceil", ResizeRounding::prefer_ceil), named("floor", ResizeRounding::floor),
                                   named("ceil", ResizeRounding::ceil)};
constexpr std::array kAspects = {named("stretch", ResizeAspect::stretch), named("not_larger", ResizeAspect::not_larger),
                                 named("not_smaller", ResizeAspect::not_smaller)};

// The forms before opset 11: coordinates are plain multiples.
Resize old_form(NodeContext& node) {
  Resize op;
  op.mode = choose<ResizeMode>(node, "mode", "nearest", kOldModes);
  op.coordinates = ResizeCoordinates::asymmetric;
  op.rounding = ResizeRounding::by_direction;
  return op;
}

// Scales are an attribute before opset 9, then an input. Opset 10 replaced the operator by Resize.
void upsample(NodeContext& node) {
  if (node.opset() >= 10) node.malformed("Upsample ended with opset 9; accepted from opset 10 on: Resize");
  const Resize op = old_form(node);
  if (node.opset() >= 9) {
    node.expect_inputs(2, 2);
    return node.emit(op, {node.input(0), node.input(1)});
  }
  node.expect_inputs(1, 1);
  const auto scales = node.floats_attribute("scales");
  if (!scales) node.malformed("required attribute scales is missing");
  node.emit(op, {node.input(0), node.add_constant("scales", Tensor::floats({static_cast<int64_t>(scales->size())}, *scales))});
}

void resize(NodeContext& node) {
  if (node.opset() < 11) {
    node.expect_inputs(2, 2);
    return node.emit(old_form(node), {node.input(0), node.input(1)});
  }
  node.expect_inputs(1, 4);
  Resize op;
  op.mode = choose<ResizeMode>(node, "mode", "nearest", kModes);
  op.coordinates = choose<ResizeCoordinates>(node, "coordinate_transformation_mode", "half_pixel", kCoordinates);
  op.rounding = choose<ResizeRounding>(node, "nearest_mode", "round_prefer_floor", kRoundings);
  op.cubic_a = node.float_attribute("cubic_coeff_a", -0.75f);
  op.exclude_outside = node.int_attribute("exclude_outside", 0) != 0;
  node.ignore("extrapolation_value");  // for tf_crop_and_resize alone, as is input 1
  if (node.opset() >= 18) {
    op.axes = node.ints_attribute("axes");
    op.aspect = choose<ResizeAspect>(node, "keep_aspect_ratio_policy", "stretch", kAspects);
    const int64_t antialias = node.int_attribute("antialias", 0);
    if (antialias != 0) node.reject("antialias", fmt::format("{}", antialias), "0");
  }
  node.emit(op, {node.input(0), node.input(2), node.input(3)});
}

constexpr std::array kOperators = {
    OperatorEntry{"Resize", 10, 19, resize},
    OperatorEntry{"Upsample", 7, 10, upsample},
};

}  // namespace

std::span<const OperatorEntry> resizing_operators() {
  return kOperators;
}

}  // namespace fcm::onnx
