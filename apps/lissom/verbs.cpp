#include "verbs.h"

#include <cstdio>

namespace lissom::cli {

std::span<const Verb> verbs() { return {}; }

int fail(const Error& error) {
  std::fprintf(stderr, "lissom: error: %s\n", error.message.c_str());
  return error.kind == ErrorKind::limit ? 1 : 2;
}

}  // namespace lissom::cli
