// Whole files in and out of memory, with errors that name the file and the cause.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace fcm {

/// The bytes of a regular file. `what` ("image", "label file", ...) opens the message. Throws Error(bad_input) when the file is missing,
/// a folder, unreadable, empty, or larger than `limit` bytes.
std::vector<std::byte> read_file(const std::string& path, const char* what, size_t limit);

/// Writes all parts, one after the other, under a temporary name in the same folder, then renames: a reader sees the old file or the new
/// one, never a part of it. Throws Error(bad_input) (no such folder, no permission, disk full) and leaves nothing behind.
void write_file(const std::string& path, const char* what, std::span<const std::span<const std::byte>> parts);

}  // namespace fcm
