#include "apps/fcm-bench/module_list.h"

#include <fmt/format.h>

#include <fstream>

#include "runtime/support/error.h"

namespace fcm::bench {

std::vector<ModuleCase> read_module_list(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::bad_input, fmt::format("module list '{}' cannot be read", path));
  std::vector<ModuleCase> cases;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line.front() == '#') continue;
    const size_t bar = line.find(" | ");
    if (bar == std::string::npos) throw Error(ErrorCode::bad_input, fmt::format("{}:{}: expected \"name | module\"", path, number));
    try {
      cases.push_back({line.substr(0, bar), parse_spec(std::string_view(line).substr(bar + 3))});
    } catch (const Error& e) {
      throw Error(ErrorCode::bad_input, fmt::format("{}:{}: {}", path, number, e.what()));
    }
  }
  if (cases.empty()) throw Error(ErrorCode::bad_input, fmt::format("module list '{}' names no module", path));
  return cases;
}

ModuleSpec with_precision(ModuleSpec spec, DType dtype, bool tf32) {
  for (StageSpec& stage : spec.stages) stage.dtype = dtype;
  spec.tf32 = tf32 && dtype == DType::f32;
  return spec;
}

std::vector<ModuleSpec> split_stages(const ModuleSpec& spec) {
  std::vector<ModuleSpec> layers;
  const std::vector<Plane> planes = planes_of(spec);
  for (size_t i = 0; i < spec.stages.size(); ++i) {
    ModuleSpec layer;
    layer.input = i == 0 ? spec.input : InputTransform::nhwc;
    layer.height = planes[i].height;
    layer.width = planes[i].width;
    layer.stages = {spec.stages[i]};
    layer.tf32 = spec.tf32;
    if (i + 1 == spec.stages.size()) layer.residual = spec.residual;
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace fcm::bench
