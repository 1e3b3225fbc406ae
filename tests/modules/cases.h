// Module test cases: random specs, tiles and operands that a seed replays, shared by the tests and by fcm-module-sweep.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "fcm/reference.h"
#include "fcm/spec.h"
#include "runtime/jit/jit.h"

namespace fcm::testing {

struct Case {
  ModuleSpec spec;
  TileConfig tile;
  int batch = 1;
  uint32_t seed = 0;  ///< of the operands
  int repeats = 1;    ///< of the batch on the device: many images whose reference is cheap

  int images() const { return batch * repeats; }
};

/// "SPEC | TILE | batch 2 seed 7": the id of a case, with " repeats 32" behind where there are some; `parse_case` reads it back.
std::string to_string(const Case& c);
Case parse_case(const std::string& text);

using Random = std::mt19937;
int pick(Random& random, std::initializer_list<int> values);
int between(Random& random, int low, int high);

/// A small spec of a random kind, dtype, window and epilogue; shapes include those below, at, above and off the tile.
ModuleSpec random_spec(Random& random);
/// A random legal tile, not only a good one; false when none was found in a few hundred tries.
bool random_tile(Random& random, const ModuleSpec& spec, const jit::Target& target, TileConfig& tile);
/// The same of a tile that streams its depth or holds several images.
bool random_wide_tile(Random& random, const ModuleSpec& spec, const jit::Target& target, bool streamed, TileConfig& tile);
/// A tile of a module for whose depthwise stage a team expands (TileConfig::team); false when none is legal.
bool random_team_tile(Random& random, const ModuleSpec& spec, const jit::Target& target, TileConfig& tile);
/// The `count` cases of a seed.
std::vector<Case> random_cases(uint32_t seed, int count, const jit::Target& target);

struct Operands {
  ModuleWeights weights;
  ModuleInputs inputs;
};
/// Operands rounded to the module's dtype, so that kernel and reference start from the same numbers.
Operands make_operands(const Case& c);

/// Host image of device buffers: NHWC elements with the channel pitch, pad lanes zero.
std::vector<uint8_t> to_nhwc(const std::vector<float>& values, int channels, int pitch, DType dtype);
std::vector<uint8_t> input_bytes(const Case& c, const ModuleInputs& inputs);
int pitch_of(int channels, DType dtype);

}  // namespace fcm::testing
