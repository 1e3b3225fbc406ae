// Layout arithmetic, lifetimes, and the canonical text and hash of a plan.
#include "planner/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/support/error.h"

namespace fcm {
namespace {

std::string buffer_list(const std::vector<BufferId>& ids) {
  std::string text = "(";
  for (size_t i = 0; i < ids.size(); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : ",", ids[i] == kNoBuffer ? "-" : fmt::to_string(ids[i]));
  return text + ")";
}

std::string_view name_of(Precision precision) {
  switch (precision) {
    case Precision::automatic:
      return "auto";
    case Precision::f32:
      return "f32";
    case Precision::f16:
      return "f16";
    case Precision::bf16:
      return "bf16";
  }
  return "?";
}

void append(std::string& text, const PlanVariant& variant) {
  text += fmt::format("variant max_batch={}\n", variant.max_batch);
  for (size_t i = 0; i < variant.buffers.size(); ++i) {
    const PlanBuffer& b = variant.buffers[i];
    text += fmt::format("  buffer {} \"{}\" {} {}{}\n", i, b.name, to_string(b.shape), to_string(b.layout),
                        b.alias_of == kNoBuffer ? "" : fmt::format(" = buffer {}", b.alias_of));
  }
  for (size_t i = 0; i < variant.steps.size(); ++i) {
    const PlanStep& s = variant.steps[i];
    text += fmt::format("  step {} \"{}\" {} {} -> {}", i, s.name, s.op, buffer_list(s.inputs), buffer_list(s.outputs));
    for (size_t d = 0; d < s.depends_on.size(); ++d) text += fmt::format("{}{}", d == 0 ? " after " : ",", s.depends_on[d]);
    for (const auto& [batch, choice] : s.choices) text += fmt::format(" choice@{}={}", batch, choice);
    text += "\n";
  }
  text += fmt::format("  inputs {} outputs {}\n", buffer_list(variant.inputs), buffer_list(variant.outputs));
}

}  // namespace

std::string to_string(const Layout& layout) {
  if (layout.order == Order::rows) return fmt::format("{} rows", dtype_name(layout.dtype));
  return fmt::format("{} nhwc/{}", dtype_name(layout.dtype), layout.channel_pitch);
}

size_t layout_bytes(const Layout& layout, const Dims& dims) {
  if (layout.order == Order::rows) return static_cast<size_t>(element_count(dims)) * dtype_size(layout.dtype);
  if (dims.size() != 4 || layout.channel_pitch < dims[1])
    throw Error(ErrorCode::internal, fmt::format("layout {} does not fit a value of rank {}", to_string(layout), dims.size()));
  return static_cast<size_t>(element_count(Dims{dims[0], dims[2], dims[3], layout.channel_pitch})) * dtype_size(layout.dtype);
}

int64_t channel_pitch(int64_t channels, DType dtype) {
  const auto vector = static_cast<int64_t>(16 / dtype_size(dtype));
  return (channels + vector - 1) / vector * vector;
}

DType compute_dtype(Precision precision) {
  switch (precision) {
    case Precision::f16:
      return DType::f16;
    case Precision::bf16:
      return DType::bf16;
    case Precision::f32:
      return DType::f32;
    case Precision::automatic:
      break;
  }
  throw Error(ErrorCode::internal, "a plan was asked for before its precision was decided");
}

bool PlanVariant::is_border(BufferId id) const {
  const BufferId owner = root(id);
  const auto same = [&](BufferId b) { return b != kNoBuffer && root(b) == owner; };
  return std::any_of(inputs.begin(), inputs.end(), same) || std::any_of(outputs.begin(), outputs.end(), same);
}

std::vector<BufferUse> buffer_uses(const PlanVariant& variant) {
  std::vector<std::vector<int32_t>> steps(variant.buffers.size());
  const auto touch = [&](BufferId id, int32_t step) {
    if (id == kNoBuffer) return;
    auto& list = steps[static_cast<size_t>(variant.root(id))];
    if (list.empty() || list.back() != step) list.push_back(step);
  };
  for (size_t s = 0; s < variant.steps.size(); ++s) {
    for (const BufferId b : variant.steps[s].inputs) touch(b, static_cast<int32_t>(s));
    for (const BufferId b : variant.steps[s].outputs) touch(b, static_cast<int32_t>(s));
  }
  for (const auto* list : {&variant.inputs, &variant.outputs}) {
    for (const BufferId b : *list) {
      if (b != kNoBuffer) steps[static_cast<size_t>(variant.root(b))].clear();
    }
  }
  std::vector<BufferUse> uses;
  for (size_t b = 0; b < steps.size(); ++b) {
    if (!steps[b].empty()) uses.push_back(BufferUse{static_cast<BufferId>(b), std::move(steps[b])});
  }
  return uses;
}

std::string to_string(const Plan& plan) {
  std::string text = fmt::format("plan precision={} tf32={} device=\"{}\"\n", name_of(plan.options.precision), plan.options.tf32 ? 1 : 0,
                                 plan.device_model);
  for (const PlanVariant& variant : plan.variants) append(text, variant);
  return text;
}

std::string text_hash(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a, 64 bits
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ULL;
  }
  return fmt::format("{:016x}", hash);
}

size_t Plan::index_for(int64_t batch) const {
  size_t v = 0;
  while (variants[v].max_batch != 0 && variants[v].max_batch < batch) ++v;  // the last one is open
  return v;
}

std::string Plan::hash() const {
  return text_hash(to_string(*this));
}

}  // namespace fcm
