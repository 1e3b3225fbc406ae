#include "runtime/onnx/inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <set>

#include "onnx.pb.h"
#include "runtime/onnx/tensors.h"
#include "runtime/onnx/text.h"
#include "runtime/support/error.h"

namespace fcm::onnx {
namespace {

// A dimension on its way to being resolved: known, or symbolic with a name that may be empty.
struct OpenDim {
  std::optional<Dim> known;
  std::string symbol;
};

struct OpenInput {
  InputSpec spec;
  bool ranked = true;
  std::vector<OpenDim> dims;
};

std::string dims_text(const OpenInput& input) {
  std::string text;
  for (const OpenDim& dim : input.dims) {
    text += text.empty() ? "" : ",";
    text += dim.known ? to_string(*dim.known) : (dim.symbol.empty() ? "?" : printable(dim.symbol));
  }
  return "[" + text + "]";
}

std::vector<OpenDim> read_dims(const ::onnx::TensorShapeProto& shape, const std::string& where) {
  if (shape.dim_size() == 0) malformed(where, "is a scalar (rank 0); accepted: rank 1 to 8");
  if (shape.dim_size() > kLargestRank) malformed(where, fmt::format("has rank {}; accepted: 1 to {}", shape.dim_size(), kLargestRank));
  std::vector<OpenDim> dims;
  for (int axis = 0; axis < shape.dim_size(); ++axis) {
    const auto& dim = shape.dim(axis);
    if (!dim.has_dim_value()) {
      dims.push_back({std::nullopt, dim.dim_param()});
      continue;
    }
    if (dim.dim_value() < 1 || dim.dim_value() > kLargestDim) {
      malformed(where, fmt::format("dimension {} is {}; accepted: 1 to {}, or a symbol", axis, dim.dim_value(), kLargestDim));
    }
    dims.push_back({Dim(dim.dim_value()), ""});
  }
  return dims;
}

// The input's element type and declared shape; nothing (and a finding) when its type cannot be run.
std::optional<OpenInput> read_input(const ::onnx::ValueInfoProto& info, const std::string& file, UnsupportedReport& report) {
  const std::string subject = fmt::format("input \"{}\"", printable(info.name()));
  if (!info.has_type() || info.type().value_case() == ::onnx::TypeProto::VALUE_NOT_SET) malformed(file, subject + " has no type");
  if (!info.type().has_tensor_type()) {
    report.add(subject, "is a sequence, map, optional or sparse tensor", "dense tensors");
    return std::nullopt;
  }
  const auto& type = info.type().tensor_type();
  const std::optional<DType> dtype = dtype_of(type.elem_type());
  if (!dtype) {
    report.add(subject, fmt::format("data type {} is not supported", dtype_text(type.elem_type())), accepted_dtypes());
    return std::nullopt;
  }
  OpenInput input;
  input.spec = {info.name(), *dtype, {}};
  input.ranked = type.has_shape();
  if (input.ranked) input.dims = read_dims(type.shape(), file + ": " + subject);
  return input;
}

[[noreturn]] void bad_option(const std::string& file, const std::string& what) {
  throw Error(ErrorCode::command_line, fmt::format("{}: --shape: {}", file, what));
}

// What the option says of one input; -1 leaves a dimension as it is. Symbols that become known go to `symbols`.
void apply_option(OpenInput& input, const Dims& given, const std::string& file, std::map<std::string, int64_t>& symbols) {
  const std::string name = printable(input.spec.name);
  if (!input.ranked) input.dims.resize(given.size());
  if (given.size() != input.dims.size() || given.empty() || given.size() > kLargestRank) {
    bad_option(file, fmt::format("input \"{}\" is {}, {} dimensions are given", name, dims_text(input), given.size()));
  }
  input.ranked = true;
  for (size_t axis = 0; axis < given.size(); ++axis) {
    OpenDim& dim = input.dims[axis];
    const int64_t value = given[axis];
    if (value == -1) continue;
    if (value < 1 || value > kLargestDim) {
      bad_option(file,
                 fmt::format("dimension {} of \"{}\" is {}; accepted: 1 to {}, or -1 for the model's own", axis, name, value, kLargestDim));
    }
    if (dim.known && *dim.known != Dim(value)) {
      bad_option(file, fmt::format("dimension {} of \"{}\" is {} in the model, {} is given", axis, name, to_string(*dim.known), value));
    }
    dim.known = Dim(value);
    if (dim.symbol.empty()) continue;
    const auto [known, fresh] = symbols.emplace(dim.symbol, value);
    if (!fresh && known->second != value) {
      bad_option(file, fmt::format("dimension \"{}\" cannot be both {} and {}", printable(dim.symbol), known->second, value));
    }
  }
}

void apply_options(std::vector<OpenInput>& inputs, const ImportOptions& options, const std::string& file) {
  std::map<std::string, int64_t> symbols;
  for (const auto& option : options.shapes) {
    const std::string& name = option.first;  // a plain reference: clang 14 cannot capture a structured binding
    const auto input = std::find_if(inputs.begin(), inputs.end(), [&](const OpenInput& i) { return i.spec.name == name; });
    if (input == inputs.end()) {
      std::string known;
      for (const OpenInput& i : inputs) known += (known.empty() ? "" : ", ") + printable(i.spec.name);
      bad_option(file, fmt::format("the model has no input \"{}\"; its inputs: {}", printable(name), known));
    }
    apply_option(*input, option.second, file, symbols);
  }
  for (OpenInput& input : inputs) {
    for (OpenDim& dim : input.dims) {
      const auto value = symbols.find(dim.symbol);
      if (!dim.known && value != symbols.end()) dim.known = Dim(value->second);
    }
  }
}

bool speaks_of_batch(std::string symbol) {
  std::transform(symbol.begin(), symbol.end(), symbol.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return symbol.find("batch") != std::string::npos;
}

// The symbol of the batch ("" when it is nameless), or none when every input is fixed where a batch could be.
std::optional<std::string> batch_symbol(const std::vector<OpenInput>& inputs) {
  for (const OpenInput& input : inputs) {
    if (!input.dims.empty() && !input.dims.front().known) return input.dims.front().symbol;
  }
  for (const OpenInput& input : inputs) {
    for (const OpenDim& dim : input.dims) {
      if (!dim.known && speaks_of_batch(dim.symbol)) return dim.symbol;
    }
  }
  return std::nullopt;
}

void mark_batch(std::vector<OpenInput>& inputs) {
  const std::optional<std::string> symbol = batch_symbol(inputs);
  if (!symbol) return;
  for (OpenInput& input : inputs) {
    for (size_t axis = 0; axis < input.dims.size(); ++axis) {
      OpenDim& dim = input.dims[axis];
      const bool is_batch = dim.symbol.empty() ? axis == 0 : dim.symbol == *symbol;
      if (!dim.known && is_batch) dim.known = Dim(1, true);
    }
  }
}

}  // namespace

Inputs resolve_inputs(const ::onnx::GraphProto& graph, const std::vector<std::string>& initializers, const ImportOptions& options,
                      const std::string& file, UnsupportedReport& report) {
  const std::set<std::string> constants(initializers.begin(), initializers.end());
  std::vector<OpenInput> inputs;
  for (const auto& info : graph.input()) {
    if (constants.contains(info.name())) continue;
    if (auto input = read_input(info, file, report)) inputs.push_back(std::move(*input));
  }
  apply_options(inputs, options, file);
  mark_batch(inputs);

  Inputs result;
  for (OpenInput& input : inputs) {
    bool open = !input.ranked;
    for (const OpenDim& dim : input.dims) {
      open = open || !dim.known;
      input.spec.shape.push_back(dim.known.value_or(Dim(1)));
    }
    if (open) {
      const std::string name = printable(input.spec.name);
      result.open.push_back(input.ranked ? fmt::format("input \"{}\" is {}", name, dims_text(input))
                                         : fmt::format("input \"{}\" has no declared shape", name));
    }
    result.specs.push_back(std::move(input.spec));
  }
  return result;
}

}  // namespace fcm::onnx
