// Shipped device models: embedded JSON, every number with its origin.
#include "planner/device_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "embed/device_models.h"
#include "planner/known_kernels.h"
#include "planner/plan.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

struct Field {
  const char* name;
  double DeviceModel::*member;
};

constexpr Field kFields[] = {{"sm_count", &DeviceModel::sm_count},
                             {"clock_mhz", &DeviceModel::clock_mhz},
                             {"shared_per_block_kib", &DeviceModel::shared_per_block_kib},
                             {"shared_per_sm_kib", &DeviceModel::shared_per_sm_kib},
                             {"registers_per_sm", &DeviceModel::registers_per_sm},
                             {"threads_per_sm", &DeviceModel::threads_per_sm},
                             {"blocks_per_sm", &DeviceModel::blocks_per_sm},
                             {"l2_mib", &DeviceModel::l2_mib},
                             {"l2_usable", &DeviceModel::l2_usable},
                             {"dram_gbps", &DeviceModel::dram_gbps},
                             {"dram_gbps_per_sm", &DeviceModel::dram_gbps_per_sm},
                             {"l2_gbps", &DeviceModel::l2_gbps},
                             {"l2_gbps_per_sm", &DeviceModel::l2_gbps_per_sm},
                             {"tensor_f16", &DeviceModel::tensor_f16},
                             {"tensor_tf32", &DeviceModel::tensor_tf32},
                             {"mma_share", &DeviceModel::mma_share},
                             {"core_f32", &DeviceModel::core_f32},
                             {"shared_bytes", &DeviceModel::shared_bytes},
                             {"step_plain_us", &DeviceModel::step_plain_us},
                             {"step_graph_us", &DeviceModel::step_graph_us},
                             {"step_pdl_us", &DeviceModel::step_pdl_us},
                             {"library_conv_us", &DeviceModel::library_conv_us},
                             {"library_depthwise_us", &DeviceModel::library_depthwise_us},
                             {"library_small_us", &DeviceModel::library_small_us},
                             {"library_share", &DeviceModel::library_share}};

/// Letters and digits in lower case, without the maker's name.
std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  for (const std::string_view word : {"nvidia", "geforce"}) {
    if (const size_t at = out.find(word); at != std::string::npos) out.erase(at, word.size());
  }
  return out;
}

const std::vector<DeviceModel>& shipped() {
  static const std::vector<DeviceModel> models = [] {
    std::vector<DeviceModel> list;
    std::map<std::string, std::shared_ptr<const KnownKernels>> kernels;  // by file: cards may share one
    for (const auto& [path, text] : embedded::device_models()) {
      if (path.ends_with(".json")) {
        list.push_back(parse_device_model(text, path));
      } else {
        kernels[path] = std::make_shared<const KnownKernels>(text, path);
      }
    }
    for (DeviceModel& model : list) {
      const auto known = kernels.find((model.kernels_of.empty() ? model.key : model.kernels_of) + ".kernels");
      if (known != kernels.end()) model.kernels = known->second;
    }
    std::sort(list.begin(), list.end(), [](const DeviceModel& a, const DeviceModel& b) { return a.key < b.key; });
    return list;
  }();
  return models;
}

/// How unlike a card is to a model; the nearest model lends its rates.
double distance(const DeviceModel& m, const DeviceInfo& d) {
  const double arch = std::abs((m.target.major * 10 + m.target.minor) - (d.target.major * 10 + d.target.minor));
  const double tensor = (m.mma_share * m.tensor_f16 > 128) == d.tensor_cores ? 0 : 1000;
  return tensor + arch * 10 + std::abs(m.sm_count - d.sm_count) / 100;
}

/// Two digits, so that a plan repeats on a card whose driver reports a slightly other clock.
double two_digits(double x) {
  return std::stod(fmt::format("{:.1e}", x));
}

}  // namespace

double DeviceModel::dram_at(double blocks) const {
  return std::min(dram_gbps, dram_gbps_per_sm * std::clamp(blocks, 1.0, sm_count));
}

double DeviceModel::l2_at(double blocks) const {
  return std::min(l2_gbps, l2_gbps_per_sm * std::clamp(blocks, 1.0, sm_count));
}

std::string DeviceModel::fingerprint() const {
  std::string text = key + target.text();
  for (const Field& f : kFields) text += fmt::format(" {}={}", f.name, this->*f.member);
  if (kernels != nullptr) text += " " + kernels->digest();
  return fmt::format("{} sm_{} {:.0f} SMs model {}", name, target.text(), sm_count, text_hash(text));
}

DeviceModel parse_device_model(std::string_view json, const std::string& source) {
  const auto fail = [&](const std::string& what) -> Error {
    return {ErrorCode::bad_input, fmt::format("device model {}: {}", source, what)};
  };
  const nlohmann::json root = nlohmann::json::parse(json, nullptr, false);
  if (!root.is_object()) throw fail("not a JSON object");
  DeviceModel model;
  for (const char* field : {"key", "name", "target"}) {
    if (!root.contains(field) || !root[field].is_string()) throw fail(fmt::format("\"{}\" is not a text", field));
  }
  model.key = root["key"].get<std::string>();
  model.name = root["name"].get<std::string>();
  model.target = jit::Target::parse(root["target"].get<std::string>());
  if (root.contains("kernels_of") && !root["kernels_of"].is_string()) throw fail("\"kernels_of\" is not a text");
  model.kernels_of = root.value("kernels_of", std::string());
  for (const auto& [name, entry] : root.items()) {
    if (entry.is_string()) continue;
    const auto* field = std::find_if(std::begin(kFields), std::end(kFields), [&, &key = name](const Field& f) { return key == f.name; });
    if (field == std::end(kFields)) throw fail(fmt::format("\"{}\" is no field", name));
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_number() || !entry[1].is_string())
      throw fail(fmt::format("\"{}\" is not [number, origin]", name));
    const auto value = entry[0].get<double>();
    const auto origin = entry[1].get<std::string>();
    if (!(value >= 0 && value < 1e9)) throw fail(fmt::format("\"{}\" is out of range", name));
    if (origin != "measured" && origin != "specification" && origin != "estimate")
      throw fail(fmt::format("the origin of \"{}\" is \"{}\"; accepted: measured, specification, estimate", name, origin));
    model.*(field->member) = value;
    model.origin[name] = origin;
  }
  for (const Field& f : kFields) {
    if (model.origin.count(f.name) == 0) throw fail(fmt::format("\"{}\" is missing", f.name));
  }
  return model;
}

std::string to_json(const DeviceModel& model) {
  std::string text = fmt::format("{{\n  \"key\": {},\n  \"name\": {},\n  \"target\": {}", nlohmann::json(model.key).dump(),
                                 nlohmann::json(model.name).dump(), nlohmann::json(model.target.text()).dump());
  if (!model.kernels_of.empty()) text += fmt::format(",\n  \"kernels_of\": {}", nlohmann::json(model.kernels_of).dump());
  for (const Field& f : kFields) text += fmt::format(",\n  \"{}\": [{}, \"{}\"]", f.name, model.*(f.member), model.origin.at(f.name));
  return text + "\n}\n";
}

std::vector<std::string> known_devices() {
  std::vector<std::string> keys;
  for (const DeviceModel& m : shipped()) keys.push_back(m.key);
  return keys;
}

DeviceModel device_model(std::string_view key) {
  for (const DeviceModel& m : shipped()) {
    if (plain(m.key) == plain(key) || plain(m.name) == plain(key)) return m;
  }
  std::string known;
  for (const std::string& k : known_devices()) known += (known.empty() ? "" : ", ") + k;
  throw Error(ErrorCode::command_line, fmt::format("no model of the GPU \"{}\"; known: {}", key, known));
}

DeviceInfo described_device(const DeviceModel& model) {
  const auto bytes = [](double units, int unit) { return static_cast<size_t>(units * unit); };
  DeviceInfo d;
  d.name = model.name;
  d.target = model.target;
  d.sm_count = static_cast<int>(model.sm_count);
  d.clock_khz = static_cast<int>(model.clock_mhz * 1000);
  d.shared_per_block = bytes(model.shared_per_block_kib, 1024);
  d.shared_per_sm = bytes(model.shared_per_sm_kib, 1024);
  d.registers_per_sm = static_cast<int>(model.registers_per_sm);
  d.threads_per_sm = static_cast<int>(model.threads_per_sm);
  d.l2_bytes = bytes(model.l2_mib, 1 << 20);
  d.tensor_cores = model.has_tensor_cores();
  d.bf16 = d.tensor_cores && model.target.major >= 8;
  return d;
}

DeviceModel device_model_for(const DeviceInfo& device, std::string* note) {
  const auto& models = shipped();
  const std::string name = plain(device.name);
  for (const DeviceModel& m : models) {
    const bool named = name.find(plain(m.key)) != std::string::npos || plain(m.name).find(name) != std::string::npos;  // or less: "Orin"
    if (named && !name.empty() && static_cast<int>(m.sm_count) == device.sm_count) return m;
  }
  DeviceModel m = *std::min_element(models.begin(), models.end(),
                                    [&](const DeviceModel& a, const DeviceModel& b) { return distance(a, device) < distance(b, device); });
  if (note != nullptr)
    *note = fmt::format("{} has no model of its own: that of {} is scaled to {} multiprocessors", device.name, m.name, device.sm_count);
  const double scale = device.sm_count / m.sm_count;
  m.key = "scaled-" + m.key;
  m.kernels = nullptr, m.kernels_of.clear();
  m.name = device.name;
  m.target = device.target;
  m.dram_gbps = two_digits(m.dram_gbps * scale);
  m.l2_gbps = two_digits(m.l2_gbps * scale);
  m.sm_count = device.sm_count;
  m.clock_mhz = two_digits(device.clock_khz / 1000.0);
  m.l2_mib = two_digits(static_cast<double>(device.l2_bytes) / (1 << 20));
  m.shared_per_block_kib = static_cast<double>(device.shared_per_block) / 1024;
  m.shared_per_sm_kib = static_cast<double>(device.shared_per_sm) / 1024;
  for (const char* field : {"dram_gbps", "l2_gbps"}) m.origin[field] = "estimate";
  return m;
}

}  // namespace fcm
