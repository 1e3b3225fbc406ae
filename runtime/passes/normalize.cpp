// The pipeline of passes, repeated until none fires: an imported graph becomes the normal form.
#include <fmt/format.h>

#include <array>

#include "runtime/passes/passes.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm::passes {
namespace {

struct Pass {
  const char* name;
  int (*run)(Graph&);
};

// `recognize_activations` before `fold_affine`, which would take the "+ 3" of a hard swish into a bias; what folds into convolutions before
// `sink_to_map`, which turns them into Gemms; `merge_branches` and `fuse_activation` before `fuse_residual`, which takes sums: those of a
// convolution with its own input, and the activation of a sum along.
constexpr std::array kPasses = {
    Pass{"fold", fold},
    Pass{"recognize_view", recognize_view},
    Pass{"canonicalize_global_pool", canonicalize_global_pool},
    Pass{"recognize_activations", recognize_activations},
    Pass{"recognize_normalization", recognize_normalization},
    Pass{"collapse_moves", collapse_moves},
    Pass{"recognize_roll", recognize_roll},
    Pass{"spread_matmul", spread_matmul},
    Pass{"sink_expand", sink_expand},
    Pass{"drop_expand", drop_expand},
    Pass{"matmul_to_gemm", matmul_to_gemm},
    Pass{"recognize_attention", recognize_attention},
    Pass{"simplify_slices", simplify_slices},
    Pass{"hoist_reshape", hoist_reshape},
    Pass{"fold_batch_norm", fold_batch_norm},
    Pass{"fold_affine", fold_affine},
    Pass{"merge_branches", merge_branches},
    Pass{"order_tokens", order_tokens},
    Pass{"sink_to_map", sink_to_map},
    Pass{"fold_scale", fold_scale},
    Pass{"fuse_activation", fuse_activation},
    Pass{"fuse_residual", fuse_residual},
    Pass{"fold_pad", fold_pad},
    Pass{"split_patches", split_patches},
};

}  // namespace

void normalize(Graph& graph) {
  // Each firing removes a node or turns one into a form that no pass takes back, so the number of rounds is bounded by the nodes.
  const size_t most_rounds = 10 + 3 * graph.nodes.size();
  for (size_t round = 0; round < most_rounds; ++round) {
    int fired = 0;
    for (const Pass& pass : kPasses) {
      const int count = pass.run(graph);
      if (count > 0) log(LogLevel::debug, "{}: round {}: {} fired {} times", graph.name, round, pass.name, count);
      fired += count;
      remove_dead(graph);
    }
    if (fired == 0) {
      // Last: the passes above and the planner's patterns look for single functions.
      fuse_elementwise(graph);
      remove_dead(graph);
      graph.validate();
      return;
    }
  }
  throw Error(ErrorCode::internal, fmt::format("{}: the passes do not settle within {} rounds", graph.name, most_rounds));
}

}  // namespace fcm::passes
