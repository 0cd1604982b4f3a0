#pragma once
// What this machine can still give.

#include <cstdint>
#include <filesystem>

namespace lissom {

/// Bytes that the process may still allocate before the system swaps or kills: /proc's MemAvailable, or what
/// its control group (v2 or v1) leaves where that is less. 0 where neither tells.
[[nodiscard]] uint64_t available_memory();
/// Resident bytes of this process now; 0 where the system does not tell.
[[nodiscard]] uint64_t resident_memory();
/// Free bytes where `path` is, or would be: of its nearest folder that exists. 0 where the system does not
/// tell.
[[nodiscard]] uint64_t free_disk(const std::filesystem::path& path);
/// Whether both paths lie, or would lie, on the same file system.
[[nodiscard]] bool same_disk(const std::filesystem::path& a, const std::filesystem::path& b);

}  // namespace lissom
