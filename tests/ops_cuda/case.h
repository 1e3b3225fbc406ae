// One operator with inputs, for the tests of device steps: a node in a graph, its CPU reference, and its tensors in device layouts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ops/cuda/step.h"
#include "runtime/graph/graph.h"

namespace fcm::test {

/// Values are multiples of 1/64 up to 2, which f16 and bf16 hold exactly: only arithmetic rounds.
enum class Fill : uint8_t { any, positive, indices, booleans, permutation };

struct CaseInput {
  Shape shape;
  bool constant = false;
  Fill fill = Fill::any;
  DType dtype = DType::f32;
  int64_t most = 1;  ///< indices: -most .. most - 1
  bool absent = false;
};

struct Case {
  std::string name;
  Op op;
  std::vector<CaseInput> inputs;
  size_t outputs = 1;
  double looser = 1.0;  ///< factor on the tolerance, for functions that amplify errors
};

/// The case as a graph of one bound node. Constants are filled from the case's name.
Graph make_graph(const Case& c);
/// Contents of the non-constant inputs at a batch (empty tensors elsewhere), and what the reference gives for them.
std::vector<Tensor> make_inputs(const Case& c, const Graph& graph, int64_t batch);
std::vector<Tensor> run_reference(const Graph& graph, const std::vector<Tensor>& inputs, int64_t batch);

/// Layouts of a node's inputs and outputs.
struct Arrangement {
  std::string name;
  std::vector<std::optional<ops::cuda::DeviceTensor>> inputs;
  std::vector<ops::cuda::DeviceTensor> outputs;
};
/// All arrangements that the order rule allows: rows, nhwc, and mixed; for 16-bit types also f32 results where they are promised.
std::vector<Arrangement> arrangements(const Graph& graph, DType compute);

/// All operators and the shapes that break things.
const std::vector<Case>& all_cases();
/// A few cases that together use every kernel file.
const std::vector<Case>& kernel_cases();

/// Attention of random extents, head sizes, views and biases.
std::vector<Case> random_attentions(int count, unsigned seed);

/// A device as data, for building steps without one.
DeviceInfo any_device();

}  // namespace fcm::test
