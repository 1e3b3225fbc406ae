// A table of text in aligned columns.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace fcm::apps {

class Table {
 public:
  /// Column titles; one that begins with '>' is aligned to the right (the mark is not shown). No titles line when all are empty.
  explicit Table(std::vector<std::string> titles);
  /// As many cells as titles; missing ones are empty.
  void add(std::vector<std::string> cells);
  /// Lines that end in newlines, indented by `indent` blanks; columns are two blanks apart. Widths count UTF-8 characters.
  std::string text(size_t indent = 0) const;

 private:
  std::vector<std::string> titles_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

/// 1536 -> "1.5 KiB"; exact bytes below 1 KiB.
std::string bytes_text(size_t bytes);

}  // namespace fcm::apps
