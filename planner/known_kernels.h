// Measured kernels of a card: of modules that networks of this class have in common, the fastest tile known at the numbers of images that
// plans are made for, with its time. Shipped with the card's model (planner/devices/*.kernels), they stand in for the search and for its
// prediction: what a card was asked once, nobody has to guess.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "fcm/spec.h"

namespace fcm {

class KnownKernels {
 public:
  struct Kernel {
    TileConfig tile;
    double us = 0;  ///< a launch among others, its step included
  };

  /// Lines "module SPEC", each followed by lines "IMAGES MICROSECONDS TILE"; '#' starts a comment. Throws Error(bad_input) naming `source`
  /// and the line.
  KnownKernels(std::string_view text, const std::string& source);

  /// The spec under which a module is kept: without an activation it is all the same whether the residual is added before or after it.
  static ModuleSpec canonical(ModuleSpec spec);
  /// Nothing when that module was not measured at that many images.
  std::optional<Kernel> find(const ModuleSpec& spec, int64_t images) const;
  /// Modules.
  size_t size() const { return known_.size(); }
  /// Calls fn(spec, images, kernel) for all, in no order.
  template <class Fn>
  void for_each(Fn fn) const {
    for (const auto& [spec, by_images] : known_) {
      for (const auto& [images, entry] : by_images) fn(parse_spec(spec), images, kernel_of(entry));
    }
  }
  /// Of the text: plans that it led to belong to it.
  const std::string& digest() const { return digest_; }

 private:
  struct Entry {
    std::string tile;  ///< canonical text
    double us = 0;
  };
  static Kernel kernel_of(const Entry& entry) { return {parse_tile(entry.tile), entry.us}; }

  std::unordered_map<std::string, std::map<int64_t, Entry>> known_;  ///< by the spec's canonical text, by images
  std::string digest_;
};

}  // namespace fcm
