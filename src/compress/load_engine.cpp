// Finds the plugin with LibTorch.

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "lissom/engine.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> places() {
  if (const char* named = std::getenv("LISSOM_ENGINE"); named != nullptr && *named != '\0') return {named};
  std::error_code code;
  const fs::path folder = fs::read_symlink("/proc/self/exe", code).parent_path();
  const char* file = "liblissom_engine.so";
  return {folder / file, folder / ".." / "lib" / "lissom" / file};
}

/// LibTorch's OpenMP lets idle threads spin for milliseconds by default: on cores that our own pool wants, and
/// that other programs want. It reads this when it is loaded; what the user set is left.
void spin_briefly() {
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) ::setenv("GOMP_SPINCOUNT", "20000", 0);
}

}  // namespace

Result<std::shared_ptr<const Engine>> load_engine(const std::string& device) {
  std::string tried;
  for (const fs::path& place : places()) {
    std::error_code code;
    if (!fs::exists(place, code)) {
      tried += (tried.empty() ? "" : ", ") + place.lexically_normal().string();
      continue;
    }
    spin_briefly();
    // Never closed: LibTorch has threads and statics that outlive what was asked of it.
    void* library = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr)
      return unsupported("the engine " + place.string() + " does not load: " + ::dlerror());
    auto* create = reinterpret_cast<Engine* (*)()>(::dlsym(library, "lissom_engine_create"));
    if (create == nullptr) return unsupported(place.string() + ": not lissom's engine");
    const std::shared_ptr<Engine> engine(create());
    LISSOM_CHECK(engine->use(device));
    return engine;
  }
  return unsupported("the engine (LibTorch) is not here: looked for " + tried + "; `make engine` builds it");
}

}  // namespace lissom
