// The model's inputs: which dimension is the batch, which are fixed by the model or by the caller, and which stay open.
#pragma once

#include <string>
#include <vector>

#include "runtime/graph/graph.h"
#include "runtime/onnx/import.h"
#include "runtime/onnx/report.h"

namespace onnx {
class GraphProto;
}

namespace fcm::onnx {

struct InputSpec {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

struct Inputs {
  std::vector<InputSpec> specs;   ///< in the model's order, initializers left out
  std::vector<std::string> open;  ///< one line for each input with dimensions that nobody fixed
};

/// Resolves every graph input that is not in `initializers` (names). The rule: `options.shapes` fixes dimensions first, by input
/// and by dim_param; then the first symbolic dimension at axis 0 (or, when there is none, the first dim_param that speaks of a
/// batch) becomes B, with every other occurrence of its dim_param and every nameless axis 0; the rest is open.
/// Throws Error(bad_input) for scalars, ranks above 8, dimensions that are not positive or above 2^31-1; Error(command_line) for
/// an option that names no input or contradicts the model. Inputs of unsupported types go to `report`.
Inputs resolve_inputs(const ::onnx::GraphProto& graph, const std::vector<std::string>& initializers, const ImportOptions& options,
                      const std::string& file, UnsupportedReport& report);

}  // namespace fcm::onnx
