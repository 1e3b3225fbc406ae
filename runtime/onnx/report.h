// Everything in a model that is well formed but cannot be run, gathered so that the user sees all of it at once.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "runtime/graph/graph.h"

namespace fcm::onnx {

class UnsupportedReport {
 public:
  /// One finding about a node: what is not supported, and what would be ("" when nothing would).
  void add(const Origin& origin, const std::string& what, const std::string& accepted);
  /// A finding outside the nodes; `subject` is e.g. 'input "x"'.
  void add(const std::string& subject, const std::string& what, const std::string& accepted);
  /// An operator that is unknown, or not known at the model's opset; `accepted` is explained once an operator, not once a node.
  void add_operator(const Origin& origin, const std::string& domain, const std::string& accepted);

  bool empty() const { return lines_.empty(); }
  /// Throws Error(unsupported) with the whole report.
  [[noreturn]] void raise(const std::string& file) const;

 private:
  std::vector<std::string> lines_;
  std::set<std::string> nodes_;
  std::set<std::string> operators_;  ///< "Type: accepted ..."
};

}  // namespace fcm::onnx
