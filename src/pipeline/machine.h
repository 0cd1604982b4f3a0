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
/// "about 3.1 GB of memory, and may take 2.0 GB", where so many bytes more are neither within `ram` nor, with
/// 0, to be had; empty: they are.
[[nodiscard]] std::string memory_obstacle(uint64_t bytes, uint64_t ram);
/// Free bytes where `path` is, or would be: of its nearest folder that exists. 0 where the system does not
/// tell.
[[nodiscard]] uint64_t free_disk(const std::filesystem::path& path);
/// Whether both paths lie, or would lie, on the same file system.
[[nodiscard]] bool same_disk(const std::filesystem::path& a, const std::filesystem::path& b);

}  // namespace lissom
