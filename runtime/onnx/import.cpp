// Assembles the Graph: versions, inputs, initializers, nodes in order, outputs, and one report of what cannot be run.
#include "runtime/onnx/import.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "onnx.pb.h"
#include "runtime/onnx/inputs.h"
#include "runtime/onnx/load.h"
#include "runtime/onnx/node_context.h"
#include "runtime/onnx/operators/registry.h"
#include "runtime/onnx/sort.h"
#include "runtime/onnx/tensors.h"
#include "runtime/onnx/text.h"
#include "runtime/onnx/weights.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm::onnx {
namespace {

constexpr const char* kDefaultDomain = "ai.onnx";

using Opsets = std::map<std::string, int64_t>;  // by domain, the default one spelled out

std::string domain_of(const std::string& domain) {
  return domain.empty() ? kDefaultDomain : domain;
}

Opsets read_opsets(const ::onnx::ModelProto& model, const std::string& file) {
  Opsets opsets;
  for (const auto& import : model.opset_import()) {
    const std::string domain = domain_of(import.domain());
    const auto [known, fresh] = opsets.emplace(domain, import.version());
    if (!fresh && known->second != import.version()) {
      malformed(file, fmt::format("imports domain {} as opset {} and as {}", printable(domain), known->second, import.version()));
    }
  }
  const auto found = opsets.find(kDefaultDomain);
  if (found == opsets.end()) malformed(file, "imports no opset of ai.onnx (no opset_import: is the file truncated?)");
  const int64_t version = found->second;
  if (version < 1) malformed(file, fmt::format("imports ai.onnx opset {}", version));
  if (version < kOldestOpset) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: ai.onnx opset {} is not supported; accepted: {} to {} (onnx.version_converter can raise it)", file,
                            version, kOldestOpset, kNewestOpset));
  }
  if (version > kNewestOpset) {
    log(LogLevel::warning, "{}: ai.onnx opset {} is newer than {}, the newest known here; its operators are read as of opset {}", file,
        version, kNewestOpset, kNewestOpset);
  }
  if (model.ir_version() > ::onnx::IR_VERSION) {
    log(LogLevel::warning, "{}: IR version {} is newer than {}, the newest known here", file, model.ir_version(),
        static_cast<int>(::onnx::IR_VERSION));
  }
  return opsets;
}

// One message's metadata_props as "key" -> "value"; the last of equal keys counts.
template <class Proto>
std::map<std::string, std::string> read_metadata(const Proto& proto) {
  std::map<std::string, std::string> metadata;
  for (const auto& entry : proto.metadata_props()) metadata[entry.key()] = entry.value();
  return metadata;
}

// The quoted strings of a Python list: ['', 'features', "conv2d"].
std::vector<std::string> quoted_strings(const std::string& list) {
  std::vector<std::string> strings;
  size_t open = list.find_first_of("'\"");
  while (open != std::string::npos) {
    const size_t close = list.find(list[open], open + 1);
    if (close == std::string::npos) break;
    strings.push_back(list.substr(open + 1, close - open - 1));
    open = list.find_first_of("'\"", close + 1);
  }
  return strings;
}

// Where in the PyTorch program a node comes from: the innermost module's path with the operation, and the last frame of the stack.
std::string python_origin(const ::onnx::NodeProto& node) {
  const auto metadata = read_metadata(node);
  std::string text;
  if (const auto scopes = metadata.find("pkg.torch.onnx.name_scopes"); scopes != metadata.end()) {
    const std::vector<std::string> names = quoted_strings(scopes->second);  // from the model to the operation
    const size_t count = names.size();
    if (count >= 2 && !names[count - 2].empty()) text = names[count - 2] + "/";
    if (count >= 1) text += names[count - 1];
  }
  if (const auto trace = metadata.find("pkg.torch.onnx.stack_trace"); trace != metadata.end()) {
    const size_t frame = trace->second.rfind("File ");
    const std::string last = frame == std::string::npos ? trace->second : trace->second.substr(frame);
    text += (text.empty() ? "" : ", ") + last.substr(0, last.find('\n'));
  }
  return printable(text);
}

Origin origin_of(const ::onnx::GraphProto& graph, int n, const Opsets& opsets) {
  const auto& node = graph.node(n);
  const std::string domain = domain_of(node.domain());
  const auto opset = opsets.find(domain);
  Origin origin;
  origin.name = printable(node_name(graph, n));
  origin.type = printable(domain == kDefaultDomain ? node.op_type() : domain + "::" + node.op_type());
  origin.opset = opset != opsets.end() ? opset->second : 0;
  origin.python = python_origin(node);
  return origin;
}

class Importer {
 public:
  Importer(::onnx::ModelProto& model, const std::string& file, const std::filesystem::path& folder)
      : model_(model), proto_(*model.mutable_graph()), file_(file), assembly_(folder) {
    assembly_.graph.name = file;
    assembly_.graph.metadata = read_metadata(model);
  }

  Graph run(const ImportOptions& options) {
    opsets_ = read_opsets(model_, file_);
    const std::vector<std::string> initializers = initializer_names();
    const Inputs inputs = resolve_inputs(proto_, initializers, options, file_, assembly_.report);
    check_outputs();
    const std::vector<int> order = topological_order(proto_, defined_names(initializers), file_);
    collect_names();
    add_inputs(inputs);
    add_initializers();
    for (const int n : order) add_node(n);
    if (!assembly_.report.empty()) assembly_.report.raise(file_);
    if (!inputs.open.empty()) {
      malformed(file_, fmt::format("dimensions that are neither fixed nor the batch: {}; fix them with --shape NAME=1x3x224x224",
                                   fmt::join(inputs.open, "; ")));
    }
    add_outputs();
    check_weights(assembly_.graph);
    assembly_.graph.validate();
    return std::move(assembly_.graph);
  }

 private:
  std::vector<std::string> initializer_names() {
    std::vector<std::string> names;
    for (const auto& tensor : proto_.initializer()) names.push_back(tensor.name());
    for (const auto& tensor : proto_.sparse_initializer()) {
      names.push_back(tensor.values().name());
      assembly_.report.add(fmt::format("sparse initializer \"{}\"", printable(names.back())), "is not supported", "dense initializers");
    }
    for (const std::string& name : names) {
      if (name.empty()) malformed(file_, "an initializer has no name");
    }
    return names;
  }

  // Names that exist before the nodes; an initializer that is also listed as an input is one thing, and a constant.
  std::vector<std::string> defined_names(const std::vector<std::string>& initializers) const {
    const std::set<std::string> constants(initializers.begin(), initializers.end());
    std::vector<std::string> names = initializers;
    for (const auto& input : proto_.input()) {
      if (input.name().empty()) malformed(file_, "an input has no name");
      if (!constants.contains(input.name())) names.push_back(input.name());
    }
    return names;
  }

  void check_outputs() const {
    if (proto_.output_size() == 0) malformed(file_, "the graph has no outputs");
    std::set<std::string> seen;
    for (const auto& output : proto_.output()) {
      if (output.name().empty()) malformed(file_, "an output has no name");
      if (!seen.insert(output.name()).second) malformed(file_, fmt::format("output \"{}\" is listed twice", printable(output.name())));
    }
  }

  void collect_names() {
    for (const auto& node : proto_.node()) {
      assembly_.read_names.insert(node.input().begin(), node.input().end());
      assembly_.names.insert(node.output().begin(), node.output().end());
    }
    for (const auto& output : proto_.output()) assembly_.read_names.insert(output.name());
    for (const auto& input : proto_.input()) assembly_.names.insert(input.name());
    for (const auto& tensor : proto_.initializer()) assembly_.names.insert(tensor.name());
  }

  // Inputs of unsupported types are in the report; their readers still need a value.
  void add_inputs(const Inputs& inputs) {
    for (const InputSpec& spec : inputs.specs) {
      const ValueId id = assembly_.graph.add_value(spec.name, spec.dtype, spec.shape);
      assembly_.graph.inputs.push_back(id);
      assembly_.values[spec.name] = id;
    }
    for (const auto& input : proto_.input()) define_missing(input.name());
  }

  void define_missing(const std::string& name) {
    if (!assembly_.values.contains(name)) assembly_.values[name] = assembly_.graph.add_value(name, DType::f32);
  }

  void add_initializers() {
    for (auto& tensor : *proto_.mutable_initializer()) {
      const std::string subject = fmt::format("initializer \"{}\"", printable(tensor.name()));
      if (!dtype_of(tensor.data_type())) {
        assembly_.report.add(subject, fmt::format("data type {} is not supported", dtype_text(tensor.data_type())), accepted_dtypes());
        define_missing(tensor.name());
        continue;
      }
      Tensor contents = read_tensor(tensor, file_ + ": " + subject, assembly_.external);
      assembly_.values[tensor.name()] = assembly_.graph.add_constant(tensor.name(), std::move(contents));
    }
    for (const auto& tensor : proto_.sparse_initializer()) define_missing(tensor.values().name());
  }

  bool is_model_function(const std::string& domain, const std::string& type) const {
    for (const auto& function : model_.functions()) {
      if (domain_of(function.domain()) == domain && function.name() == type) return true;
    }
    return false;
  }

  // What is accepted in place of the operator, or none when the node can be imported.
  std::optional<std::string> refusal(const std::string& domain, const std::string& type, const OperatorEntry* entry) const {
    if (is_model_function(domain, type)) return "a function of the model file; inline it (onnx.inliner.inline_local_functions)";
    if (domain != kDefaultDomain) return "only operators of ai.onnx";
    if (entry == nullptr) return "in no opset";
    if (opsets_.at(kDefaultDomain) < entry->first) return fmt::format("from opset {}", entry->first);
    return std::nullopt;
  }

  void add_node(int n) {
    ::onnx::NodeProto& node = *proto_.mutable_node(n);
    Origin origin = origin_of(proto_, n, opsets_);
    if (node.op_type().empty()) malformed(file_, fmt::format("{}: has no operator type", describe(origin)));
    if (node.output_size() == 0) malformed(file_, fmt::format("{}: has no outputs", describe(origin)));
    const std::string domain = domain_of(node.domain());
    const OperatorEntry* entry = find_operator(node.op_type());
    if (const auto accepted = refusal(domain, node.op_type(), entry)) {
      assembly_.report.add_operator(origin, printable(domain), *accepted);
      for (const std::string& name : node.output()) {
        if (!name.empty()) define_missing(name);
      }
      return;
    }
    NodeContext context(assembly_, node, std::move(origin), opsets_.at(kDefaultDomain));
    entry->import(context);
    context.finish();
  }

  void add_outputs() {
    for (const auto& output : proto_.output()) {
      const auto value = assembly_.values.find(output.name());
      if (value == assembly_.values.end()) malformed(file_, fmt::format("output \"{}\" is defined by nothing", printable(output.name())));
      assembly_.graph.outputs.push_back(value->second);
    }
  }

  ::onnx::ModelProto& model_;
  ::onnx::GraphProto& proto_;
  std::string file_;
  Assembly assembly_;
  Opsets opsets_;
};

}  // namespace

Graph import_bytes(std::string_view bytes, const std::string& name, const std::filesystem::path& folder, const ImportOptions& options) {
  const auto model = parse_model(bytes, name);
  return Importer(*model, name, folder).run(options);
}

Graph import_file(const std::filesystem::path& file, const ImportOptions& options) {
  auto model = parse_model(read_model_file(file), file.string());  // the bytes are freed before the weights are copied out
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  return Importer(*model, file.string(), folder).run(options);
}

}  // namespace fcm::onnx
